//! Lines of words and values.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;

use super::file::{Rows, checked, next_line, refuse, unreadable};
use crate::Result;
use crate::check::MAX_SIZE;
use crate::files::open_regular;

/// Reads the rows of wanted words; those of others are only counted.
pub(super) fn read(path: &Path, wanted: &HashMap<&[u8], u32>) -> Result<Rows> {
    let file = open_regular(path).map_err(unreadable(path))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut rows = Rows::default();
    let mut expected = None;
    let mut first_repeated = None;
    let mut buffer = Vec::new();
    let mut number = 0;
    while let Some(line) = next_line(&mut reader, &mut buffer).map_err(unreadable(path))? {
        number += 1;
        let n_fields = fields(line).count();
        if number == 1 {
            if let Some((n_words, dimensions)) = header(line) {
                (expected, rows.dimensions) = (Some(n_words), dimensions);
                continue;
            }
            rows.dimensions = n_fields.saturating_sub(1);
        }
        if !(1..=MAX_SIZE).contains(&rows.dimensions) {
            let dimensions = rows.dimensions;
            let reason = format!("it has {dimensions} values to a word, not 1 to {MAX_SIZE}");
            return Err(refuse(path, number, reason));
        }
        if n_fields <= rows.dimensions {
            let (found, dimensions) = (n_fields.saturating_sub(1), rows.dimensions);
            let reason = format!("{found} values where {dimensions} are expected: is it cut off?");
            return Err(refuse(path, number, reason));
        }
        let mut line_fields = fields(line);
        let word = line_fields.next().unwrap_or_default();
        // With more fields than values, blanks stand inside the word, which no token has.
        let is_plain = n_fields == rows.dimensions + 1;
        let Some(&id) = wanted.get(word).filter(|_| is_plain) else { continue };
        if rows.rows.contains_key(&id) {
            first_repeated.get_or_insert(number);
            continue;
        }
        let values = values(line_fields).map_err(|reason| refuse(path, number, reason))?;
        rows.rows.insert(id, values);
    }
    check_count(path, number, expected)?;
    if let Some(line) = first_repeated {
        let path = path.display();
        tracing::warn!(%path, line, "words stand more than once: the first vector of each counts");
    }
    Ok(rows)
}

/// Compares the number of lines with what the first of them said.
fn check_count(path: &Path, n_lines: u64, expected: Option<u64>) -> Result<()> {
    if n_lines == 0 {
        return Err(refuse(path, None, "it is empty"));
    }
    match expected {
        Some(n_words) if n_words != n_lines - 1 => {
            let found = n_lines - 1;
            let reason = format!("it has {found} words, and its first line says {n_words}");
            Err(refuse(path, None, reason))
        }
        _ => Ok(()),
    }
}

/// Reads word2vec's first line: the number of words, and of values to each.
fn header(line: &[u8]) -> Option<(u64, usize)> {
    let line = std::str::from_utf8(line).ok()?;
    let (n_words, dimensions) = line.split_once(' ')?;
    Some((n_words.parse().ok()?, dimensions.trim().parse().ok()?))
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())
}

fn values<'l>(fields: impl Iterator<Item = &'l [u8]>) -> Result<Vec<f32>, String> {
    let value = |field: &[u8]| {
        let text = String::from_utf8_lossy(field);
        match text.parse::<f32>() {
            Ok(value) => checked(value),
            Err(_) => Err(format!("{text:?} is no number")),
        }
    };
    fields.map(value).collect()
}

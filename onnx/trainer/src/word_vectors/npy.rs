//! NumPy's arrays: a header that says type and shape, then the rows.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read};
use std::path::Path;

use super::file::{Rows, checked, next_line, refuse, unreadable};
use crate::Result;
use crate::check::MAX_SIZE;
use crate::files::open_regular;

/// Reads the rows of wanted words.
pub(super) fn read(array: &Path, words: &Path, wanted: &HashMap<&[u8], u32>) -> Result<Rows> {
    let (places, n_words) = places(words, wanted)?;
    let file = open_regular(array).map_err(unreadable(array))?;
    let length = file.metadata().map_err(unreadable(array))?.len();
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let header = Header::read(&mut reader).map_err(|reason| refuse(array, None, reason))?;
    let Header { n_rows, dimensions, value_bytes, n_bytes } = header;
    if n_rows != n_words {
        let words = words.display();
        let reason = format!("it has {n_rows} rows, and {words} has {n_words} words");
        return Err(refuse(array, None, reason));
    }
    let expected = n_bytes + n_rows * (dimensions * value_bytes) as u64;
    if length != expected {
        let reason =
            format!("it has {length} bytes, and its header asks for {expected}: is it cut off?");
        return Err(refuse(array, None, reason));
    }
    let mut rows = Rows { dimensions, rows: HashMap::new() };
    let mut row = vec![0; dimensions * value_bytes];
    for number in 0..n_rows {
        reader.read_exact(&mut row).map_err(unreadable(array))?;
        let Some(&id) = places.get(&number) else { continue };
        let values = values(&row, value_bytes);
        let values: Result<_, String> = values.into_iter().map(checked).collect();
        let values = values.map_err(|reason| refuse(array, number + 1, reason))?;
        rows.rows.insert(id, values);
    }
    Ok(rows)
}

/// Finds the rows of wanted words, by their ids; returns the number of all words too.
fn places(path: &Path, wanted: &HashMap<&[u8], u32>) -> Result<(HashMap<u64, u32>, u64)> {
    let file = open_regular(path).map_err(unreadable(path))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (mut places, mut known) = (HashMap::new(), HashSet::new());
    let mut n_words = 0;
    let mut first_repeated = None;
    let mut buffer = Vec::new();
    while let Some(word) = next_line(&mut reader, &mut buffer).map_err(unreadable(path))? {
        if let Some(&id) = wanted.get(word) {
            if known.insert(id) {
                places.insert(n_words, id);
            } else {
                first_repeated.get_or_insert(n_words + 1);
            }
        }
        n_words += 1;
    }
    if let Some(line) = first_repeated {
        let path = path.display();
        tracing::warn!(%path, line, "words stand more than once: the first vector of each counts");
    }
    Ok((places, n_words))
}

/// An array's header.
struct Header {
    n_rows: u64,
    dimensions: usize,
    value_bytes: usize,
    /// The length of the header itself.
    n_bytes: u64,
}

/// The longest header that is read; NumPy's own have some hundred bytes.
const MAX_HEADER: usize = 1 << 16;

impl Header {
    fn read(reader: &mut impl Read) -> Result<Self, String> {
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(|_| "it is no array of NumPy's")?;
        let [magic @ .., major, _minor] = start;
        if magic != *b"\x93NUMPY" {
            return Err("it is no array of NumPy's".to_owned());
        }
        let n_length_bytes = if major == 1 { 2 } else { 4 };
        let mut length = [0; 4];
        let cut = |_| "its header is cut off".to_owned();
        reader.read_exact(&mut length[..n_length_bytes]).map_err(cut)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(format!("its header has {length} bytes, more than {MAX_HEADER}"));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(cut)?;
        let text = String::from_utf8_lossy(&text);
        let value_bytes = match entry(&text, "descr").trim_matches(['\'', '"']) {
            "<f4" => 4,
            "<f8" => 8,
            other => return Err(format!("its values are {other:?}: give <f4 or <f8, floats")),
        };
        if entry(&text, "fortran_order") != "False" {
            return Err("its columns stand one behind the other: save it row by row".to_owned());
        }
        let (n_rows, dimensions) = shape(&text)?;
        let n_bytes = (start.len() + n_length_bytes + length) as u64;
        Ok(Header { n_rows, dimensions, value_bytes, n_bytes })
    }
}

/// The most rows, so that no product of sizes overflows.
const MAX_ROWS: u64 = 1 << 32;

fn shape(header: &str) -> Result<(u64, usize), String> {
    let text = header.split_once("'shape'").map_or("", |(_, after)| after);
    let inside = text.split_once('(').and_then(|(_, after)| after.split_once(')'));
    let inside = inside.map_or("", |(inside, _)| inside);
    let lengths: Vec<Option<u64>> =
        inside.split(',').map(|length| length.trim().parse().ok()).collect();
    match lengths[..] {
        [Some(n_rows), Some(dimensions)]
            if n_rows <= MAX_ROWS && (1..=MAX_SIZE as u64).contains(&dimensions) =>
        {
            Ok((n_rows, dimensions as usize))
        }
        _ => Err(format!("its shape is ({inside}): give (words, dimensions), at most {MAX_SIZE}")),
    }
}

/// Returns an entry of a header's dictionary up to the next comma.
fn entry<'h>(header: &'h str, name: &str) -> &'h str {
    let after = header.split_once(&format!("'{name}'")).map_or("", |(_, after)| after);
    let value = after.split_once(':').map_or("", |(_, value)| value);
    value.split([',', '}']).next().unwrap_or_default().trim()
}

fn values(row: &[u8], value_bytes: usize) -> Vec<f32> {
    match value_bytes {
        4 => row.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        _ => row.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
    }
}

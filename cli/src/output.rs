//! Results on standard output: tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::args::Format;

/// Standard output could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written to")]
pub(crate) struct WriteError(#[source] pub(crate) io::Error);

/// A result that can be printed both ways.
pub(crate) trait Report: Serialize {
    /// Writes it for people, in at most 100 columns.
    fn to_text(&self) -> String;
}

/// Prints a result.
pub(crate) fn print(format: Format, report: &impl Report) -> Result<(), WriteError> {
    match format {
        Format::Table => print_text(&report.to_text()),
        Format::Json => print_json_line(&mut io::stdout().lock(), report),
    }
}

/// Prints text without spaces at the ends of its lines.
pub(crate) fn print_text(text: &str) -> Result<(), WriteError> {
    let mut stdout = io::stdout().lock();
    let mut write = || {
        for line in text.trim_end().lines() {
            // Tables fill their cells up with spaces.
            writeln!(stdout, "{}", line.trim_end())?;
        }
        stdout.flush()
    };
    write().map_err(WriteError)
}

/// Writes a value as one line of JSON.
pub(crate) fn print_json_line(
    writer: &mut impl Write,
    value: &impl Serialize,
) -> Result<(), WriteError> {
    let mut line = serde_json::to_vec(value).expect("our own types have string keys only");
    line.push(b'\n');
    writer.write_all(&line).and_then(|()| writer.flush()).map_err(WriteError)
}

/// Makes an empty table with a header; the columns after the first `n_texts` are numbers.
pub(crate) fn table(header: &[&str], n_texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(100);
    table.set_header(header);
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if number >= n_texts {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Cuts a text to `n` characters on one line.
pub(crate) fn shorten(text: &str, n: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(n) {
        None => line,
        Some(_) => {
            let kept: String = line.chars().take(n.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_stand_on_one_line() {
        assert_eq!(shorten("a\n  b", 10), "a b");
        assert_eq!(shorten("äöüäöü", 6), "äöüäöü");
        assert_eq!(shorten("äöüäöüß", 6), "äöüäö…");
    }
}

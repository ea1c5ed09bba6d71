//! Streams the documents of a file.

use std::io::Read;
use std::path::Path;

use crate::csv_rows::CsvRows;
use crate::document::Document;
use crate::error::{Problem, ReadError};
use crate::input::Input;
use crate::json_lines::JsonLines;
use crate::options::{InputFormat, ReadOptions};

/// A file's documents, one after the other.
///
/// A document that cannot be read is an error in its place; after one that ends the file
/// ([`ReadError::ends_the_file`]) nothing follows. A file without a document is an error too.
pub struct Documents {
    pub(crate) file: String,
    rows: Rows,
    seen_any: bool,
    ended: bool,
}

enum Rows {
    JsonLines(JsonLines),
    Csv(CsvRows),
}

impl Documents {
    /// Opens a file, plain or gzip; `-` is standard input.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or its header not be read.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, ReadError> {
        let format = options.format.unwrap_or_else(|| InputFormat::of_name(path));
        Documents::from_input(Input::open(path)?, format, options)
    }

    /// Reads what is no file, plain or gzip: JSON lines, unless the options say otherwise. Errors
    /// call it `name`.
    ///
    /// # Errors
    ///
    /// When its header cannot be read.
    pub fn from_reader(
        name: &str,
        bytes: impl Read + Send + 'static,
        options: &ReadOptions,
    ) -> Result<Self, ReadError> {
        let format = options.format.unwrap_or(InputFormat::Jsonl);
        Documents::from_input(Input::new(name.to_owned(), bytes)?, format, options)
    }

    fn from_input(
        input: Input,
        format: InputFormat,
        options: &ReadOptions,
    ) -> Result<Self, ReadError> {
        let file = input.name.clone();
        let rows = match format {
            InputFormat::Jsonl => Rows::JsonLines(JsonLines::new(input, options)),
            InputFormat::Csv => Rows::Csv(CsvRows::new(input, options)?),
        };
        Ok(Documents { file, rows, seen_any: false, ended: false })
    }

    fn end(&mut self) -> Option<Result<Document, ReadError>> {
        self.ended = true;
        let repaired = match &self.rows {
            Rows::JsonLines(lines) => lines.repaired(),
            Rows::Csv(rows) => rows.repaired(),
        };
        repaired.warn(&self.file);
        (!self.seen_any).then(|| Err(ReadError::of_file(&self.file, Problem::Empty)))
    }
}

impl Iterator for Documents {
    type Item = Result<Document, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match &mut self.rows {
            Rows::JsonLines(lines) => lines.next(),
            Rows::Csv(rows) => rows.next(),
        };
        let Some(next) = next else { return self.end() };
        self.seen_any = true;
        self.ended = next.as_ref().is_err_and(ReadError::ends_the_file);
        Some(next)
    }
}

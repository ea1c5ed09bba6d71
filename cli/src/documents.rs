//! Documents, labelled or not, read from JSON lines and CSV.

mod csv_row;
mod csv_rows;
mod error;
mod input;
mod json_lines;
mod json_object;
mod labels;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

pub use error::{Problem, ReadError};

use csv_rows::CsvRows;
use input::Input;
use json_lines::JsonLines;

/// A document as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The line it begins on, counted from 1.
    pub line: u64,
    /// The line it ends on.
    pub last_line: u64,
    /// The caller's key, not empty.
    pub key: String,
    /// The text; it may be empty.
    pub text: String,
    /// The labels, each once, in the order given; none for an unlabelled document.
    pub labels: Vec<String>,
}

impl Document {
    /// Estimates what it takes in memory, in bytes.
    pub fn memory(&self) -> usize {
        let labels = self.labels.iter().map(memory_of).sum::<usize>();
        size_of::<Document>() + memory_of(&self.key) + memory_of(&self.text) + labels
    }
}

/// Returns what a string takes in memory, with what the allocator adds to it.
fn memory_of(text: &String) -> usize {
    const ALLOCATED: usize = 16;
    size_of::<String>() + ALLOCATED + text.capacity()
}

/// How documents are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InputFormat {
    /// One JSON object on each line
    Jsonl,
    /// Comma-separated values, the first row naming the columns
    Csv,
}

/// What becomes of a line with nothing on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlankLines {
    /// It is passed over.
    #[default]
    Skip,
    /// It is an error, for a caller that answers every line.
    Report,
}

/// How a file is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The format; by the file's name where absent.
    pub format: Option<InputFormat>,
    /// The field with the key.
    pub key: String,
    /// The fields whose texts, joined by a newline, are the document's.
    pub text: Vec<String>,
    /// The field with the labels.
    pub labels: String,
    /// What stands between two labels in a CSV cell.
    pub label_separator: String,
    /// The longest line or CSV record that is read.
    pub max_line_bytes: u64,
    /// What becomes of blank lines.
    pub blank_lines: BlankLines,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            format: None,
            key: "id".to_owned(),
            text: vec!["text".to_owned()],
            labels: "labels".to_owned(),
            label_separator: ";".to_owned(),
            max_line_bytes: 256 << 20,
            blank_lines: BlankLines::Skip,
        }
    }
}

/// A file's documents, one after the other.
///
/// A document that cannot be read is an error in its place; after one that ends the file
/// ([`ReadError::ends_the_file`]) nothing follows. A file without a document is an error too.
pub struct Documents {
    file: String,
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
        let format = options.format.unwrap_or_else(|| format_of(path));
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

/// Reads a whole file, in which every key may stand once.
///
/// # Errors
///
/// The first that a document has.
pub fn read_all(path: &Path, options: &ReadOptions) -> Result<Vec<Document>, ReadError> {
    let mut lines_by_key: HashMap<String, u64> = HashMap::new();
    let mut documents = Vec::new();
    let reader = Documents::open(path, options)?;
    let file = reader.file.clone();
    for document in reader {
        let document = document?;
        if let Some(first) = lines_by_key.insert(document.key.clone(), document.line) {
            let problem = Problem::DoubledKey { key: document.key, first };
            return Err(ReadError::at(&file, document.line, None, problem));
        }
        documents.push(document);
    }
    Ok(documents)
}

fn format_of(path: &Path) -> InputFormat {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if name.ends_with(".csv") { InputFormat::Csv } else { InputFormat::Jsonl }
}

/// The lines whose broken UTF-8 was repaired.
#[derive(Clone, Copy, Debug, Default)]
struct Repaired {
    n_lines: u64,
    first: u64,
}

impl Repaired {
    fn note(&mut self, line: u64) {
        self.first = if self.n_lines == 0 { line } else { self.first };
        self.n_lines += 1;
    }

    fn warn(self, file: &str) {
        if self.n_lines > 0 {
            let Repaired { n_lines, first } = self;
            tracing::warn!(
                file,
                n_lines,
                first,
                "invalid UTF-8: the broken bytes were replaced by U+FFFD"
            );
        }
    }
}

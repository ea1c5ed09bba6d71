//! The errors of reading.

use std::error::Error;
use std::{fmt, io};

use crate::document::memory_of;
use crate::labels::MAX_LABELS;

/// A document, or a whole file, that could not be read.
#[derive(Debug)]
pub struct ReadError {
    /// The file's name.
    pub file: String,
    /// The line, counted from 1, where it is about one.
    pub line: Option<u64>,
    /// The last line of the row that it is about.
    pub last_line: Option<u64>,
    /// The document's key, where it could be read.
    pub key: Option<String>,
    /// The problem.
    pub problem: Box<Problem>,
}

/// A problem of a line or file; each message says what to do.
#[allow(missing_docs)]
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("the file cannot be opened")]
    Open(#[source] io::Error),
    #[error("this is a folder: give a file")]
    Folder,
    #[error("it can be read once only: name `-` for one of the files")]
    Twice,
    #[error(
        "there is no document in it: write one JSON object on each line, or a CSV header and rows"
    )]
    Empty,
    #[error("the file cannot be read any further")]
    Read(#[source] io::Error),
    #[error("the gzip data ends early or is damaged: copy the file again")]
    Gzip(#[source] io::Error),
    #[error("the line is empty")]
    Blank,
    #[error("the line is longer than {max} bytes: split the document, or shorten its text")]
    TooLong { max: u64 },
    #[error("this is no JSON object, such as {{\"id\": \"1\", \"text\": \"...\"}}: {reason}")]
    NotJson { reason: String },
    #[error(
        "the row has {found} cells where the header has {expected}: quote cells with commas or line breaks"
    )]
    Cells { expected: u64, found: u64 },
    #[error(
        "the quote that opens here never closes, so that everything behind it is one cell: close it; a quote within a cell is written twice"
    )]
    OpenQuote,
    #[error(
        "text follows the quote that closes a cell: write quotes within a cell twice, and a comma behind the last"
    )]
    AfterQuote,
    #[error("the header has {found} columns, more than {max}: leave columns out")]
    Columns { found: u64, max: usize },
    #[error("the header has no column {wanted:?}, it has {found}: name the column with {option}")]
    NoColumn { wanted: String, found: String, option: &'static str },
    #[error(
        "the field {field:?} with the document's key is missing: add it, or name another with --key"
    )]
    KeyMissing { field: String },
    #[error("the key in {field:?} must be a string that is not empty, or a whole number")]
    KeyType { field: String },
    #[error("the key in {field:?} is not valid UTF-8")]
    KeyUtf8 { field: String },
    #[error("the field {field:?} with the text is missing: add it, or name another with --text")]
    TextMissing { field: String },
    #[error("the text in {field:?} must be a string")]
    TextType { field: String },
    #[error(
        "the labels in {field:?} must be an array of strings, or null for an unlabeled document"
    )]
    LabelsType { field: String },
    #[error("there are more than {max} labels in {field:?}: leave labels out")]
    TooManyLabels { field: String, max: usize },
    #[error(
        "document {key:?} has no labels in {field:?}, so there is nothing to learn from it: label it, leave it out, or name another field with --labels"
    )]
    NoLabels { key: String, field: String },
    #[error(
        "none of the {n_documents} documents has labels in {field:?}: label them, or name another field with --labels"
    )]
    NoneLabeled { n_documents: usize, field: String },
    #[error("the key {key:?} stands on line {first} already: give every document a key of its own")]
    DoubledKey { key: String, first: u64 },
}

impl Problem {
    /// Says that a document has more labels in a field than are kept.
    pub(crate) fn too_many_labels(field: &str) -> Self {
        Problem::TooManyLabels { field: field.to_owned(), max: MAX_LABELS }
    }
}

impl ReadError {
    /// Makes an error about a file as a whole.
    pub fn of_file(file: &str, problem: Problem) -> Self {
        let (file, problem) = (file.to_owned(), Box::new(problem));
        ReadError { file, line: None, last_line: None, key: None, problem }
    }

    /// Makes an error about a line.
    pub fn at(file: &str, line: u64, key: Option<String>, problem: Problem) -> Self {
        let (file, problem) = (file.to_owned(), Box::new(problem));
        ReadError { file, line: Some(line), last_line: Some(line), key, problem }
    }

    /// Says on which line the row ends.
    pub(crate) fn until(self, last_line: u64) -> Self {
        ReadError { last_line: Some(last_line), ..self }
    }

    /// Estimates what it takes in memory, in bytes.
    pub fn memory(&self) -> usize {
        // The message contains the strings that a problem holds.
        let named = self.problem.to_string().len();
        let strings = memory_of(&self.file) + self.key.as_ref().map_or(0, memory_of);
        size_of::<ReadError>() + size_of::<Problem>() + strings + named
    }

    /// Tells whether nothing after it can be read.
    pub fn ends_the_file(&self) -> bool {
        use Problem::{Columns, Empty, Folder, Gzip, NoColumn, Open, OpenQuote, Read, Twice};
        matches!(
            *self.problem,
            Open(_)
                | Folder
                | Twice
                | Empty
                | Read(_)
                | Gzip(_)
                | NoColumn { .. }
                | Columns { .. }
                | OpenQuote
        )
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}: {}", self.file, self.problem),
            None => write!(formatter, "{}: {}", self.file, self.problem),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

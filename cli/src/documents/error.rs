//! Why a document could not be read.

use std::error::Error;
use std::{fmt, io};

/// A document, or a whole file, that could not be read.
#[derive(Debug)]
pub struct ReadError {
    /// The file's name.
    pub file: String,
    /// The line, counted from 1, where it is about one.
    pub line: Option<u64>,
    /// The document's key, where it could be read.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: Box<Problem>,
}

/// What is wrong with a line or file; each message says what to do.
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
        "the labels in {field:?} must be an array of strings, or null for an unlabelled document"
    )]
    LabelsType { field: String },
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

impl ReadError {
    /// Makes an error about a file as a whole.
    pub fn of_file(file: &str, problem: Problem) -> Self {
        ReadError { file: file.to_owned(), line: None, key: None, problem: Box::new(problem) }
    }

    /// Makes an error about a line.
    pub fn at(file: &str, line: u64, key: Option<String>, problem: Problem) -> Self {
        ReadError { file: file.to_owned(), line: Some(line), key, problem: Box::new(problem) }
    }

    /// Tells whether nothing after it can be read.
    pub fn ends_the_file(&self) -> bool {
        use Problem::{Empty, Folder, Gzip, NoColumn, Open, Read, Twice};
        matches!(
            *self.problem,
            Open(_) | Folder | Twice | Empty | Read(_) | Gzip(_) | NoColumn { .. }
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

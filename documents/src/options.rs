//! The options of reading.

use std::path::Path;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// One JSON object on each line.
    Jsonl,
    /// Comma-separated values, the first row naming the columns.
    Csv,
}

/// The treatment of blank lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlankLines {
    /// It is passed over.
    #[default]
    Skip,
    /// It is an error, for a caller that answers every line.
    Report,
}

/// The format of a file, the names of its fields, and bounds.
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
    /// The separator of labels in a CSV cell.
    pub label_separator: String,
    /// The longest line or CSV record that is read.
    pub max_line_bytes: u64,
    /// The treatment of blank lines.
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

impl InputFormat {
    /// Returns the format that a file's name stands for.
    pub(crate) fn of_name(path: &Path) -> Self {
        let name = path.to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if name.ends_with(".csv") { InputFormat::Csv } else { InputFormat::Jsonl }
    }
}

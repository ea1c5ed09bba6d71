//! Reads documents, labeled or not, from JSON lines and CSV, plain or gzip.
//!
//! [`Documents`] streams a file and goes on after a document that cannot be read; [`read_all`],
//! [`read_to_learn`] and [`read_to_measure`] read a whole file and refuse it at the first error.
//!
//! ```
//! use autotag_documents::{Documents, ReadOptions};
//!
//! let lines: &[u8] = br#"{"id": "1", "text": "fishing quotas", "labels": ["sea"]}"#;
//! for document in Documents::from_reader("lines", lines, &ReadOptions::default())? {
//!     let document = document?;
//!     assert_eq!((document.key.as_str(), document.labels.len()), ("1", 1));
//! }
//! # Ok::<(), autotag_documents::ReadError>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod csv_row;
mod csv_rows;
mod document;
mod documents;
mod error;
mod input;
mod json_lines;
mod json_object;
mod labels;
mod options;
mod repaired;
#[cfg(test)]
mod tests;
mod whole;

pub use document::Document;
pub use documents::Documents;
pub use error::{Problem, ReadError};
pub use options::{BlankLines, InputFormat, ReadOptions};
pub use whole::{read_all, read_to_learn, read_to_measure};

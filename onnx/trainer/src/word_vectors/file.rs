//! The vectors found in a file, its lines and its errors, whatever its format.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::{Result, TrainError};

/// The rows of wanted words, by the words' ids.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) dimensions: usize,
    pub(super) rows: HashMap<u32, Vec<f32>>,
}

/// The largest absolute value of a vector. Trained vectors stay below 100; a model that starts with
/// values of many digits has no finite answer.
const MAX_VALUE: f32 = 1e6;

/// Refuses a value that is too large to train with.
pub(super) fn checked(value: f32) -> Result<f32, String> {
    if value.abs() <= MAX_VALUE {
        return Ok(value);
    }
    Err(format!("the value {value} is not within -{MAX_VALUE}..={MAX_VALUE}"))
}

/// Returns the error for a file, with the line where it is known.
pub(super) fn refuse(
    path: &Path,
    line: impl Into<Option<u64>>,
    reason: impl Into<String>,
) -> TrainError {
    TrainError::WordVectors { path: path.to_path_buf(), line: line.into(), reason: reason.into() }
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> TrainError {
    |error| refuse(path, None, error.to_string())
}

/// The longest line that is read.
const MAX_LINE: u64 = 1 << 20;

/// Reads the next line without its terminator; `None` at the end of the file.
pub(super) fn next_line<'b>(
    reader: &mut impl io::BufRead,
    line: &'b mut Vec<u8>,
) -> io::Result<Option<&'b [u8]>> {
    use io::{BufRead as _, Read as _};
    line.clear();
    if reader.by_ref().take(MAX_LINE).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
        let reason = format!("a line is longer than {MAX_LINE} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(Some(line.trim_ascii_end()))
}

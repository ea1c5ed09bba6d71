//! Reading a bundle's files, which may come from anybody: plain files only, of a bounded length.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use serde::Serialize;

use crate::{OnnxError, Result};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const LABELS: &str = "labels.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const NGRAMS: &str = "ngrams.json";
pub(crate) const MODEL: &str = "model.onnx";
pub(crate) const DATASTORE: &str = "datastore";
pub(crate) const CARD: &str = "card.md";
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const STAMP: &str = "stamp.json";

/// The most bytes of each file that is read into memory; the table in the documentation of
/// [`crate::bundle`] repeats them.
///
/// The configuration holds the history of a training, a tokenizer with 250,000 pieces has 17 MB, and
/// protobuf itself, the format of `model.onnx`, ends at 2 GiB.
const LIMITS: [(&str, u64); 8] = [
    (CONFIG, 16 << 20),
    (LABELS, 64 << 20),
    (TOKENIZER, 64 << 20),
    (NGRAMS, 256 << 20),
    (MODEL, (2 << 30) - 1),
    (CARD, 16 << 20),
    (MANIFEST, 1 << 20),
    (STAMP, 1 << 20),
];

/// Opens a plain file and returns its length; files that are read whole must not be too long.
///
/// # Errors
///
/// [`OnnxError::FileMissing`]; [`OnnxError::NotPlain`] for a link, a pipe, a device or a folder,
/// which is never opened, since that may wait for ever; [`OnnxError::FileTooLong`].
pub(super) fn open_plain(path: &Path) -> Result<(File, u64)> {
    let not_plain = || OnnxError::NotPlain { path: path.to_path_buf() };
    let entry = fs::symlink_metadata(path).map_err(|source| missing_or_io(path, source))?;
    if !entry.is_file() {
        return Err(not_plain());
    }
    let file = File::open(path).map_err(OnnxError::io(path, "open"))?;
    let metadata = file.metadata().map_err(OnnxError::io(path, "read"))?;
    // It may be another file than it was a moment ago.
    if !metadata.is_file() {
        return Err(not_plain());
    }
    check_length(path, metadata.len())?;
    Ok((file, metadata.len()))
}

/// Reads a plain file whole, if it is not too long.
///
/// # Errors
///
/// As [`open_plain`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let (file, length) = open_plain(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    // No more than it had a moment ago, should it be growing.
    file.take(length).read_to_end(&mut bytes).map_err(OnnxError::io(path, "read"))?;
    Ok(bytes)
}

fn missing_or_io(path: &Path, source: std::io::Error) -> OnnxError {
    let path = path.to_path_buf();
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => OnnxError::FileMissing { path },
        _ => OnnxError::Io { path, action: "read", source },
    }
}

fn check_length(path: &Path, found: u64) -> Result<()> {
    let limit = LIMITS.iter().find(|(name, _)| path.file_name().is_some_and(|n| n == *name));
    match limit {
        Some(&(_, limit)) if found > limit => {
            Err(OnnxError::FileTooLong { path: path.to_path_buf(), found, limit })
        }
        _ => Ok(()),
    }
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|source| OnnxError::Json { path: path.to_path_buf(), source })?;
    json.push(b'\n');
    write(path, &json)
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(OnnxError::io(path, "create"))?;
    file.write_all(bytes).map_err(OnnxError::io(path, "write"))
}

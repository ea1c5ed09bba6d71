//! The seal of a datastore at rest: a checksum of its whole file, which is there while nobody has
//! written since it was made.
//!
//! Why beside the checksums of values? They do not cover LMDB's own pages, and LMDB trusts those: a
//! page number that was changed can lead it out of its map, which kills the process. Whoever wants to
//! know about damage asks the seal before the environment is opened.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::files::DATA_FILE;

/// The state of a datastore's file, as its seal tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealState {
    /// The file is as its last writer left it.
    Whole,
    /// The file was changed since.
    Damaged,
    /// Its last writer did not live to seal it, or another one is at work.
    Unsealed,
}

/// No seal is longer.
const MAX_BYTES: u64 = 64;

fn seal_path(folder: &Path) -> PathBuf {
    folder.join("data.seal")
}

/// Compares a datastore's file with its seal, without opening it.
///
/// # Errors
///
/// When the file cannot be read.
pub fn check_seal(folder: &Path) -> io::Result<SealState> {
    let path = seal_path(folder);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SealState::Unsealed),
        // Whatever was made of it, it is not what was written.
        Ok(file) if !file.is_file() || file.len() > MAX_BYTES => return Ok(SealState::Damaged),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let sealed = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(SealState::Damaged),
        sealed => sealed?,
    };
    let is_whole = sealed == describe(&folder.join(DATA_FILE))?;
    Ok(if is_whole { SealState::Whole } else { SealState::Damaged })
}

/// Seals the file; nobody may write meanwhile.
pub(super) fn seal(folder: &Path) -> io::Result<()> {
    let description = describe(&folder.join(DATA_FILE))?;
    let (path, temporary) = (seal_path(folder), folder.join("data.seal.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(description.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

/// Takes the seal away, durably: the file is about to be changed.
pub(super) fn break_seal(folder: &Path) -> io::Result<()> {
    match fs::remove_file(seal_path(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed?;
            // On Windows a folder cannot be opened, nor need it be.
            File::open(folder).map_or(Ok(()), |folder| folder.sync_all())
        }
    }
}

/// Returns a file's length and CRC-32, as text.
fn describe(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let (mut buffer, mut length) = (vec![0; 1 << 18], 0u64);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{length} {:08x}\n", hasher.finalize())),
            n_read => {
                hasher.update(&buffer[..n_read]);
                length += n_read as u64;
            }
        }
    }
}

//! The structure of a datastore's file, read without LMDB before LMDB maps it.
//!
//! LMDB trusts its pages: a page number, an offset or a size that was changed leads it out of its map,
//! which kills the process. So a file is given to LMDB only after every page that LMDB could reach was
//! read and found to be one that LMDB writes. What the values hold is no matter here: they have
//! checksums of their own.

mod layout;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::files::{DATA_FILE, io_error};
use super::locks::is_written;
use crate::{Error, Result};

use walk::{Flaw, Metas, metas, walk};

/// The attempts at reading a file that another process changes meanwhile.
const ATTEMPTS: u32 = 10;

/// The pause before the second attempt; later ones wait longer.
const PAUSE: Duration = Duration::from_millis(2);

/// The structure of a file that LMDB may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    /// The number of databases.
    pub(super) n_databases: u64,
}

/// Checks that LMDB can read a datastore's file and write to it without leaving it.
///
/// Another process may commit meanwhile: a file that has a new commit afterwards is read again. A
/// commit leaves the pages of the one before as they are, so what is wrong while none comes is damage.
/// Where commits come faster than the file can be read, their writer has checked it when it began.
pub(super) fn check(folder: &Path) -> Result<Structure> {
    let path = folder.join(DATA_FILE);
    let damaged = |what| Error::DatastoreDamaged { path: folder.to_owned(), what };
    // Asked before it is opened: opening a pipe waits for who writes to it.
    if !fs::metadata(&path).map_err(io_error(&path, "look at"))?.is_file() {
        return Err(damaged("its file, which is no regular one,"));
    }
    let file = File::open(&path).map_err(io_error(&path, "open"))?;
    for attempt in 1..=ATTEMPTS {
        let before = metas(&file).ok();
        let (page, what) = match check_once(&file) {
            Ok(structure) => return Ok(structure),
            Err(Flaw::Io(error)) => return Err(io_error(&path, "read")(error)),
            Err(Flaw::Damage { page, what }) => (page, what),
        };
        if metas(&file).ok() == before {
            tracing::warn!(page, what, "LMDB could not read the file");
            return Err(damaged(what));
        }
        thread::sleep(PAUSE * attempt);
    }
    match metas(&file) {
        Ok(metas) if is_written(folder) => Ok(Structure::of(&metas)),
        _ => Err(damaged("a page")),
    }
}

fn check_once(file: &File) -> Result<Structure, Flaw> {
    let metas = metas(file)?;
    walk(file, &metas)?;
    Ok(Structure::of(&metas))
}

impl Structure {
    fn of(metas: &Metas) -> Self {
        Structure { n_databases: metas.newest.main.counts.entries }
    }
}

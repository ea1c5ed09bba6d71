//! The datastore's file, and the errors of what is done with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use heed::MdbError;

use crate::Error;
use crate::error::StoreFailure;

/// The environment's file inside the folder.
pub(super) const DATA_FILE: &str = "data.mdb";

/// Two meta pages: no environment is smaller.
pub(super) const SMALLEST_FILE: u64 = 2 * 4096;

/// The longest time that a handle which is being dropped on another thread may take to close.
pub(super) const CLOSING: Duration = Duration::from_secs(5);

/// Identifies an environment's file under whatever name: device and inode.
#[cfg(unix)]
pub(super) fn file_id(folder: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(folder.join(DATA_FILE)).ok()?;
    Some((file.dev(), file.ino()))
}

/// Elsewhere only the folder's canonical name tells.
#[cfg(not(unix))]
pub(super) fn file_id(_folder: &Path) -> Option<(u64, u64)> {
    None
}

/// Returns what turns a file system's error into ours.
pub(super) fn io_error(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Io { path: path.to_owned(), action, source }
}

/// Returns what turns LMDB's error into ours: what does not decode is damage.
pub(super) fn lmdb_error(folder: &Path, action: &'static str) -> impl Fn(heed::Error) -> Error {
    use MdbError::{Corrupted, Incompatible, Invalid, PageNotFound, VersionMismatch};
    move |source| {
        let path = folder.to_owned();
        match source {
            heed::Error::Mdb(Invalid | VersionMismatch) => {
                Error::DatastoreDamaged { path, what: "its file" }
            }
            heed::Error::Mdb(Corrupted | PageNotFound | Incompatible) => {
                Error::DatastoreDamaged { path, what: "a page" }
            }
            heed::Error::Decoding(_) => Error::DatastoreDamaged { path, what: "a value" },
            source => {
                let source = StoreFailure::Lmdb(source).into();
                Error::Lmdb { path, action, source }
            }
        }
    }
}

//! Write access: the files that processes lock, and what to do where they cannot be written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::files::{CLOSING, DATA_FILE, io_error};
use crate::{Error, Result};

/// Whoever writes holds an advisory lock on this file.
const WRITER_FILE: &str = "writer.lock";

/// LMDB's own file of locks and readers.
const LMDB_FILE: &str = "lock.mdb";

/// The number of readers that LMDB has room for, over all processes.
pub(super) const MAX_READERS: u32 = 512;

/// The length that LMDB gives its file: a head of 128 bytes and 64 for each reader.
pub(super) const LMDB_FILE_BYTES: u64 = 128 + 64 * MAX_READERS as u64;

/// The time that others may hold the writer's lock to fill the file up, or to look at who holds it.
const MOMENT: Duration = Duration::from_millis(500);

/// Takes the lock of whoever writes; waits for those who read without LMDB's locks, and a moment for
/// one who only fills the file up.
pub(super) fn lock_for_writing(folder: &Path) -> Result<File> {
    let path = folder.join(WRITER_FILE);
    let file = open_regular(&path, File::options().create(true).truncate(false).write(true));
    let file = file.map_err(write_error(folder, &path, "create"))?;
    let patience = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(io_error(&path, "lock")(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let only_readers = file.try_lock_shared().is_ok();
        if only_readers {
            file.unlock().map_err(io_error(&path, "unlock"))?;
        }
        if patience.elapsed() > if only_readers { CLOSING } else { MOMENT } {
            return Err(in_use(folder));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Keeps writers out as long as what it returns lives; `None` where nobody ever wrote.
///
/// Whoever cannot write to the folder reads without LMDB's locks, so that a writer would not know of
/// them and could use their pages again.
pub(super) fn lock_for_reading(folder: &Path) -> Result<Option<File>> {
    let path = folder.join(WRITER_FILE);
    let file = match open_regular(&path, File::options().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io_error(&path, "open"))?,
    };
    let patience = Instant::now();
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(io_error(&path, "lock")(error)),
            Err(TryLockError::WouldBlock) if patience.elapsed() > MOMENT => {
                return Err(in_use(folder));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Tells whether somebody holds the writer's lock.
pub(super) fn is_written(folder: &Path) -> bool {
    let file = open_regular(&folder.join(WRITER_FILE), File::options().read(true));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Makes the files that LMDB needs for reading and writing.
///
/// # Errors
///
/// [`Error::DatastoreNotWritable`] where this process may not write to the folder or its files.
pub(super) fn prepare_files(folder: &Path) -> Result<()> {
    allocate_locks(folder)?;
    touch_data(folder)
}

/// Gives LMDB's file of locks its whole length, in bytes that take room on the disk.
///
/// LMDB maps a file with holes, and on a full disk the first reader or writer that touches one is
/// killed by SIGBUS. Everybody passes this lock before LMDB maps the file, so nobody uses one that is
/// still short.
fn allocate_locks(folder: &Path) -> Result<()> {
    let path = folder.join(LMDB_FILE);
    let file = open_regular(&path, File::options().create(true).append(true));
    let mut file = file.map_err(write_error(folder, &path, "create"))?;
    let patience = Instant::now();
    while let Err(error) = file.try_lock() {
        match error {
            TryLockError::Error(error) => return Err(io_error(&path, "lock")(error)),
            TryLockError::WouldBlock if patience.elapsed() > CLOSING => return Err(in_use(folder)),
            TryLockError::WouldBlock => thread::sleep(Duration::from_millis(1)),
        }
    }
    let length = file.metadata().map_err(io_error(&path, "look at"))?.len();
    let missing = LMDB_FILE_BYTES.saturating_sub(length);
    file.write_all(&vec![0; missing as usize]).map_err(io_error(&path, "extend"))
}

/// Makes the datastore's file where there is none: LMDB's would be closed to other users, whatever the
/// umask says.
fn touch_data(folder: &Path) -> Result<()> {
    let path = folder.join(DATA_FILE);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    file.map(drop).map_err(write_error(folder, &path, "open"))
}

/// Makes the names in a folder durable, after the files that they lead to.
///
/// A file outlives a power cut once three things are on the disk, in this order: its content, its name
/// in the folder, and the folder's name in its parent.
///
/// # Errors
///
/// When the folder cannot be opened or the disk fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // On Windows a folder cannot be opened, nor need it be.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Makes the names in a folder durable, and the folder's own.
pub(super) fn sync_with_parent(folder: &Path) -> Result<()> {
    let folder = fs::canonicalize(folder).map_err(io_error(folder, "find"))?;
    sync_folder(&folder).map_err(io_error(&folder, "make durable"))?;
    match folder.parent() {
        // Where one may not read the parent, its owner made it.
        Some(parent) => match sync_folder(parent) {
            Err(error) if is_forbidden(&error) => Ok(()),
            synced => synced.map_err(io_error(parent, "make durable")),
        },
        None => Ok(()),
    }
}

/// Opens a file; a pipe in its place would let this process wait for ever.
fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    options.open(path)
}

fn in_use(folder: &Path) -> Error {
    Error::DatastoreInUse { path: folder.to_owned() }
}

/// Returns what turns a file system's error into ours, where something was to be written.
pub(super) fn write_error(
    folder: &Path,
    path: &Path,
    action: &'static str,
) -> impl Fn(io::Error) -> Error {
    move |source| match is_forbidden(&source) {
        true => not_writable(folder),
        false => io_error(path, action)(source),
    }
}

pub(super) fn not_writable(folder: &Path) -> Error {
    Error::DatastoreNotWritable { path: folder.to_owned() }
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

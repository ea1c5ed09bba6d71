//! Tantivy's directory of an index folder, with a checksum in `meta.json`.
//!
//! It differs from Tantivy's own [`MmapDirectory`], to which it leaves everything else, in this:
//!
//! - `meta.json`, which has no checksum of Tantivy's, gets one as its last entry, and before it the
//!   checksums of all segments' files: each file has its own, but nothing else says to which name it
//!   belongs. Every read of `meta.json` compares its checksum; a file without one, as another program
//!   writes it, is taken as it is.
//! - A copy of the newest `meta.json` is kept in autotag's folder, for repairs.
//! - Small files get the mode that the umask says, and not the mode of a private temporary file.
//! - The lock that readers take is not needed where the folder cannot be written to.
//! - A held lock can be handed over to the next caller that asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use autotag::datastore::sync_folder;
use serde::Deserialize;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    DirectoryLock, FileHandle, INDEX_WRITER_LOCK, Lock, MmapDirectory, WatchCallback, WatchHandle,
    WritePtr,
};
use tantivy::{Directory, Index};

use crate::error::io_error;
use crate::files::replace_unsynced;
use crate::layout::{META, META_COPY, own_folder, segment_file_names};
use crate::{Error, Result};

/// An index folder's files.
#[derive(Clone)]
pub(crate) struct FolderDirectory {
    files: MmapDirectory,
    path: PathBuf,
    /// The writer's lock, where it was handed over.
    handed_over: Arc<Mutex<Option<DirectoryLock>>>,
    /// The checksums of segments' files, which never change.
    checksums: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl fmt::Debug for FolderDirectory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("FolderDirectory").field(&self.path).finish()
    }
}

impl FolderDirectory {
    /// Opens a folder, which must be there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let files = MmapDirectory::open(path).map_err(|error| {
            let source = io::Error::other(error);
            Error::Io { path: path.to_owned(), action: "open", source }
        })?;
        let (handed_over, checksums) = (Arc::default(), Arc::default());
        Ok(FolderDirectory { files, path: path.to_owned(), handed_over, checksums })
    }

    /// Takes the writer's lock.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while somebody else holds it, and [`Error::Io`].
    pub(crate) fn lock_for_writing(&self) -> Result<DirectoryLock> {
        self.acquire_lock(&INDEX_WRITER_LOCK).map_err(|error| self.lock_error(error))
    }

    /// Locks writers out, as far as the folder's permissions allow.
    pub(crate) fn lock_for_checking(&self) -> Result<DirectoryLock> {
        let lock = self.acquire_lock(&INDEX_WRITER_LOCK);
        let lock = lock.or_else(|error| self.lock_unwritable(&INDEX_WRITER_LOCK, error));
        lock.map_err(|error| self.lock_error(error))
    }

    /// Hands a held lock over to the next that asks for the writer's lock: Tantivy's writer, which
    /// takes it by itself.
    pub(crate) fn hand_over(&self, lock: DirectoryLock) {
        *self.handed_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
    }

    fn lock_error(&self, error: LockError) -> Error {
        match error {
            LockError::LockBusy => Error::InUse,
            LockError::IoError(source) => {
                let source = io::Error::new(source.kind(), source.to_string());
                Error::Io { path: self.path.clone(), action: "lock", source }
            }
        }
    }

    /// Locks a lock file that may only be read; without one the index was never written to.
    fn lock_unwritable(&self, lock: &Lock, error: LockError) -> Result<DirectoryLock, LockError> {
        match &error {
            LockError::IoError(source) if is_unwritable(source) => {}
            _ => return Err(error),
        }
        let file = match File::open(self.path.join(&lock.filepath)) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                return Ok(DirectoryLock::from(Box::new(())));
            }
            file => file.map_err(LockError::wrap_io_error)?,
        };
        if lock.is_blocking {
            file.lock().map_err(LockError::wrap_io_error)?;
        } else if file.try_lock().is_err() {
            return Err(LockError::LockBusy);
        }
        Ok(DirectoryLock::from(Box::new(file)))
    }

    /// Writes a file atomically, with the mode of the umask.
    fn write_whole(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let (temporary, mut file) = self.new_temporary()?;
        let mut write = || {
            file.write_all(content)?;
            file.sync_data()?;
            fs::rename(&temporary, self.path.join(path))
        };
        write().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// Creates a file under a new name.
    fn new_temporary(&self) -> io::Result<(PathBuf, File)> {
        loop {
            let path = self.path.join(temporary_name());
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok((path, file?)),
            }
        }
    }

    /// Returns the checksums of the files that a `meta.json` lists, as far as they have one.
    fn checksums(&self, meta: &[u8]) -> BTreeMap<String, u32> {
        let listed = serde_json::from_slice::<Listed>(meta).unwrap_or_default();
        let mut known = self.checksums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = BTreeMap::new();
        for name in listed.segments.iter().flat_map(ListedSegment::files) {
            let checksum = known.get(&name).copied();
            if let Some(checksum) = checksum.or_else(|| footer_checksum(&self.path.join(&name))) {
                all.insert(name, checksum);
            }
        }
        known.clone_from(&all);
        all
    }

    /// Writes the copy of `meta.json`; without it, less can be repaired.
    fn keep_copy(&self, sealed: &[u8]) {
        let own = own_folder(&self.path);
        if own.is_dir()
            && let Err(error) = replace_unsynced(&own.join(META_COPY), sealed)
        {
            tracing::debug!(%error, "no copy of meta.json is kept");
        }
    }

    /// Restores a damaged `meta.json` from its copy, where that is whole; tells whether it did.
    ///
    /// The folder must be locked for writing.
    pub(crate) fn restore_meta(&self) -> Result<bool> {
        if self.atomic_read(Path::new(META)).is_ok_and(|meta| is_json(&meta)) {
            return Ok(false);
        }
        let Ok(copy) = fs::read(own_folder(&self.path).join(META_COPY)) else { return Ok(false) };
        if state(&copy) != MetaState::Sealed {
            return Ok(false);
        }
        let file = self.path.join(META);
        let written = self.write_whole(Path::new(META), &copy);
        written.map_err(io_error("write", &file))?;
        sync_folder(&self.path).map_err(io_error("write", &file))?;
        Ok(true)
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// Tells whether an error denies write access.
fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Returns a new name of the form that Tantivy gives to temporary files.
fn temporary_name() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = u64::from(NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut rest = u64::from(std::process::id()).wrapping_mul(7919).wrapping_add(number);
    let digits = (0..6).map(|_| {
        let digit = DIGITS[(rest % 36) as usize];
        rest /= 36;
        char::from(digit)
    });
    format!(".tmp{}", digits.collect::<String>())
}

/// The bytes before the checksum's digits, and behind them.
const SEAL: (&[u8], &[u8]) = (b",\n  \"autotag_checksum\": \"", b"\"\n}\n");

/// The digits of a checksum.
const DIGITS: usize = 8;

/// The state of a `meta.json` by its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetaState {
    /// It is as it was written.
    Sealed,
    /// It has no checksum: another program wrote it, or an earlier version.
    Unsealed,
    /// It was changed.
    Changed,
}

/// The part of `meta.json` that lists the files.
#[derive(Default, Deserialize)]
struct Listed {
    segments: Vec<ListedSegment>,
}

#[derive(Deserialize)]
struct ListedSegment {
    segment_id: String,
    deletes: Option<ListedDeletes>,
}

#[derive(Deserialize)]
struct ListedDeletes {
    opstamp: u64,
}

impl ListedSegment {
    fn files(&self) -> Vec<String> {
        let opstamp = self.deletes.as_ref().map(|deletes| deletes.opstamp);
        segment_file_names(&self.segment_id.replace('-', ""), opstamp)
    }
}

/// The part of a file's footer that is read.
#[derive(Deserialize)]
struct Footer {
    crc: u32,
}

/// Reads the checksum in a file's footer: JSON, its length (u32) and a magic number (u32).
fn footer_checksum(path: &Path) -> Option<u32> {
    /// Longer than any footer, in bytes.
    const MAX_FOOTER: u64 = 50_000;
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.checked_sub(8)?)).ok()?;
    let mut end = [0; 4];
    file.read_exact(&mut end).ok()?;
    let footer = u64::from(u32::from_le_bytes(end)).min(MAX_FOOTER);
    file.seek(SeekFrom::Start(length.checked_sub(8 + footer)?)).ok()?;
    let mut json = vec![0; footer as usize];
    file.read_exact(&mut json).ok()?;
    serde_json::from_slice::<Footer>(&json).ok().map(|footer| footer.crc)
}

/// The checksums of segments' files by their names.
pub(crate) type Checksums = BTreeMap<PathBuf, u32>;

/// The entry of `meta.json` with the checksums of files.
#[derive(Default, Deserialize)]
struct Recorded {
    #[serde(default)]
    autotag_files: Checksums,
}

/// Returns the checksums of segments' files in an index's `meta.json`; none where another program,
/// or an earlier version, wrote it.
pub(crate) fn recorded_checksums(index: &Index) -> Checksums {
    let meta = index.directory().atomic_read(Path::new(META)).unwrap_or_default();
    serde_json::from_slice::<Recorded>(&meta).unwrap_or_default().autotag_files
}

/// Appends the checksums of files to a JSON object, and its own checksum as the last entry.
fn sealed(meta: &[u8], files: &BTreeMap<String, u32>) -> Vec<u8> {
    let Some(object) = meta.trim_ascii_end().strip_suffix(b"}") else { return meta.to_vec() };
    let files = serde_json::to_string(files).expect("names and numbers encode");
    let mut object = object.trim_ascii_end().to_vec();
    object.extend(format!(",\n  \"autotag_files\": {files}").into_bytes());
    let digits = format!("{:08x}", crc32fast::hash(&object));
    [&object, SEAL.0, digits.as_bytes(), SEAL.1].concat()
}

fn state(meta: &[u8]) -> MetaState {
    let parts = || {
        let rest = meta.strip_suffix(SEAL.1)?;
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        Some((rest.strip_suffix(SEAL.0)?, digits))
    };
    match parts() {
        None => MetaState::Unsealed,
        Some((object, digits)) => {
            let is_same = format!("{:08x}", crc32fast::hash(object)).as_bytes() == digits;
            if is_same { MetaState::Sealed } else { MetaState::Changed }
        }
    }
}

impl Directory for FolderDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.files.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.files.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let content = self.files.atomic_read(path)?;
        if path == Path::new(META) && state(&content) == MetaState::Changed {
            let changed = io::Error::new(io::ErrorKind::InvalidData, "its checksum differs");
            return Err(OpenReadError::wrap_io_error(changed, path.to_owned()));
        }
        Ok(content)
    }

    fn atomic_write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if path != Path::new(META) {
            return self.write_whole(path, content);
        }
        let sealed = sealed(content, &self.checksums(content));
        self.write_whole(path, &sealed)?;
        self.keep_copy(&sealed);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        let is_writers = lock.filepath == INDEX_WRITER_LOCK.filepath;
        if is_writers
            && let Some(held) =
                self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return Ok(held);
        }
        match self.files.acquire_lock(lock) {
            // It keeps files from being removed while a reader opens them.
            Err(error) if !is_writers => self.lock_unwritable(lock, error),
            outcome => outcome,
        }
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_the_last_entry_of_the_object() {
        let files = BTreeMap::from([("a.term".to_owned(), 7)]);
        let sealed = sealed(b"{\n  \"opstamp\": 3\n}\n", &files);
        let object: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
        assert_eq!(
            (&object["opstamp"], &object["autotag_files"]["a.term"]),
            (&3.into(), &7.into())
        );
        assert!(object["autotag_checksum"].is_string());
        assert_eq!(state(&sealed), MetaState::Sealed);
        assert_eq!(super::sealed(b"nothing", &files), b"nothing");
    }

    #[test]
    fn a_changed_byte_is_noticed_or_outside_of_what_the_checksum_is_of() {
        let original = sealed(b"{\n  \"opstamp\": 3\n}\n", &BTreeMap::new());
        let n_object = original.len() - SEAL.0.len() - DIGITS - SEAL.1.len();
        for position in 0..original.len() {
            for bit in 0..8 {
                let mut changed = original.clone();
                changed[position] ^= 1 << bit;
                let state = state(&changed);
                assert_ne!(state, MetaState::Sealed, "bit {bit} of byte {position}");
                assert!(position >= n_object || state == MetaState::Changed);
            }
        }
        assert_eq!(state(b"{\n  \"opstamp\": 3\n}\n"), MetaState::Unsealed);
    }
}

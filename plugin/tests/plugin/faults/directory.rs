//! A Tantivy directory with injected failures.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, Lock, RamDirectory, TerminatingWrite, WatchCallback,
    WatchHandle, WritePtr,
};
use tantivy::{Directory, directory};

/// The manner of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is done: the disk is full.
    NoSpace,
    /// Nothing is done: the disk is broken.
    Broken,
    /// Half of what is to be written is, before the disk is full.
    Short,
    /// All is done, and the disk says that it failed, as when only the folder cannot be synced.
    Done,
}

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duration {
    Once,
    Forever,
}

/// The target of a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) duration: Duration,
    /// The first change of the disk that fails, counted from 1.
    pub(super) at: u64,
}

impl Kind {
    fn error(self) -> io::Error {
        // ENOSPC and EIO.
        io::Error::from_raw_os_error(match self {
            Kind::NoSpace | Kind::Short => 28,
            Kind::Broken | Kind::Done => 5,
        })
    }
}

/// Files in memory, every change of which may fail.
#[derive(Clone)]
pub(super) struct FaultyDirectory {
    files: RamDirectory,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    fault: Mutex<Option<Fault>>,
    n_changes: AtomicU64,
    n_failed: AtomicU64,
}

impl FaultyDirectory {
    pub(super) fn new(files: RamDirectory) -> Self {
        FaultyDirectory { files, state: Arc::default() }
    }

    /// Lets changes fail from now on.
    pub(super) fn arm(&self, fault: Fault) {
        self.state.n_changes.store(0, Ordering::SeqCst);
        *self.state.fault.lock().unwrap() = Some(fault);
    }

    /// Returns how many changes failed.
    pub(super) fn n_failed(&self) -> u64 {
        self.state.n_failed.load(Ordering::SeqCst)
    }
}

impl State {
    /// Counts a change; returns how it fails, where it does.
    fn next(&self) -> Option<Kind> {
        let fault = (*self.fault.lock().unwrap())?;
        let number = self.n_changes.fetch_add(1, Ordering::SeqCst) + 1;
        let fails = match fault.duration {
            Duration::Once => number == fault.at,
            Duration::Forever => number >= fault.at,
        };
        self.n_failed.fetch_add(u64::from(fails), Ordering::SeqCst);
        fails.then_some(fault.kind)
    }

    /// Makes a change that is done as a whole or not at all.
    fn attempt(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.next() {
            None => change(),
            Some(kind) => {
                if kind == Kind::Done {
                    change()?;
                }
                Err(kind.error())
            }
        }
    }
}

impl fmt::Debug for FaultyDirectory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FaultyDirectory")
    }
}

impl Directory for FaultyDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.files.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let mut outcome = Ok(());
        let attempted = self.state.attempt(|| {
            outcome = self.files.delete(path);
            Ok(())
        });
        attempted.map_err(|error| DeleteError::IoError {
            io_error: Arc::new(error),
            filepath: path.to_owned(),
        })?;
        outcome
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.files.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        if let Some(kind) = self.state.next() {
            if kind == Kind::Done {
                drop(self.files.open_write(path)?.terminate());
            }
            return Err(OpenWriteError::wrap_io_error(kind.error(), path.to_owned()));
        }
        let (file, state) = (self.files.open_write(path)?, self.state.clone());
        Ok(BufWriter::new(Box::new(FaultyFile { file, state })))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.files.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.state.attempt(|| self.files.atomic_write(path, data))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.state.attempt(|| self.files.sync_directory())
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        // On disk these are locks of the system's, which no full disk keeps.
        self.files.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}

struct FaultyFile {
    file: directory::WritePtr,
    state: Arc<State>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.state.next() {
            None => self.file.write(bytes),
            Some(Kind::Short) => {
                self.file.write_all(&bytes[..bytes.len() / 2])?;
                Err(Kind::Short.error())
            }
            Some(kind) => {
                if kind == Kind::Done {
                    self.file.write_all(bytes)?;
                }
                Err(kind.error())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.state.attempt(|| self.file.flush())
    }
}

impl TerminatingWrite for FaultyFile {
    fn terminate_ref(&mut self, token: AntiCallToken) -> io::Result<()> {
        self.state.attempt(|| self.file.terminate_ref(token))
    }
}

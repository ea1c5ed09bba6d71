//! The order in which a commit reaches the disk, as far as it matters after a power cut.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use autotag::Datastore;
use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    DirectoryLock, FileHandle, Lock, RamDirectory, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::{Index, IndexSettings};
use tantivy_autotag::{TaggingWriter, WriterOptions};
use tempfile::TempDir;

use crate::support::{LABELS, Words, datastore_options, document, schema, tagger};

/// A sync, and the datastore's prepared commit at that instant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// `meta.json` was renamed into its place.
    Published { is_journaled: bool },
    /// The folder was synced.
    Synced { is_journaled: bool },
}

/// Files in memory, which writes down what is done to them.
#[derive(Clone)]
struct Recording {
    files: RamDirectory,
    datastore: Datastore,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Recording {
    fn is_journaled(&self) -> bool {
        self.datastore.prepared().unwrap().is_some()
    }

    fn take(&self) -> Vec<Step> {
        std::mem::take(&mut self.steps.lock().unwrap())
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Recording")
    }
}

impl Directory for Recording {
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
        self.files.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new("meta.json") {
            let is_journaled = self.is_journaled();
            self.steps.lock().unwrap().push(Step::Published { is_journaled });
        }
        self.files.atomic_write(path, data)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let is_journaled = self.is_journaled();
        self.steps.lock().unwrap().push(Step::Synced { is_journaled });
        self.files.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.files.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.files.watch(callback)
    }
}

#[test]
fn the_journal_is_applied_only_after_tantivys_commit_is_durable() {
    let folder = TempDir::new().unwrap();
    let options = datastore_options(&LABELS);
    let datastore = Datastore::create(&folder.path().join("datastore"), &options).unwrap();
    let files = RamDirectory::create();
    let recording = Recording { files, datastore: datastore.clone(), steps: Arc::default() };
    let (schema, fields, _) = schema();
    let index = Index::create(recording.clone(), schema, IndexSettings::default()).unwrap();
    let options = WriterOptions::default();
    let encoder = tagger(Words::new(&LABELS));
    let writer =
        TaggingWriter::open(index, datastore.clone(), encoder, fields.clone(), options).unwrap();
    writer.add_labeled(document(&fields, "a", "program"), ["cat"]).unwrap();
    recording.take();
    writer.commit().unwrap();
    let steps = recording.take();
    let published = steps.iter().position(|step| matches!(step, Step::Published { .. })).unwrap();
    assert_eq!(steps[published], Step::Published { is_journaled: true }, "{steps:?}");
    let synced = steps[published + 1..].iter().find(|step| matches!(step, Step::Synced { .. }));
    assert_eq!(synced, Some(&Step::Synced { is_journaled: true }), "{steps:?}");
    assert!(!recording.is_journaled(), "it is applied in the end");
}

//! A datastore that is open: the environment, the search, and the snapshot that readers share.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::environment::Access;
use super::files::{DATA_FILE, SMALLEST_FILE, file_id, io_error};
use super::locks::{is_written, sync_with_parent};
use super::options::{DatastoreOptions, StorageOptions};
use super::search::Search;
use super::snapshot::{Changes, Snapshot};
use super::store::Store;
use crate::{Error, Fingerprint, Result};

/// The state that the handles, readers and writers of one open datastore share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) search: Search,
    /// The snapshot of the newest generation that was asked for.
    newest: Mutex<Option<Arc<Snapshot>>>,
    /// The items that differ between it and the last commit of this process.
    changes: Mutex<Option<Changes>>,
    /// The number of snapshots that were brought to a later commit.
    #[cfg(test)]
    pub(super) n_advanced: std::sync::atomic::AtomicUsize,
}

/// A snapshot is brought to a later commit where at most one item of so many was changed.
const LEAST_UNCHANGED: u64 = 8;

/// The datastores that are open in this process, by canonical folder: LMDB forbids opening an
/// environment twice, whatever the name.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Shared>>>> = Mutex::new(None);

impl Shared {
    /// Makes a datastore in a folder that has none.
    pub(super) fn create(
        folder: &Path,
        options: &DatastoreOptions,
        storage: StorageOptions,
    ) -> Result<Arc<Shared>> {
        fs::create_dir_all(folder).map_err(io_error(folder, "create"))?;
        let folder = fs::canonicalize(folder).map_err(io_error(folder, "find"))?;
        let create = || Store::create(&folder, options, storage);
        let shared = open_or_share(&folder, Access::ReadWrite, create)?;
        sync_with_parent(&folder)?;
        Ok(shared)
    }

    /// Opens the datastore in a folder, or shares the one that is open for reading already.
    pub(super) fn open(
        folder: &Path,
        encoder: &Fingerprint,
        access: Access,
        storage: StorageOptions,
    ) -> Result<Arc<Shared>> {
        let no_datastore = |_| Error::NoDatastore { path: folder.to_owned() };
        let folder = fs::canonicalize(folder).map_err(no_datastore)?;
        let data_file = fs::metadata(folder.join(DATA_FILE)).map_err(no_datastore)?;
        if data_file.is_file() && data_file.len() < SMALLEST_FILE {
            return Err(too_short(&folder));
        }
        let shared = open_or_share(&folder, access, || Store::open(&folder, access, storage))?;
        let found = shared.store.encoder();
        if found != *encoder {
            return Err(Error::EncoderMismatch { path: folder, expected: *encoder, found });
        }
        Ok(shared)
    }

    /// Returns the snapshot of the newest commit, loading it where it is not the last one loaded.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.read(|txn| {
            let generation = self.store.header(txn)?.generation;
            if let Some(snapshot) = &*newest
                && snapshot.generation == generation
            {
                return Ok(snapshot.clone());
            }
            // Where no reader holds the old one its memory is used for the new one, or free before that is
            // loaded.
            let old = newest.take();
            let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner).take();
            let snapshot = match (old, changes) {
                (Some(old), Some(Changes { from, to, touched }))
                    if (from, to) == (old.generation, generation)
                        && touched.len() * LEAST_UNCHANGED <= old.ids.len() as u64 =>
                {
                    #[cfg(test)]
                    self.n_advanced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Arc::unwrap_or_clone(old).advance(&self.store, txn, &touched)?
                }
                (old, _) => {
                    drop(old);
                    Snapshot::load(&self.store, txn)?
                }
            };
            let snapshot = Arc::new(snapshot);
            *newest = Some(snapshot.clone());
            Ok(snapshot)
        })
    }

    /// Notes a commit's changes of items; `None` where it changed labels, on which all items depend.
    pub(super) fn note(&self, committed: Option<Changes>) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes = match (changes.take(), committed) {
            (Some(earlier), Some(later)) if earlier.to == later.from => {
                let touched = earlier.touched | later.touched;
                Some(Changes { from: earlier.from, to: later.to, touched })
            }
            (_, later) => later,
        };
    }
}

/// Opens a datastore, which nobody else in this process does meanwhile, or shares the one that is
/// open; only immutable ones can be shared.
fn open_or_share(
    folder: &Path,
    access: Access,
    open: impl FnOnce() -> Result<Store>,
) -> Result<Arc<Shared>> {
    let mut registry = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = registry.get_or_insert_default();
    known.retain(|_, shared| shared.strong_count() > 0);
    let are_immutable =
        |store: &Store| (store.access(), access) == (Access::Immutable, Access::Immutable);
    match known.get(folder).and_then(Weak::upgrade) {
        Some(shared) if are_immutable(&shared.store) => return Ok(shared),
        // It has no lock that another handle could break.
        Some(shared) if shared.store.access() == Access::Unwritable => return Ok(shared),
        Some(_) => return Err(Error::DatastoreInUse { path: folder.to_owned() }),
        None => {}
    }
    // A hard link in another folder: LMDB's locks lie beside each, and would not know of each other.
    let file = file_id(folder);
    let is_same =
        |store: &Store| !are_immutable(store) && file.is_some() && file_id(store.folder()) == file;
    if known.values().filter_map(Weak::upgrade).any(|shared| is_same(&shared.store)) {
        return Err(Error::DatastoreInUse { path: folder.to_owned() });
    }
    let (store, search) = (open()?, Search::default());
    let shared = Arc::new(Shared {
        store,
        search,
        newest: Mutex::new(None),
        changes: Mutex::new(None),
        #[cfg(test)]
        n_advanced: Default::default(),
    });
    known.insert(folder.to_owned(), Arc::downgrade(&shared));
    Ok(shared)
}

/// Says that a file is too short for a datastore: damaged, unless another process is creating it.
fn too_short(folder: &Path) -> Error {
    let path = folder.to_owned();
    match is_written(folder) {
        true => Error::DatastoreInUse { path },
        false => Error::DatastoreDamaged { path, what: "its file, which is truncated," },
    }
}

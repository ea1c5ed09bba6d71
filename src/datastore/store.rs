//! One LMDB environment: records in, records out, its map growing with its content.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use heed::{Env, MdbError, RoTxn, RwTxn, WithoutTls};

use super::environment::{
    Access, CENTER, Databases, HEADER, JOURNAL, PAGE_MULTIPLE, UNCOVERED, check_length, fill_up,
    initialize, look_inside, open_env, read_header, refuse_existing, wait_until_closed,
};
use super::files::{DATA_FILE, io_error, lmdb_error};
use super::format::{Header, Journal, Operation, RecordView, decode_history};
use super::locks::{
    lock_for_reading, lock_for_writing, not_writable, prepare_files, sync_with_parent,
};
use super::options::{DatastoreOptions, StorageOptions};
use super::pages;
use crate::error::StoreFailure;
use crate::{Error, Fingerprint, LabelId, LabelVocabulary, Result, failpoint};

/// An open environment.
pub(super) struct Store {
    folder: PathBuf,
    env: Env<WithoutTls>,
    pub(super) databases: Databases,
    pub(super) dimensions: usize,
    encoder: Fingerprint,
    access: Access,
    storage: StorageOptions,
    is_damaged: AtomicBool,
    /// Every transaction holds it for reading; resizing the map, which LMDB allows only while this
    /// process has no transaction, holds it for writing. No thread may take it twice.
    map: RwLock<()>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("folder", &self.folder)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes an environment in a folder that has none.
    pub(super) fn create(
        folder: &Path,
        options: &DatastoreOptions,
        storage: StorageOptions,
    ) -> Result<Store> {
        let header = Header {
            dimensions: to_u32("dimensions", options.dimensions.get())?,
            n_trees: to_u32("n_trees", options.n_trees.get())?,
            encoder: options.encoder,
            generation: 0,
            n_items: 0,
            n_centered: 0,
            trees_checksum: 0,
            trees_generation: 0,
            n_uncovered: 0,
        };
        // First without the lock, whose file would be new beside a datastore that is there.
        refuse_existing(folder)?;
        let _lock = lock_for_writing(folder)?;
        wait_until_closed(folder);
        refuse_existing(folder)?;
        prepare_files(folder)?;
        let env = open_env(folder, Access::ReadWrite, storage)?;
        let databases = initialize(folder, &env, &header, &options.labels, storage)?;
        fill_up(folder, &env)?;
        sync_with_parent(folder)?;
        Ok(Store::new(folder, env, databases, &header, Access::ReadWrite, storage))
    }

    /// Opens the environment in a folder.
    pub(super) fn open(folder: &Path, access: Access, storage: StorageOptions) -> Result<Store> {
        wait_until_closed(folder);
        let access = match access {
            Access::ReadWrite if folder.join(DATA_FILE).is_file() => granted_access(folder)?,
            access => access,
        };
        let _reading = keep_writers_out(folder, access)?;
        pages::check(folder)?;
        let env = open_env(folder, access, storage)?;
        check_length(folder, &env, access)?;
        let inside = look_inside(folder, &env)?;
        let (databases, header) =
            inside.ok_or_else(|| Error::NoDatastore { path: folder.to_owned() })?;
        Ok(Store::new(folder, env, databases, &header, access, storage))
    }

    fn new(
        folder: &Path,
        env: Env<WithoutTls>,
        databases: Databases,
        header: &Header,
        access: Access,
        storage: StorageOptions,
    ) -> Store {
        Store {
            folder: folder.to_owned(),
            env,
            databases,
            dimensions: header.dimensions as usize,
            encoder: header.encoder,
            access,
            storage,
            is_damaged: AtomicBool::new(false),
            map: RwLock::new(()),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    pub(super) fn encoder(&self) -> Fingerprint {
        self.encoder
    }

    pub(super) fn storage(&self) -> StorageOptions {
        self.storage
    }

    /// Returns an error that names what does not decode.
    pub(super) fn damaged(&self, what: &'static str) -> Error {
        Error::DatastoreDamaged { path: self.folder.clone(), what }
    }

    /// Returns what turns LMDB's error into ours.
    pub(super) fn lmdb(&self, action: &'static str) -> impl Fn(heed::Error) -> Error {
        lmdb_error(&self.folder, action)
    }

    /// Reads within one transaction, which sees one commit's state.
    pub(super) fn read<T>(&self, mut look: impl FnMut(&RoTxn) -> Result<T>) -> Result<T> {
        let _reading = keep_writers_out(&self.folder, self.access)?;
        let outcome = self.try_read(&mut look);
        self.note_damage(outcome)
    }

    fn try_read<T>(&self, look: &mut impl FnMut(&RoTxn) -> Result<T>) -> Result<T> {
        loop {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            match self.env.read_txn() {
                Ok(txn) => return look(&txn),
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    drop(map);
                    self.resize(0)?;
                }
                Err(error) => return Err(self.lmdb("began to read")(error)),
            }
        }
    }

    /// Changes within one transaction; where the map is full it grows and the change runs again.
    pub(super) fn write<T>(
        &self,
        action: &'static str,
        mut change: impl FnMut(&mut RwTxn) -> Result<T>,
    ) -> Result<T> {
        // A process that was killed while it read would keep all pages from being used again that
        // are freed from then on.
        self.env.clear_stale_readers().map_err(self.lmdb("cleared dead readers"))?;
        loop {
            match self.try_write(action, &mut change) {
                Err(error) if is_mdb(&error, MdbError::MapFull) => self.grow()?,
                Err(error) if is_mdb(&error, MdbError::MapResized) => self.resize(0)?,
                outcome => return self.note_damage(outcome),
            }
        }
    }

    fn try_write<T>(
        &self,
        action: &'static str,
        change: &mut impl FnMut(&mut RwTxn) -> Result<T>,
    ) -> Result<T> {
        let _map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut txn = self.env.write_txn().map_err(self.lmdb("began to write"))?;
        let value = change(&mut txn)?;
        txn.commit().map_err(self.lmdb(action))?;
        failpoint::reach("datastore::committed");
        fill_up(&self.folder, &self.env)?;
        Ok(value)
    }

    fn note_damage<T>(&self, outcome: Result<T>) -> Result<T> {
        if matches!(outcome, Err(Error::DatastoreDamaged { .. })) {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Tells whether damage was met since this environment was opened.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    fn grow(&self) -> Result<()> {
        let size = self.env.info().map_size;
        tracing::debug!(from = size, "the map grows");
        self.resize(size.saturating_mul(2) & !(PAGE_MULTIPLE - 1))
    }

    /// Sets the map's size; 0 takes over the size that another process has set.
    fn resize(&self, size: usize) -> Result<()> {
        let _map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: LMDB demands that this process has no transaction. Each one holds `map` for
        // reading as long as it lives (`read`, `try_write`, `copy_to`), and we hold it for writing.
        #[allow(unsafe_code)]
        let resized = unsafe { self.env.resize(size) };
        resized.map_err(self.lmdb("resized the map"))
    }

    /// Returns the header as the transaction sees it.
    pub(super) fn header(&self, txn: &RoTxn) -> Result<Header> {
        let header = read_header(&self.folder, self.databases.meta, txn)?;
        header.ok_or_else(|| self.damaged("its header"))
    }

    /// Replaces the header.
    pub(super) fn put_header(&self, txn: &mut RwTxn, header: &Header) -> Result<()> {
        let put = self.databases.meta.put(txn, HEADER, &header.encode());
        put.map_err(self.lmdb("wrote its header"))
    }

    /// Returns the journal as the transaction sees it; `None` where nothing waits to be applied.
    pub(super) fn journal(&self, txn: &RoTxn) -> Result<Option<Journal>> {
        let lmdb = self.lmdb("read its journal");
        for entry in self.databases.meta.iter(txn).map_err(&lmdb)? {
            let (name, _) = entry.map_err(&lmdb)?;
            // A journal under another name would be lost without a word: names have no checksum.
            if ![HEADER, CENTER, UNCOVERED, JOURNAL].contains(&name) {
                return Err(self.damaged("its journal"));
            }
        }
        let bytes = self.databases.meta.get(txn, JOURNAL).map_err(&lmdb)?;
        let decode = |bytes| Journal::decode(bytes).ok_or_else(|| self.damaged("its journal"));
        bytes.map(decode).transpose()
    }

    /// Begins a journal: what is staged outlives this process.
    pub(super) fn put_journal(&self, txn: &mut RwTxn, journal: &Journal) -> Result<()> {
        let put = self.databases.meta.put(txn, JOURNAL, &journal.encode());
        put.map_err(self.lmdb("wrote its journal"))
    }

    /// Removes what is staged, and its journal.
    pub(super) fn clear_staged(&self, txn: &mut RwTxn) -> Result<()> {
        let lmdb = self.lmdb("dropped staged changes");
        self.databases.staged.clear(txn).map_err(&lmdb)?;
        self.databases.meta.delete(txn, JOURNAL).map(drop).map_err(&lmdb)
    }

    /// Returns the vocabulary as the transaction sees it.
    pub(super) fn vocabulary(&self, txn: &RoTxn) -> Result<LabelVocabulary> {
        let lmdb = self.lmdb("read the labels");
        let mut vocabulary = LabelVocabulary::default();
        for entry in self.databases.labels.iter(txn).map_err(&lmdb)? {
            let (id, bytes) = entry.map_err(&lmdb)?;
            let is_next = id as usize == vocabulary.len();
            let history = decode_history(bytes).filter(|_| is_next);
            let put = history.and_then(|history| vocabulary.put_history(LabelId(id), history));
            put.ok_or_else(|| self.damaged("a label"))?;
        }
        vocabulary.has_all_targets().then_some(vocabulary).ok_or_else(|| self.damaged("a label"))
    }

    /// Returns the items as the transaction sees them, in the order of their numbers.
    pub(super) fn items<'t>(
        &'t self,
        txn: &'t RoTxn,
    ) -> Result<impl Iterator<Item = Result<(u32, RecordView<'t>)>>> {
        let lmdb = self.lmdb("read the items");
        let entries = self.databases.items.iter(txn).map_err(&lmdb)?;
        Ok(entries.map(move |entry| {
            let (id, bytes) = entry.map_err(&lmdb)?;
            Ok((id, self.record(bytes)?))
        }))
    }

    /// Returns an item as the transaction sees it.
    pub(super) fn item<'t>(&self, txn: &'t RoTxn, id: u32) -> Result<Option<RecordView<'t>>> {
        let bytes = self.databases.items.get(txn, &id).map_err(self.lmdb("read an item"))?;
        bytes.map(|bytes| self.record(bytes)).transpose()
    }

    fn record<'b>(&self, bytes: &'b [u8]) -> Result<RecordView<'b>> {
        RecordView::decode(bytes, self.dimensions).ok_or_else(|| self.damaged("an item"))
    }

    /// Returns a staged operation, which must be there.
    pub(super) fn staged(&self, txn: &RoTxn, number: u64) -> Result<Operation> {
        let bytes = self.databases.staged.get(txn, &number).map_err(self.lmdb("read it"))?;
        let operation = bytes.and_then(|bytes| Operation::decode(bytes, self.dimensions));
        operation.ok_or_else(|| self.damaged("a staged change"))
    }

    /// Takes the lock that only one writer at a time holds, over all processes.
    pub(super) fn lock_for_writing(&self) -> Result<File> {
        match self.access {
            Access::ReadWrite => lock_for_writing(&self.folder),
            Access::Immutable => Err(Error::DatastoreReadOnly { path: self.folder.clone() }),
            Access::Unwritable => Err(not_writable(&self.folder)),
        }
    }

    /// Copies the committed state without free pages; the copy appears whole or not at all.
    ///
    /// The file is made durable before it gets its name, and then the name and the folder's own, so
    /// that whoever refers to the copy afterwards refers to one that outlives a power cut.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<()> {
        let _reading = keep_writers_out(&self.folder, self.access)?;
        fs::create_dir_all(folder).map_err(io_error(folder, "create"))?;
        let target = folder.join(DATA_FILE);
        if target.exists() {
            return Err(Error::DatastoreExists { path: folder.to_owned() });
        }
        let partial = folder.join("data.mdb.partial");
        let copied = {
            let _map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            self.env.copy_to_path(&partial, heed::CompactionOption::Enabled)
        };
        let file = self.note_damage(copied.map_err(self.lmdb("copied it")))?;
        file.sync_all().map_err(io_error(&partial, "write"))?;
        fs::rename(&partial, &target).map_err(io_error(&target, "create"))?;
        sync_with_parent(folder)
    }
}

/// Returns the access that this process has where it asks for all.
fn granted_access(folder: &Path) -> Result<Access> {
    match prepare_files(folder) {
        Err(Error::DatastoreNotWritable { .. }) => Ok(Access::Unwritable),
        prepared => prepared.map(|()| Access::ReadWrite),
    }
}

/// Keeps writers out as long as what it returns lives, where they would not know of this process.
fn keep_writers_out(folder: &Path, access: Access) -> Result<Option<File>> {
    match access {
        Access::Unwritable => lock_for_reading(folder),
        Access::ReadWrite | Access::Immutable => Ok(None),
    }
}

fn to_u32(name: &'static str, value: usize) -> Result<u32> {
    let expected = "at most 4294967295";
    u32::try_from(value).map_err(|_| Error::Parameter { name, value: value as f64, expected })
}

/// Tells whether LMDB's error is at the bottom of ours.
fn is_mdb(error: &Error, expected: MdbError) -> bool {
    let (Error::Lmdb { source, .. } | Error::Arroy { source, .. }) = error else { return false };
    match &source.0 {
        StoreFailure::Lmdb(heed::Error::Mdb(found))
        | StoreFailure::Arroy(arroy::Error::Heed(heed::Error::Mdb(found))) => *found == expected,
        StoreFailure::Lmdb(_) | StoreFailure::Arroy(_) => false,
    }
}

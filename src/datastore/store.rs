//! One LMDB environment: opened once per process, its map growing with its content.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use arroy::distances::Euclidean;
use heed::byteorder::BigEndian;
use heed::types::{Bytes, Str, U32, U64};
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls,
};

use super::format::{Header, HeaderError, VERSION};
use super::reader::Snapshot;
use super::search::Costs;
use super::{DatastoreOptions, StorageOptions};
use crate::{Error, Fingerprint, LabelVocabulary, Result};

/// The databases inside the environment; `format` says what they hold.
#[derive(Clone, Copy)]
pub(super) struct Databases {
    pub(super) meta: Database<'static, Str, Bytes>,
    pub(super) items: Database<'static, U32<BigEndian>, Bytes>,
    pub(super) keys: Database<'static, Bytes, U32<BigEndian>>,
    pub(super) labels: Database<'static, U32<BigEndian>, Str>,
    pub(super) staged: Database<'static, U64<BigEndian>, Bytes>,
    pub(super) trees: arroy::Database<'static, Euclidean>,
}

/// The key of the header in `meta`.
const HEADER: &str = "header";

/// The environment's file inside the folder.
const DATA_FILE: &str = "data.mdb";

/// Whoever writes holds an advisory lock on this file.
const LOCK_FILE: &str = "writer.lock";

/// Two meta pages: no environment is smaller.
const SMALLEST_FILE: u64 = 2 * 4096;

/// How long a handle that is being dropped on another thread may take to close.
const CLOSING: Duration = Duration::from_secs(5);

/// How an environment is used in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Transactions of both kinds, with LMDB's locks.
    ReadWrite,
    /// Nobody writes, in any process: no lock file, nothing is written to the folder.
    Immutable,
}

/// An open environment, its newest snapshot and what searching it costs.
pub(super) struct Store {
    folder: PathBuf,
    env: Env<WithoutTls>,
    pub(super) databases: Databases,
    pub(super) dimensions: usize,
    encoder: Fingerprint,
    access: Access,
    storage: StorageOptions,
    /// Every transaction holds it for reading; resizing the map, which LMDB allows only while this
    /// process has no transaction, holds it for writing. No thread may take it twice.
    map: RwLock<()>,
    /// The snapshot of the newest generation that was asked for.
    pub(super) newest: Mutex<Option<Arc<Snapshot>>>,
    pub(super) costs: Mutex<Costs>,
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

/// The environments that are open in this process, by canonical folder: LMDB forbids opening one
/// twice, and heed does not see through a path that becomes canonical only later.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Store>>>> = Mutex::new(None);

impl Store {
    /// Makes an environment in a folder that has none.
    pub(super) fn create(
        folder: &Path,
        options: &DatastoreOptions,
        storage: StorageOptions,
    ) -> Result<Arc<Store>> {
        fs::create_dir_all(folder).map_err(io_error(folder, "create"))?;
        let folder = fs::canonicalize(folder).map_err(io_error(folder, "find"))?;
        let header = Header {
            dimensions: to_u32("dimensions", options.dimensions.get())?,
            n_trees: to_u32("n_trees", options.n_trees.get())?,
            encoder: options.encoder,
            generation: 0,
            n_items: 0,
        };
        open_or_share(&folder, Access::ReadWrite, || {
            refuse_existing(&folder, storage)?;
            let _lock = lock_for_writing(&folder)?;
            let env = open_env(&folder, Access::ReadWrite, storage)?;
            if env.unnamed_database_stat().entries > 0 {
                return Err(Error::DatastoreExists { path: folder.clone() });
            }
            let databases = initialize(&folder, &env, &header, &options.labels, storage)?;
            fill_up(&folder, &env)?;
            Ok(Store::new(folder.clone(), env, databases, &header, Access::ReadWrite, storage))
        })
    }

    /// Opens the environment in a folder, or shares the one that is open for reading already.
    pub(super) fn open(
        folder: &Path,
        encoder: &Fingerprint,
        access: Access,
        storage: StorageOptions,
    ) -> Result<Arc<Store>> {
        let no_datastore = || Error::NoDatastore { path: folder.to_owned() };
        let folder = fs::canonicalize(folder).map_err(|_| no_datastore())?;
        let data_file = fs::metadata(folder.join(DATA_FILE)).map_err(|_| no_datastore())?;
        let damaged = |what| Error::DatastoreDamaged { path: folder.clone(), what };
        if data_file.len() < SMALLEST_FILE {
            return Err(damaged("its file, which is truncated,"));
        }
        let store = open_or_share(&folder, access, || {
            let env = open_env(&folder, access, storage)?;
            let length = check_length(&folder, &env, access)?;
            let inside = look_inside(&folder, &env)?;
            let (databases, header) = inside.ok_or_else(no_datastore)?;
            let store = Store::new(folder.clone(), env, databases, &header, access, storage);
            if length == Length::FilledUp {
                Snapshot::load_newest(&store)?;
            }
            Ok(store)
        })?;
        if store.encoder != *encoder {
            let (path, found) = (store.folder.clone(), store.encoder);
            return Err(Error::EncoderMismatch { path, expected: *encoder, found });
        }
        Ok(store)
    }

    fn new(
        folder: PathBuf,
        env: Env<WithoutTls>,
        databases: Databases,
        header: &Header,
        access: Access,
        storage: StorageOptions,
    ) -> Store {
        Store {
            folder,
            env,
            databases,
            dimensions: header.dimensions as usize,
            encoder: header.encoder,
            access,
            storage,
            map: RwLock::new(()),
            newest: Mutex::new(None),
            costs: Mutex::default(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
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
        loop {
            match self.try_write(action, &mut change) {
                Err(error) if is_mdb(&error, MdbError::MapFull) => self.grow()?,
                Err(error) if is_mdb(&error, MdbError::MapResized) => self.resize(0)?,
                outcome => return outcome,
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
        fill_up(&self.folder, &self.env)?;
        Ok(value)
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

    /// Returns the vocabulary as the transaction sees it.
    pub(super) fn vocabulary(&self, txn: &RoTxn) -> Result<LabelVocabulary> {
        let lmdb = self.lmdb("read the labels");
        let mut vocabulary = LabelVocabulary::default();
        for entry in self.databases.labels.iter(txn).map_err(&lmdb)? {
            let (id, name) = entry.map_err(&lmdb)?;
            let inserted = vocabulary.insert(name).map_err(|_| self.damaged("a label"))?;
            if inserted.0 != id || vocabulary.len() != id as usize + 1 {
                return Err(self.damaged("a label"));
            }
        }
        Ok(vocabulary)
    }

    /// Takes the lock that only one writer at a time holds, over all processes.
    pub(super) fn lock_for_writing(&self) -> Result<File> {
        match self.access {
            Access::ReadWrite => lock_for_writing(&self.folder),
            Access::Immutable => Err(Error::DatastoreReadOnly { path: self.folder.clone() }),
        }
    }

    /// Copies the committed state without free pages; the copy appears whole or not at all.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<()> {
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
        let file = copied.map_err(self.lmdb("copied it"))?;
        file.sync_all().map_err(io_error(&partial, "write"))?;
        fs::rename(&partial, &target).map_err(io_error(&target, "create"))
    }
}

/// The granularity of map sizes: a multiple of every platform's page size.
const PAGE_MULTIPLE: usize = 64 * 1024;

/// Opens an environment, which nobody else in this process does meanwhile, or shares the one that
/// is open; only immutable ones can be shared.
fn open_or_share(
    folder: &Path,
    access: Access,
    open: impl FnOnce() -> Result<Store>,
) -> Result<Arc<Store>> {
    let mut registry = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let stores = registry.get_or_insert_default();
    stores.retain(|_, store| store.strong_count() > 0);
    match stores.get(folder).and_then(Weak::upgrade) {
        Some(store) if (store.access, access) == (Access::Immutable, Access::Immutable) => {
            return Ok(store);
        }
        Some(_) => return Err(Error::DatastoreInUse { path: folder.to_owned() }),
        None => {}
    }
    let store = Arc::new(open()?);
    stores.insert(folder.to_owned(), Arc::downgrade(&store));
    Ok(store)
}

/// Refuses a folder that has a datastore, writing nothing into it.
///
/// What died while it created a datastore has left an environment without content, which is none.
fn refuse_existing(folder: &Path, storage: StorageOptions) -> Result<()> {
    let length = fs::metadata(folder.join(DATA_FILE)).map_or(0, |file| file.len());
    if length >= SMALLEST_FILE {
        let env = open_env(folder, Access::Immutable, storage)?;
        if env.unnamed_database_stat().entries > 0 {
            return Err(Error::DatastoreExists { path: folder.to_owned() });
        }
    }
    Ok(())
}

fn open_env(folder: &Path, access: Access, storage: StorageOptions) -> Result<Env<WithoutTls>> {
    let file_length = fs::metadata(folder.join(DATA_FILE)).map_or(0, |file| file.len() as usize);
    let map_size = storage.initial_map_bytes.max(file_length).next_multiple_of(PAGE_MULTIPLE);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_size).max_dbs(8).max_readers(512);
    // SAFETY: the file is changed through LMDB alone, under its lock file. Without that lock
    // (`Immutable`) the caller has promised that nobody changes it at all. `OPEN` keeps this process
    // from opening it twice, and a file shorter than its pages is refused before pages are read.
    #[allow(unsafe_code)]
    let open = || unsafe {
        if access == Access::Immutable {
            options.flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK);
        }
        options.open(folder)
    };
    let env = open_when_closed(folder, open)?;
    if access == Access::ReadWrite {
        env.clear_stale_readers().map_err(lmdb_error(folder, "cleared dead readers"))?;
    }
    Ok(env)
}

/// What a file's length was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Whole,
    /// It was short: what the missing part held reads as zeros now.
    FilledUp,
}

/// Refuses a truncated file, of which reading the missing part would kill the process.
///
/// A process that died between a commit and [`fill_up`] has left a file that is short but whole;
/// where we may write, zeros fill it up, and only zeros where content belongs are damage.
fn check_length(folder: &Path, env: &Env<WithoutTls>, access: Access) -> Result<Length> {
    let file = fs::metadata(folder.join(DATA_FILE));
    let length = file.map_err(io_error(folder, "look at the datastore in"))?.len();
    if length >= expected_length(env) {
        return Ok(Length::Whole);
    }
    match access {
        Access::ReadWrite => fill_up(folder, env).map(|()| Length::FilledUp),
        Access::Immutable => {
            let what = "its file, which is truncated,";
            Err(Error::DatastoreDamaged { path: folder.to_owned(), what })
        }
    }
}

/// Gives the file the length that its last page's number says.
///
/// LMDB leaves pages at the end unwritten that a transaction took and freed. Filling them up makes
/// a truncated file recognizable.
fn fill_up(folder: &Path, env: &Env<WithoutTls>) -> Result<()> {
    let expected = expected_length(env);
    let file = env.try_clone_inner_file().map_err(lmdb_error(folder, "looked at its file"))?;
    let io_error = io_error(folder, "extend the datastore in");
    if file.metadata().map_err(&io_error)?.len() < expected {
        file.set_len(expected).map_err(&io_error)?;
    }
    Ok(())
}

fn expected_length(env: &Env<WithoutTls>) -> u64 {
    let page_size = u64::from(env.unnamed_database_stat().page_size);
    (env.info().last_page_number as u64 + 1) * page_size
}

/// Opens once the last handle, which another thread may be dropping, is closed.
fn open_when_closed(
    folder: &Path,
    mut open: impl FnMut() -> heed::Result<Env<WithoutTls>>,
) -> Result<Env<WithoutTls>> {
    let mut opened = open();
    if matches!(opened, Err(heed::Error::EnvAlreadyOpened)) {
        if let Some(closing) = heed::env_closing_event(folder) {
            closing.wait_timeout(CLOSING);
        }
        opened = open();
    }
    match opened {
        Err(heed::Error::EnvAlreadyOpened) => {
            Err(Error::DatastoreInUse { path: folder.to_owned() })
        }
        opened => opened.map_err(lmdb_error(folder, "opened it")),
    }
}

/// Creates the databases, growing a map that is too small even for them.
fn initialize(
    folder: &Path,
    env: &Env<WithoutTls>,
    header: &Header,
    labels: &LabelVocabulary,
    storage: StorageOptions,
) -> Result<Databases> {
    let mut size = storage.initial_map_bytes.next_multiple_of(PAGE_MULTIPLE);
    loop {
        match try_initialize(env, header, labels) {
            Err(heed::Error::Mdb(MdbError::MapFull)) => {
                size *= 2;
                // SAFETY: the environment is known to this function only, and the transaction that
                // failed is gone.
                #[allow(unsafe_code)]
                let resized = unsafe { env.resize(size) };
                resized.map_err(lmdb_error(folder, "resized the map"))?;
            }
            databases => return databases.map_err(lmdb_error(folder, "created its databases")),
        }
    }
}

fn try_initialize(
    env: &Env<WithoutTls>,
    header: &Header,
    labels: &LabelVocabulary,
) -> heed::Result<Databases> {
    let txn = env.write_txn()?;
    let created = env.create_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
        let meta = opener.create_database::<Str, Bytes>(txn, Some("meta"))?;
        let items = opener.create_database(txn, Some("items"))?;
        let keys = opener.create_database(txn, Some("keys"))?;
        let names = opener.create_database::<U32<BigEndian>, Str>(txn, Some("labels"))?;
        let staged = opener.create_database(txn, Some("staged"))?;
        let trees = opener.create_database(txn, Some("trees"))?;
        meta.put(txn, HEADER, &header.encode())?;
        for (id, name) in (0..).zip(labels.names()) {
            names.put(txn, &id, name)?;
        }
        Ok(CommitOrAbort::<_, ()>::Commit((meta, items, keys, names, staged, trees)))
    })?;
    let (meta, items, keys, labels, staged, trees) = created.unwrap_commit();
    Ok(Databases { meta, items, keys, labels, staged, trees })
}

/// Opens the databases and reads the header; `None` where the environment is not a datastore.
fn look_inside(folder: &Path, env: &Env<WithoutTls>) -> Result<Option<(Databases, Header)>> {
    let lmdb = lmdb_error(folder, "opened its databases");
    let txn = env.read_txn().map_err(&lmdb)?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
        let meta = opener.open_database(txn, Some("meta"))?;
        let items = opener.open_database(txn, Some("items"))?;
        let keys = opener.open_database(txn, Some("keys"))?;
        let labels = opener.open_database(txn, Some("labels"))?;
        let staged = opener.open_database(txn, Some("staged"))?;
        let trees = opener.open_database(txn, Some("trees"))?;
        Ok(CommitOrAbort::<_, ()>::Commit((meta, items, keys, labels, staged, trees)))
    });
    let (meta, items, keys, labels, staged, trees) = opened.map_err(&lmdb)?.unwrap_commit();
    let Some(meta) = meta else { return Ok(None) };
    // The header first: a newer format may have other databases.
    let txn = env.read_txn().map_err(&lmdb)?;
    let header = read_header(folder, meta, &txn)?;
    let databases = (|| {
        Some(Databases {
            meta,
            items: items?,
            keys: keys?,
            labels: labels?,
            staged: staged?,
            trees: trees?,
        })
    })();
    match (databases, header) {
        (Some(databases), Some(header)) => Ok(Some((databases, header))),
        _ => {
            Err(Error::DatastoreDamaged { path: folder.to_owned(), what: "its list of databases" })
        }
    }
}

fn read_header(
    folder: &Path,
    meta: Database<'static, Str, Bytes>,
    txn: &RoTxn,
) -> Result<Option<Header>> {
    let bytes = meta.get(txn, HEADER).map_err(lmdb_error(folder, "read its header"))?;
    let path = || folder.to_owned();
    match bytes.map(Header::decode).transpose() {
        Ok(header) => Ok(header),
        Err(HeaderError::Version(found)) => {
            Err(Error::DatastoreVersion { path: path(), found, supported: VERSION })
        }
        Err(HeaderError::Damaged) => {
            Err(Error::DatastoreDamaged { path: path(), what: "its header" })
        }
    }
}

fn lock_for_writing(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(io_error(&path, "create"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::DatastoreInUse { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(&path, "lock")(error)),
    }
}

fn to_u32(name: &'static str, value: usize) -> Result<u32> {
    let expected = "at most 4294967295";
    u32::try_from(value).map_err(|_| Error::Parameter { name, value: value as f64, expected })
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
            source => Error::Lmdb { path, action, source },
        }
    }
}

/// Tells whether LMDB's error is at the bottom of ours.
fn is_mdb(error: &Error, expected: MdbError) -> bool {
    match error {
        Error::Lmdb { source: heed::Error::Mdb(found), .. }
        | Error::Arroy { source: arroy::Error::Heed(heed::Error::Mdb(found)), .. } => {
            *found == expected
        }
        _ => false,
    }
}

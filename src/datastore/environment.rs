//! Opening LMDB environments: what a folder must have before pages of its file are read.

use std::fs;
use std::path::Path;
use std::time::Instant;

use arroy::distances::Euclidean;
use heed::byteorder::BigEndian;
use heed::types::{Bytes, Str, U32, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, WithoutTls};

use super::files::{CLOSING, DATA_FILE, SMALLEST_FILE, io_error, lmdb_error};
use super::format::{Header, HeaderError, VERSION, encode_history};
use super::locks::{MAX_READERS, lock_for_writing};
use super::options::StorageOptions;
use super::pages;
use super::seal::{SealState, check_seal};
use crate::{Error, LabelId, LabelVocabulary, Result};

/// The databases inside the environment; `format` says what they hold.
#[derive(Clone, Copy)]
pub(super) struct Databases {
    pub(super) meta: Database<'static, Str, Bytes>,
    pub(super) items: Database<'static, U32<BigEndian>, Bytes>,
    pub(super) keys: Database<'static, Bytes, U32<BigEndian>>,
    pub(super) documents: Database<'static, Bytes, Bytes>,
    pub(super) labels: Database<'static, U32<BigEndian>, Bytes>,
    pub(super) staged: Database<'static, U64<BigEndian>, Bytes>,
    pub(super) trees: arroy::Database<'static, Euclidean>,
}

impl Databases {
    /// Returns all of them by name, their entries as they are stored.
    pub(super) fn all(&self) -> [(&'static str, Database<'static, Bytes, Bytes>); 7] {
        [
            ("meta", self.meta.remap_types()),
            ("items", self.items.remap_types()),
            ("keys", self.keys.remap_types()),
            ("documents", self.documents.remap_types()),
            ("labels", self.labels.remap_types()),
            ("staged", self.staged.remap_types()),
            ("trees", self.trees.remap_types()),
        ]
    }
}

/// The key of the header in `meta`.
pub(super) const HEADER: &str = "header";

/// The key of the trees' center in `meta`, which is there where there are trees.
pub(super) const CENTER: &str = "center";

/// The key of the items' numbers in `meta` that the trees do not cover, which is there where there are some.
pub(super) const UNCOVERED: &str = "uncovered";

/// The key of the journal in `meta`, which is there while changes wait to be applied.
pub(super) const JOURNAL: &str = "journal";

/// The access of this process to an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Transactions of both kinds, with LMDB's locks.
    ReadWrite,
    /// Nobody writes, in any process: no lock file, nothing is written to the folder.
    Immutable,
    /// This process may not write, others might: as `Immutable`, but writers are kept out while this
    /// process reads.
    Unwritable,
}

/// The granularity of map sizes: a multiple of every platform's page size.
pub(super) const PAGE_MULTIPLE: usize = 64 * 1024;

/// Refuses a folder that has a datastore, writing nothing into it.
///
/// A process that died while it created a datastore has left an environment without content, which is none.
pub(super) fn refuse_existing(folder: &Path) -> Result<()> {
    let length = fs::metadata(folder.join(DATA_FILE)).map_or(0, |file| file.len());
    if length >= SMALLEST_FILE && pages::check(folder)?.n_databases > 0 {
        return Err(Error::DatastoreExists { path: folder.to_owned() });
    }
    Ok(())
}

/// Opens an environment whose pages were checked.
pub(super) fn open_env(
    folder: &Path,
    access: Access,
    storage: StorageOptions,
) -> Result<Env<WithoutTls>> {
    let file_length = fs::metadata(folder.join(DATA_FILE)).map_or(0, |file| file.len() as usize);
    let map_size = storage.initial_map_bytes.max(file_length).next_multiple_of(PAGE_MULTIPLE);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_size).max_dbs(8).max_readers(MAX_READERS);
    // SAFETY: the file is changed through LMDB alone, under its lock file. Without that lock the
    // caller has promised that nobody changes it at all (`Immutable`), or keeps writers out while it
    // reads (`Unwritable`). `OPEN` keeps this process from opening it twice, and every page that LMDB
    // could reach was checked before.
    #[allow(unsafe_code)]
    let open = || unsafe {
        if access != Access::ReadWrite {
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

/// Refuses a truncated file, even where only free pages are missing.
///
/// A process that died between a commit and [`fill_up`] has left a file that is short but whole, and
/// has not sealed it: the pages that are used were checked. Where we may write, zeros fill it up. A
/// process that is alive and writes fills the file up itself.
pub(super) fn check_length(folder: &Path, env: &Env<WithoutTls>, access: Access) -> Result<()> {
    if file_length(folder)? >= expected_length(env) {
        return Ok(());
    }
    let state = check_seal(folder).map_err(io_error(folder, "read the seal in"))?;
    if state != SealState::Unsealed {
        let what = "its file, which is truncated,";
        return Err(Error::DatastoreDamaged { path: folder.to_owned(), what });
    }
    if access != Access::ReadWrite {
        return Ok(());
    }
    let patience = Instant::now();
    loop {
        match lock_for_writing(folder) {
            Ok(_lock) => return fill_up(folder, env),
            Err(Error::DatastoreInUse { .. }) if file_length(folder)? >= expected_length(env) => {
                return Ok(());
            }
            Err(Error::DatastoreInUse { .. }) if patience.elapsed() < CLOSING => {}
            Err(error) => return Err(error),
        }
    }
}

fn file_length(folder: &Path) -> Result<u64> {
    let file = fs::metadata(folder.join(DATA_FILE));
    Ok(file.map_err(io_error(folder, "look at the datastore in"))?.len())
}

/// Gives the file the length that its last page's number says.
///
/// LMDB leaves pages at the end unwritten that a transaction took and freed. Filling them up makes
/// a truncated file recognizable. Only whoever holds the writer's lock may do so: the file could
/// grow between the look at its length and the change, which would then cut it.
pub(super) fn fill_up(folder: &Path, env: &Env<WithoutTls>) -> Result<()> {
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
        wait_until_closed(folder);
        opened = open();
    }
    match opened {
        Err(heed::Error::EnvAlreadyOpened) => {
            Err(Error::DatastoreInUse { path: folder.to_owned() })
        }
        opened => opened.map_err(lmdb_error(folder, "opened it")),
    }
}

/// Waits until an environment that nobody has a handle of any more is closed.
pub(super) fn wait_until_closed(folder: &Path) {
    if let Some(closing) = heed::env_closing_event(folder) {
        closing.wait_timeout(CLOSING);
    }
}

/// Creates the databases, growing a map that is too small even for them.
pub(super) fn initialize(
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
        let documents = opener.create_database(txn, Some("documents"))?;
        let names = opener.create_database::<U32<BigEndian>, Bytes>(txn, Some("labels"))?;
        let staged = opener.create_database(txn, Some("staged"))?;
        let trees = opener.create_database(txn, Some("trees"))?;
        meta.put(txn, HEADER, &header.encode())?;
        for id in (0..labels.len() as u32).map(LabelId) {
            names.put(txn, &id.0, &encode_history(&labels.history(id)))?;
        }
        let labels = names;
        let all = (meta, items, keys, documents, labels, staged, trees);
        Ok(CommitOrAbort::<_, ()>::Commit(all))
    })?;
    let (meta, items, keys, documents, labels, staged, trees) = created.unwrap_commit();
    Ok(Databases { meta, items, keys, documents, labels, staged, trees })
}

/// Opens the databases and reads the header; `None` where the environment is not a datastore.
pub(super) fn look_inside(
    folder: &Path,
    env: &Env<WithoutTls>,
) -> Result<Option<(Databases, Header)>> {
    let lmdb = lmdb_error(folder, "opened its databases");
    let txn = env.read_txn().map_err(&lmdb)?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
        let meta = opener.open_database(txn, Some("meta"))?;
        let items = opener.open_database(txn, Some("items"))?;
        let keys = opener.open_database(txn, Some("keys"))?;
        let documents = opener.open_database(txn, Some("documents"))?;
        let labels = opener.open_database(txn, Some("labels"))?;
        let staged = opener.open_database(txn, Some("staged"))?;
        let trees = opener.open_database(txn, Some("trees"))?;
        let all = (meta, items, keys, documents, labels, staged, trees);
        Ok(CommitOrAbort::<_, ()>::Commit(all))
    });
    let (meta, items, keys, documents, labels, staged, trees) =
        opened.map_err(&lmdb)?.unwrap_commit();
    let Some(meta) = meta else { return Ok(None) };
    // The header first: a newer format may have other databases.
    let txn = env.read_txn().map_err(&lmdb)?;
    let header = read_header(folder, meta, &txn)?;
    let databases = (|| {
        Some(Databases {
            meta,
            items: items?,
            keys: keys?,
            documents: documents?,
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

pub(super) fn read_header(
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

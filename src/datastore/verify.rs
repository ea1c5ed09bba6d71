//! Checking all that lies in a datastore, and what waits in its journal.

use std::collections::BTreeMap;

use heed::RoTxn;
use roaring::RoaringBitmap;

use super::format::{Header, Operation, RecordView, decode_document};
use super::store::Store;
use super::{LabelSet, LabelVocabulary, trees};
use crate::{Embedding, Error, Result};

/// So many problems are listed; more are only counted.
const MAX_LISTED: usize = 100;

/// What [`Datastore::verify`](super::Datastore::verify) found.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DatastoreReport {
    /// The number of items.
    pub n_items: u64,
    /// The datastore's generation.
    pub generation: u64,
    /// The first problems that were found.
    pub problems: Vec<DatastoreProblem>,
    /// The number of problems.
    pub n_problems: u64,
}

/// Something in a datastore that should not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatastoreProblem {
    /// The header counts other items than there are.
    #[error("the header counts {counted} items where there are {found}")]
    Count {
        /// As the header says.
        counted: u64,
        /// As they are.
        found: u64,
    },
    /// LMDB counts other entries in a database than there are.
    #[error("the database {database:?} counts {counted} entries where there are {found}")]
    Entries {
        /// The database.
        database: &'static str,
        /// As LMDB says.
        counted: u64,
        /// As they are.
        found: u64,
    },
    /// An item's bytes are no item.
    #[error("item {item} does not decode")]
    Item {
        /// The item's number.
        item: u32,
    },
    /// An item cannot be found by its key.
    #[error("item {item} is not found by its key {key:?}")]
    Unreachable {
        /// The item's number.
        item: u32,
        /// Its key.
        key: String,
    },
    /// A key has no item of its own.
    #[error("key {key:?} leads to item {item}, which is not its own")]
    Key {
        /// The key.
        key: String,
        /// The number that it leads to.
        item: u32,
    },
    /// What is kept of a document does not decode.
    #[error("what is kept of document {key:?} does not decode")]
    Document {
        /// The document's key.
        key: String,
    },
    /// The trees are not those that were written.
    #[error("the trees were changed after they were written")]
    ChangedTrees,
    /// The trees hold an item otherwise than it is, or not at all, or one that is not there.
    #[error("the trees are not those of item {item}")]
    Trees {
        /// The item's number.
        item: u32,
    },
    /// Something as a whole cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Changes that a writer prepared and nobody has applied or discarded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedChanges {
    /// The generation that the datastore has once they are applied.
    pub generation: u64,
    /// The labels as they are once they are applied.
    pub labels: LabelVocabulary,
    /// What becomes of neighbors, in its order.
    pub changes: Vec<PreparedChange>,
    /// The documents of which something is kept (true) or nothing more is (false).
    pub documents: BTreeMap<String, bool>,
}

/// What becomes of the neighbor of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedChange {
    /// The key.
    pub key: String,
    /// The labels that the item which is put under the key was given; `None` where its item is
    /// deleted.
    pub labels: Option<LabelSet>,
}

impl DatastoreReport {
    fn add(&mut self, problem: DatastoreProblem) {
        self.n_problems += 1;
        if self.problems.len() < MAX_LISTED {
            self.problems.push(problem);
        }
    }

    /// Notes a failure, and goes on.
    fn note<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.add(DatastoreProblem::Unreadable(with_causes(&error)))).ok()
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Reads everything, as one commit left it.
pub(super) fn verify(store: &Store) -> Result<DatastoreReport> {
    store.read(|txn| {
        let mut report = DatastoreReport::default();
        let Some(header) = report.note(store.header(txn)) else { return Ok(report) };
        report.generation = header.generation;
        let checked = check_entries(store, txn, &mut report);
        report.note(checked);
        let vocabulary = report.note(store.vocabulary(txn)).unwrap_or_default();
        let mut ids = RoaringBitmap::new();
        let checked = check_items(store, txn, &vocabulary, &mut ids, &mut report);
        report.note(checked);
        report.n_items = ids.len();
        if header.n_items != ids.len() {
            let (counted, found) = (header.n_items, ids.len());
            report.add(DatastoreProblem::Count { counted, found });
        }
        let checked = check_keys(store, txn, &ids, &mut report);
        report.note(checked);
        let checked = check_documents(store, txn, &vocabulary, &mut report);
        report.note(checked);
        let checked = check_trees(store, txn, &header, &ids, &mut report);
        report.note(checked);
        let prepared = read_prepared(store, txn);
        report.note(prepared);
        Ok(report)
    })
}

/// Checks that each database has as many entries as LMDB counts.
fn check_entries(store: &Store, txn: &RoTxn, report: &mut DatastoreReport) -> Result<()> {
    for (database, entries) in store.databases.all() {
        let lmdb = store.lmdb("counted entries");
        let counted = entries.len(txn).map_err(&lmdb)?;
        let mut found = 0;
        for entry in entries.iter(txn).map_err(&lmdb)? {
            entry.map_err(&lmdb)?;
            found += 1;
        }
        if counted != found {
            report.add(DatastoreProblem::Entries { database, counted, found });
        }
    }
    Ok(())
}

/// Checks that each item decodes and is found by its key; collects the numbers.
fn check_items(
    store: &Store,
    txn: &RoTxn,
    vocabulary: &LabelVocabulary,
    ids: &mut RoaringBitmap,
    report: &mut DatastoreReport,
) -> Result<()> {
    let lmdb = store.lmdb("read the items");
    for entry in store.databases.items.iter(txn).map_err(&lmdb)? {
        let (item, bytes) = entry.map_err(&lmdb)?;
        ids.insert(item);
        let record = RecordView::decode(bytes, store.dimensions).filter(|record| {
            let is_known = |label: &crate::LabelId| label.index() < vocabulary.len();
            record.labels.ids().iter().all(is_known)
                && Embedding::new(record.values().collect::<Vec<f32>>()).is_ok()
        });
        let Some(record) = record else {
            report.add(DatastoreProblem::Item { item });
            continue;
        };
        let found = store.databases.keys.get(txn, record.key.as_bytes()).map_err(&lmdb)?;
        if found != Some(item) {
            let key = record.key.to_owned();
            report.add(DatastoreProblem::Unreachable { item, key });
        }
    }
    Ok(())
}

/// Checks that each key leads to an item, which has no other key.
fn check_keys(
    store: &Store,
    txn: &RoTxn,
    ids: &RoaringBitmap,
    report: &mut DatastoreReport,
) -> Result<()> {
    let lmdb = store.lmdb("read the keys");
    let mut seen = RoaringBitmap::new();
    for entry in store.databases.keys.iter(txn).map_err(&lmdb)? {
        let (key, item) = entry.map_err(&lmdb)?;
        if !ids.contains(item) || !seen.insert(item) {
            let key = String::from_utf8_lossy(key).into_owned();
            report.add(DatastoreProblem::Key { key, item });
        }
    }
    Ok(())
}

/// Checks that what is kept of documents decodes.
fn check_documents(
    store: &Store,
    txn: &RoTxn,
    vocabulary: &LabelVocabulary,
    report: &mut DatastoreReport,
) -> Result<()> {
    let lmdb = store.lmdb("read the documents");
    for entry in store.databases.documents.iter(txn).map_err(&lmdb)? {
        let (key, bytes) = entry.map_err(&lmdb)?;
        let document = decode_document(bytes, store.dimensions);
        let is_known = |label: &crate::LabelId| label.index() < vocabulary.len();
        let is_whole = document.is_some_and(|found| found.rejected.ids().iter().all(is_known));
        if !is_whole || std::str::from_utf8(key).is_err() {
            let key = String::from_utf8_lossy(key).into_owned();
            report.add(DatastoreProblem::Document { key });
        }
    }
    Ok(())
}

/// Checks that the trees are those that were written, hold the items' vectors and lead to all.
fn check_trees(
    store: &Store,
    txn: &RoTxn,
    header: &Header,
    ids: &RoaringBitmap,
    report: &mut DatastoreReport,
) -> Result<()> {
    let Some(center) = store.center(txn)? else {
        // There are no trees before the first commit.
        if header.n_centered > 0 || !ids.is_empty() {
            report.add(DatastoreProblem::ChangedTrees);
        }
        return Ok(());
    };
    if !trees::are_whole(store, txn, header)? {
        // What leads back to itself would be followed for ever.
        report.add(DatastoreProblem::ChangedTrees);
        return Ok(());
    }
    let lmdb = store.lmdb("read the items");
    let reached = trees::reached(store, txn)?;
    for item in ids ^ &reached {
        report.add(DatastoreProblem::Trees { item });
    }
    for item in ids & &reached {
        let bytes = store.databases.items.get(txn, &item).map_err(&lmdb)?;
        let record = bytes.and_then(|bytes| RecordView::decode(bytes, store.dimensions));
        let Some(record) = record else { continue };
        let stored = trees::vector(store, txn, item)?;
        let is_same = stored.is_some_and(|stored| {
            let expected = trees::centered(record.values(), &center).map(f32::to_bits);
            stored.iter().copied().map(f32::to_bits).eq(expected)
        });
        if !is_same {
            report.add(DatastoreProblem::Trees { item });
        }
    }
    Ok(())
}

/// Reads the changes in the journal; `None` where there is none.
pub(super) fn read_prepared(store: &Store, txn: &RoTxn) -> Result<Option<PreparedChanges>> {
    let Some(journal) = store.journal(txn)? else { return Ok(None) };
    let mut labels = store.vocabulary(txn)?;
    for (id, history) in journal.labels {
        labels.put_history(id, history).ok_or_else(|| store.damaged("its journal"))?;
    }
    labels.has_all_targets().then_some(()).ok_or_else(|| store.damaged("its journal"))?;
    let (mut changes, mut documents) = (Vec::new(), BTreeMap::new());
    for number in 0..journal.n_operations {
        match staged(store, txn, number)? {
            Operation::Put(record) => {
                let known = record.labels.ids().iter().all(|label| label.index() < labels.len());
                if !known {
                    return Err(store.damaged("a staged change"));
                }
                let given = Some(record.labels);
                changes.push(PreparedChange { key: record.key.into(), labels: given });
            }
            Operation::Delete(key) => {
                changes.push(PreparedChange { key: key.into(), labels: None });
            }
            Operation::PutDocument(key, _) => drop(documents.insert(key.into(), true)),
            Operation::DeleteDocument(key) => drop(documents.insert(key.into(), false)),
        }
    }
    Ok(Some(PreparedChanges { generation: journal.generation, labels, changes, documents }))
}

/// Reads a staged operation, which must be there.
pub(super) fn staged(store: &Store, txn: &RoTxn, number: u64) -> Result<Operation> {
    let bytes = store.databases.staged.get(txn, &number).map_err(store.lmdb("read it"))?;
    let operation = bytes.and_then(|bytes| Operation::decode(bytes, store.dimensions));
    operation.ok_or_else(|| store.damaged("a staged change"))
}

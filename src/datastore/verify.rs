//! Checking all that lies in a datastore, and what waits in its journal.

use std::collections::BTreeMap;

use heed::RoTxn;
use roaring::RoaringBitmap;

use super::document::decode_document;
use super::format::{Operation, RecordView};
use super::index::NeighborIndex;
use super::item::Source;
use super::report::{DatastoreProblem, DatastoreReport, PreparedChange, PreparedChanges};
use super::store::Store;
use crate::{Embedding, LabelVocabulary, Result};

/// Reads everything, as one commit left it.
pub(super) fn verify(store: &Store, index: &dyn NeighborIndex) -> Result<DatastoreReport> {
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
        let checked = index.verify(store, txn, &ids, &mut report);
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
            record.labels.ids().iter().chain(record.undecided.ids()).all(is_known)
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
        match store.staged(txn, number)? {
            Operation::Put(record) => {
                let mut used = record.labels.ids().iter().chain(record.undecided.ids());
                let known = used.all(|label| label.index() < labels.len());
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
            Operation::DeleteAllDocuments => {
                documents = stored_documents(store, txn)?;
                changes = deleted_items(store, txn)?;
            }
        }
    }
    Ok(Some(PreparedChanges { generation: journal.generation, labels, changes, documents }))
}

/// Returns the keys of all documents of which something is kept, each as one of which nothing is any more.
fn stored_documents(store: &Store, txn: &RoTxn) -> Result<BTreeMap<String, bool>> {
    let lmdb = store.lmdb("read the documents");
    let mut documents = BTreeMap::new();
    for entry in store.databases.documents.iter(txn).map_err(&lmdb)? {
        let (key, _) = entry.map_err(&lmdb)?;
        let key = std::str::from_utf8(key).map_err(|_| store.damaged("a key"))?;
        documents.insert(key.to_owned(), false);
    }
    Ok(documents)
}

/// Returns the deletions of all items that people labeled.
fn deleted_items(store: &Store, txn: &RoTxn) -> Result<Vec<PreparedChange>> {
    let mut changes = Vec::new();
    for item in store.items(txn)? {
        let (_, record) = item?;
        if record.source == Source::Human {
            changes.push(PreparedChange { key: record.key.to_owned(), labels: None });
        }
    }
    Ok(changes)
}

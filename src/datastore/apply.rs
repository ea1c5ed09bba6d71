//! Applies committed operations to LMDB: items with their keys and numbers, and documents.

use heed::{RoTxn, RwTxn};
use roaring::RoaringBitmap;

use super::document::encode_document;
use super::format::{Operation, Record};
use super::item::Source;
use super::store::Store;
use crate::Result;

/// Applies an operation to the items and documents.
pub(super) fn apply_one(
    store: &Store,
    txn: &mut RwTxn,
    ids: &mut Ids,
    operation: &Operation,
) -> Result<()> {
    let lmdb = store.lmdb("wrote a document");
    let documents = store.databases.documents;
    match operation {
        Operation::Put(record) => put(store, txn, ids, record),
        Operation::Delete(key) => delete(store, txn, ids, key),
        Operation::PutDocument(key, document) => {
            // A neighbor's embedding stands with the neighbor.
            let id = store.databases.keys.get(txn, key.as_bytes()).map_err(&lmdb)?;
            let embedding = document.embedding().filter(|_| id.is_none());
            let bytes = encode_document(document, embedding);
            documents.put(txn, key.as_bytes(), &bytes).map_err(lmdb)
        }
        Operation::DeleteDocument(key) => {
            documents.delete(txn, key.as_bytes()).map(drop).map_err(lmdb)
        }
        Operation::DeleteAllDocuments => {
            documents.clear(txn).map_err(lmdb)?;
            delete_labeled(store, txn, ids)
        }
    }
}

fn put(store: &Store, txn: &mut RwTxn, ids: &mut Ids, record: &Record) -> Result<()> {
    let lmdb = store.lmdb("wrote an item");
    let key = record.key.as_bytes();
    let id = match store.databases.keys.get(txn, key).map_err(&lmdb)? {
        Some(id) => id,
        None => {
            let id = ids.take();
            store.databases.keys.put(txn, key, &id).map_err(&lmdb)?;
            id
        }
    };
    ids.touched.insert(id);
    store.databases.items.put(txn, &id, &record.encode()).map_err(lmdb)
}

fn delete(store: &Store, txn: &mut RwTxn, ids: &mut Ids, key: &str) -> Result<()> {
    let lmdb = store.lmdb("deleted an item");
    let key = key.as_bytes();
    let Some(id) = store.databases.keys.get(txn, key).map_err(&lmdb)? else { return Ok(()) };
    store.databases.keys.delete(txn, key).map_err(&lmdb)?;
    store.databases.items.delete(txn, &id).map_err(&lmdb)?;
    ids.free(id);
    Ok(())
}

/// Deletes the items that people labeled, some at a time: what is deleted cannot be iterated over.
fn delete_labeled(store: &Store, txn: &mut RwTxn, ids: &mut Ids) -> Result<()> {
    const AT_ONCE: usize = 1024;
    let used: Vec<u32> = ids.used.iter().collect();
    for some in used.chunks(AT_ONCE) {
        let mut keys = Vec::with_capacity(some.len());
        for &id in some {
            let item = store.item(txn, id)?;
            let labeled = item.filter(|record| record.source == Source::Human);
            keys.extend(labeled.map(|record| record.key.to_owned()));
        }
        for key in keys {
            delete(store, txn, ids, &key)?;
        }
    }
    Ok(())
}

/// The numbers in use; new items get the smallest free one.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub(super) used: RoaringBitmap,
    /// No number below is free.
    next: u32,
    /// The numbers whose items are new, changed or gone.
    pub(super) touched: RoaringBitmap,
}

impl Ids {
    pub(super) fn load(store: &Store, txn: &RoTxn) -> Result<Self> {
        let lmdb = store.lmdb("read the keys");
        let mut used = RoaringBitmap::new();
        for entry in store.databases.keys.iter(txn).map_err(&lmdb)? {
            used.insert(entry.map_err(&lmdb)?.1);
        }
        Ok(Ids { used, next: 0, touched: RoaringBitmap::new() })
    }

    fn take(&mut self) -> u32 {
        while self.used.contains(self.next) {
            self.next += 1;
        }
        self.used.insert(self.next);
        self.next
    }

    fn free(&mut self, id: u32) {
        self.used.remove(id);
        self.touched.insert(id);
        self.next = self.next.min(id);
    }
}

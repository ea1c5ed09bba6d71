//! Staging changes and committing them in one transaction.

use std::fs::File;
use std::sync::Arc;

use heed::{RoTxn, RwTxn};
use roaring::RoaringBitmap;

use super::format::{Operation, Record};
use super::store::Store;
use super::{Source, trees};
use crate::{Embedding, Error, LabelSet, LabelVocabulary, Result};

/// The longest key, in bytes: LMDB's limit.
pub const MAX_KEY_BYTES: usize = 511;

/// Collects changes; nothing is visible to readers before [`DatastoreWriter::commit`].
///
/// Dropping a writer loses what it has not committed, and so does the death of its process.
#[derive(Debug)]
pub struct DatastoreWriter {
    store: Arc<Store>,
    /// The committed labels, and those of staged items behind them.
    vocabulary: LabelVocabulary,
    n_committed_labels: usize,
    /// The newest changes, in their order; those before them are in the database `staged`.
    buffer: Vec<Operation>,
    buffer_bytes: usize,
    n_spilled: u64,
    /// Locked as long as this writer lives.
    _lock: File,
}

impl DatastoreWriter {
    pub(super) fn begin(store: &Arc<Store>) -> Result<Self> {
        let lock = store.lock_for_writing()?;
        let (vocabulary, leftovers) = store.read(|txn| {
            let n_staged = store.databases.staged.len(txn);
            Ok((store.vocabulary(txn)?, n_staged.map_err(store.lmdb("read staged changes"))?))
        })?;
        if leftovers > 0 {
            tracing::debug!(leftovers, "dropping changes that nobody committed");
            store.write("dropped staged changes", |txn| clear_staged(store, txn))?;
        }
        Ok(DatastoreWriter {
            store: store.clone(),
            n_committed_labels: vocabulary.len(),
            vocabulary,
            buffer: Vec::new(),
            buffer_bytes: 0,
            n_spilled: 0,
            _lock: lock,
        })
    }

    /// Stores an item under its key, replacing the one that is there.
    ///
    /// A label that the datastore does not know joins its vocabulary with the commit.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] unless the key has 1 to 511 bytes, [`Error::Dimensions`] for an embedding of
    /// another length, [`Error::LabelName`] for a label that cannot become a facet path; nothing is
    /// staged then.
    pub fn put(
        &mut self,
        key: &str,
        embedding: &Embedding,
        labels: &[&str],
        source: Source,
    ) -> Result<()> {
        check_key(key)?;
        check_dimensions(self.store.dimensions, embedding)?;
        let labels = self.label_ids(labels)?;
        let embedding = embedding.values().into();
        self.stage(Operation::Put(Record { key: key.into(), labels, source, embedding }))
    }

    /// Deletes an item; a key that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a key that cannot be there.
    pub fn delete(&mut self, key: &str) -> Result<()> {
        check_key(key)?;
        self.stage(Operation::Delete(key.into()))
    }

    /// Makes all changes visible at once, durably.
    ///
    /// # Errors
    ///
    /// When LMDB or the disk fails; nothing is committed then, the changes stay staged, and the
    /// commit can be tried again.
    pub fn commit(&mut self) -> Result<()> {
        if self.buffer.is_empty() && self.n_spilled == 0 {
            return Ok(());
        }
        let n_operations = self.n_spilled + self.buffer.len() as u64;
        let _span = tracing::debug_span!("commit", n_operations).entered();
        self.store.write("committed", |txn| self.apply(txn))?;
        self.n_committed_labels = self.vocabulary.len();
        self.n_spilled = 0;
        self.clear_buffer();
        Ok(())
    }

    fn label_ids(&mut self, names: &[&str]) -> Result<LabelSet> {
        // All are checked before one is added, so that a refused item leaves no label behind.
        for name in names {
            if self.vocabulary.id(name).is_none() {
                LabelVocabulary::new([name])?;
            }
        }
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            ids.push(self.vocabulary.insert(name)?);
        }
        Ok(ids.into_iter().collect())
    }

    fn stage(&mut self, operation: Operation) -> Result<()> {
        let bytes = operation.encoded_len() + size_of::<Operation>();
        if !self.buffer.is_empty() && self.buffer_bytes + bytes > self.store.storage().staged_bytes
        {
            self.spill()?;
        }
        self.buffer_bytes += bytes;
        self.buffer.push(operation);
        Ok(())
    }

    /// Moves the buffer into the database `staged`, in a transaction of its own.
    fn spill(&mut self) -> Result<()> {
        let (store, buffer, first) = (&self.store, &self.buffer, self.n_spilled);
        store.write("staged changes", |txn| {
            for (number, operation) in (first..).zip(buffer) {
                let put = store.databases.staged.put(txn, &number, &operation.encode());
                put.map_err(store.lmdb("staged changes"))?;
            }
            Ok(())
        })?;
        self.n_spilled += self.buffer.len() as u64;
        self.clear_buffer();
        Ok(())
    }

    fn clear_buffer(&mut self) {
        self.buffer.clear();
        self.buffer_bytes = 0;
    }

    /// Applies all changes in their order and rebuilds the trees.
    fn apply(&self, txn: &mut RwTxn) -> Result<()> {
        let store = &self.store;
        let mut header = store.header(txn)?;
        let mut ids = Ids::load(store, txn)?;
        for number in 0..self.n_spilled {
            let operation = self.spilled(txn, number)?;
            apply_one(store, txn, &mut ids, &operation)?;
        }
        for operation in &self.buffer {
            apply_one(store, txn, &mut ids, operation)?;
        }
        self.append_labels(txn)?;
        clear_staged(store, txn)?;
        header.generation += 1;
        header.n_items = ids.used.len();
        store.put_header(txn, &header)?;
        trees::build(store, txn, header.n_trees as usize)
    }

    fn spilled(&self, txn: &RoTxn, number: u64) -> Result<Operation> {
        let store = &self.store;
        let bytes = store.databases.staged.get(txn, &number).map_err(store.lmdb("read it"))?;
        let operation = bytes.and_then(|bytes| Operation::decode(bytes, store.dimensions));
        operation.ok_or_else(|| store.damaged("a staged change"))
    }

    fn append_labels(&self, txn: &mut RwTxn) -> Result<()> {
        for (id, name) in (0..).zip(self.vocabulary.names()).skip(self.n_committed_labels) {
            let put = self.store.databases.labels.put(txn, &id, name);
            put.map_err(self.store.lmdb("wrote the labels"))?;
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<()> {
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(()),
        length => Err(Error::Key { length, max: MAX_KEY_BYTES }),
    }
}

/// Refuses an embedding of another length than the datastore's.
pub(super) fn check_dimensions(expected: usize, embedding: &Embedding) -> Result<()> {
    let found = embedding.values().len();
    if found == expected { Ok(()) } else { Err(Error::Dimensions { expected, found }) }
}

fn clear_staged(store: &Store, txn: &mut RwTxn) -> Result<()> {
    store.databases.staged.clear(txn).map_err(store.lmdb("dropped staged changes"))
}

fn apply_one(store: &Store, txn: &mut RwTxn, ids: &mut Ids, operation: &Operation) -> Result<()> {
    match operation {
        Operation::Put(record) => put(store, txn, ids, record),
        Operation::Delete(key) => delete(store, txn, ids, key),
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
    store.databases.items.put(txn, &id, &record.encode()).map_err(&lmdb)?;
    trees::put(store, txn, id, &record.embedding)
}

fn delete(store: &Store, txn: &mut RwTxn, ids: &mut Ids, key: &str) -> Result<()> {
    let lmdb = store.lmdb("deleted an item");
    let key = key.as_bytes();
    let Some(id) = store.databases.keys.get(txn, key).map_err(&lmdb)? else { return Ok(()) };
    store.databases.keys.delete(txn, key).map_err(&lmdb)?;
    store.databases.items.delete(txn, &id).map_err(&lmdb)?;
    ids.free(id);
    trees::delete(store, txn, id)
}

/// The numbers in use; new items get the smallest free one.
struct Ids {
    used: RoaringBitmap,
    /// No number below is free.
    next: u32,
}

impl Ids {
    fn load(store: &Store, txn: &RoTxn) -> Result<Self> {
        let lmdb = store.lmdb("read the keys");
        let mut used = RoaringBitmap::new();
        for entry in store.databases.keys.iter(txn).map_err(&lmdb)? {
            used.insert(entry.map_err(&lmdb)?.1);
        }
        Ok(Ids { used, next: 0 })
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
        self.next = self.next.min(id);
    }
}

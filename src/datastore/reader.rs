//! Snapshots: one commit's items in memory.

use std::sync::{Arc, OnceLock, PoisonError};

use heed::RoTxn;
use ndarray::ArrayView2;

use super::exact::ExactIndex;
use super::format::{RecordView, decode_document};
use super::store::Store;
use super::{DocumentRecord, ItemId, Neighbor, SearchMode, Source, StoredItem, search};
use crate::{Embedding, Error, LabelSet, LabelVocabulary, Result};

/// A snapshot: what was committed when it was taken. Cheap to clone and share between threads.
#[derive(Clone, Debug)]
pub struct DatastoreReader {
    store: Arc<Store>,
    snapshot: Arc<Snapshot>,
}

/// The items of one commit; row r of the matrix belongs to item `ids[r]`.
pub(super) struct Snapshot {
    pub(super) generation: u64,
    pub(super) vectors: ExactIndex,
    vocabulary: LabelVocabulary,
    /// Ascending.
    ids: Vec<u32>,
    keys: Vec<Box<str>>,
    labels: Vec<LabelSet>,
    sources: Vec<Source>,
    /// The rows in the order of their keys; sorted when a key is first asked for.
    by_key: OnceLock<Vec<u32>>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("n_items", &self.ids.len())
            .finish_non_exhaustive()
    }
}

impl DatastoreReader {
    pub(super) fn newest(store: &Arc<Store>) -> Result<Self> {
        let snapshot = Snapshot::load_newest(store)?;
        Ok(DatastoreReader { store: store.clone(), snapshot })
    }

    /// Finds the k nearest items of each query, the nearest first: queries [texts, D], answers in their
    /// order.
    ///
    /// Items at the same distance stand in the order of their numbers. Where k exceeds the number
    /// of items, all are found.
    ///
    /// # Errors
    ///
    /// [`Dimensions`](crate::Error::Dimensions) for queries of another length,
    /// [`Embedding`](crate::Error::Embedding) for one with a value that is not finite, and
    /// [`DatastoreDamaged`](crate::Error::DatastoreDamaged) when the trees do not decode.
    pub fn nearest(
        &self,
        queries: ArrayView2<'_, f32>,
        k: usize,
        mode: SearchMode,
    ) -> Result<Vec<Vec<Neighbor>>> {
        let (expected, found) = (self.store.dimensions, queries.ncols());
        if expected != found {
            return Err(Error::Dimensions { expected, found });
        }
        if !queries.iter().all(|value| value.is_finite()) {
            let reason = "it holds a value that is not finite";
            return Err(Error::Embedding { dimensions: found, reason });
        }
        search::nearest(&self.store, &self.snapshot, queries, k, mode)
    }

    /// Returns what [`SearchMode::Auto`] has chosen for batches of so many queries, or `None` as
    /// long as it measures.
    pub fn chosen_mode(&self, n_queries: usize) -> Option<SearchMode> {
        search::choice(&self.store, self.len(), n_queries)
    }

    /// Returns the labels known to this snapshot. Items have those that stand for the ones they
    /// were given.
    pub fn labels(&self) -> &LabelVocabulary {
        &self.snapshot.vocabulary
    }

    /// Returns the length of every embedding.
    pub fn dimensions(&self) -> usize {
        self.store.dimensions
    }

    /// Returns the number of commits before this snapshot.
    pub fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.snapshot.ids.len()
    }

    /// Tells whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the items' numbers and keys in the order of the numbers.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = (ItemId, &str)> {
        let ids = self.snapshot.ids.iter().map(|&id| ItemId(id));
        ids.zip(self.snapshot.keys.iter().map(AsRef::as_ref))
    }

    /// Returns an item's key.
    ///
    /// # Errors
    ///
    /// None so far.
    pub fn key(&self, item: ItemId) -> Result<Option<String>> {
        let row = self.snapshot.row(item.0);
        Ok(row.map(|row| self.snapshot.keys[row].to_string()))
    }

    /// Returns an item by key.
    ///
    /// # Errors
    ///
    /// None so far.
    pub fn get(&self, key: &str) -> Result<Option<StoredItem>> {
        self.snapshot.row_of_key(key).map(|row| self.snapshot.item(row)).transpose()
    }

    /// Returns what is kept of documents, in the order of their keys; `None` for those of which
    /// nothing is.
    ///
    /// It is that of the newest commit, whatever commit this snapshot is of; an embedding that a
    /// neighbor has is this snapshot's.
    ///
    /// # Errors
    ///
    /// [`DatastoreDamaged`](crate::Error::DatastoreDamaged) when something does not decode.
    pub fn documents(&self, keys: &[&str]) -> Result<Vec<Option<DocumentRecord>>> {
        let lmdb = self.store.lmdb("read the documents");
        self.store.read(|txn| {
            let mut records = Vec::with_capacity(keys.len());
            for key in keys {
                let bytes = match key.is_empty() {
                    // LMDB has no empty keys.
                    true => None,
                    false => {
                        self.store.databases.documents.get(txn, key.as_bytes()).map_err(&lmdb)?
                    }
                };
                records.push(bytes.map(|bytes| self.document(key, bytes)).transpose()?);
            }
            Ok(records)
        })
    }

    /// Returns the keys of the documents of which something is kept, as of the newest commit, in
    /// the order of their bytes.
    ///
    /// # Errors
    ///
    /// [`DatastoreDamaged`](crate::Error::DatastoreDamaged) when one does not decode.
    pub fn document_keys(&self) -> Result<Vec<String>> {
        let lmdb = self.store.lmdb("read the documents");
        self.store.read(|txn| {
            let mut keys = Vec::new();
            for entry in self.store.databases.documents.iter(txn).map_err(&lmdb)? {
                let (key, _) = entry.map_err(&lmdb)?;
                let key = std::str::from_utf8(key);
                keys.push(key.map_err(|_| self.store.damaged("a key"))?.to_owned());
            }
            Ok(keys)
        })
    }

    fn document(&self, key: &str, bytes: &[u8]) -> Result<DocumentRecord> {
        let view = decode_document(bytes, self.store.dimensions);
        let view = view.ok_or_else(|| self.store.damaged("a document"))?;
        let neighbor = || self.snapshot.row_of_key(key).map(|row| self.snapshot.vectors.row(row));
        Ok(view.complete(|| Embedding::new(neighbor()?).ok()))
    }

    /// Hands every item and its key to a function, in the order of the numbers.
    ///
    /// # Errors
    ///
    /// The first that the function returns.
    pub fn for_each<E: From<crate::Error>>(
        &self,
        mut look: impl FnMut(&str, StoredItem) -> Result<(), E>,
    ) -> Result<(), E> {
        for (row, key) in self.snapshot.keys.iter().enumerate() {
            look(key, self.snapshot.item(row)?)?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// Returns the snapshot of the newest commit, loading it where it is not the last one loaded.
    pub(super) fn load_newest(store: &Store) -> Result<Arc<Snapshot>> {
        let mut newest = store.newest.lock().unwrap_or_else(PoisonError::into_inner);
        store.read(|txn| {
            let header = store.header(txn)?;
            if let Some(snapshot) = &*newest
                && snapshot.generation == header.generation
            {
                return Ok(snapshot.clone());
            }
            // Where no reader holds the old one its memory is free before the new one is loaded.
            *newest = None;
            let snapshot = Arc::new(Snapshot::load(store, txn)?);
            *newest = Some(snapshot.clone());
            Ok(snapshot)
        })
    }

    fn load(store: &Store, txn: &RoTxn) -> Result<Self> {
        let header = store.header(txn)?;
        let _span =
            tracing::debug_span!("load", header.generation, n_items = header.n_items).entered();
        let mut snapshot = Snapshot {
            generation: header.generation,
            vectors: ExactIndex::new(store.dimensions),
            vocabulary: store.vocabulary(txn)?,
            ids: Vec::new(),
            keys: Vec::new(),
            labels: Vec::new(),
            sources: Vec::new(),
            by_key: OnceLock::new(),
        };
        let lmdb = store.lmdb("read the items");
        // The database's own count, not the header's, which damage may have made huge.
        let n_items = store.databases.items.len(txn).map_err(&lmdb)?;
        if n_items != header.n_items {
            return Err(store.damaged("its number of items"));
        }
        snapshot.vectors.reserve(n_items as usize);
        for entry in store.databases.items.iter(txn).map_err(&lmdb)? {
            let (id, bytes) = entry.map_err(&lmdb)?;
            snapshot.push(id, bytes).ok_or_else(|| store.damaged("an item"))?;
        }
        Ok(snapshot)
    }

    /// Adds an item; `None` when its bytes are no item of this datastore.
    fn push(&mut self, id: u32, bytes: &[u8]) -> Option<()> {
        let record = RecordView::decode(bytes, self.vectors.dimensions())?;
        let last_label = record.labels.ids().last();
        let known = last_label.is_none_or(|label| label.index() < self.vocabulary.len());
        if record.key.is_empty() || !known {
            return None;
        }
        self.vectors.push(record.values())?;
        self.ids.push(id);
        self.keys.push(record.key.into());
        self.labels.push(self.vocabulary.resolve_set(&record.labels));
        self.sources.push(record.source);
        Some(())
    }

    /// Returns the row of an item's number.
    pub(super) fn row(&self, id: u32) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    /// Returns a row as a neighbor.
    pub(super) fn neighbor(&self, row: usize, distance: f32) -> Neighbor {
        Neighbor { item: ItemId(self.ids[row]), distance, labels: self.labels[row].clone() }
    }

    fn row_of_key(&self, key: &str) -> Option<usize> {
        let rows = self.by_key.get_or_init(|| {
            let mut rows: Vec<u32> = (0..self.keys.len() as u32).collect();
            rows.sort_unstable_by_key(|&row| &self.keys[row as usize]);
            rows
        });
        let position = rows.binary_search_by_key(&key, |&row| &self.keys[row as usize]).ok()?;
        Some(rows[position] as usize)
    }

    fn item(&self, row: usize) -> Result<StoredItem> {
        Ok(StoredItem {
            item: ItemId(self.ids[row]),
            embedding: Embedding::new(self.vectors.row(row))?,
            labels: self.labels[row].clone(),
            source: self.sources[row],
        })
    }
}

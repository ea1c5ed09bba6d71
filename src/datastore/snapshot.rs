//! Snapshots: one commit's items in memory.

use std::sync::OnceLock;

use heed::RoTxn;

use super::exact::ExactIndex;
use super::format::RecordView;
use super::item::{ItemId, Neighbor, Source, StoredItem};
use super::store::Store;
use crate::{Embedding, LabelSet, LabelVocabulary, Result};

/// The items of one commit; row r of the matrix belongs to item `ids[r]`.
pub(super) struct Snapshot {
    pub(super) generation: u64,
    pub(super) vectors: ExactIndex,
    pub(super) vocabulary: LabelVocabulary,
    /// Ascending.
    pub(super) ids: Vec<u32>,
    pub(super) keys: Vec<Box<str>>,
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

impl Snapshot {
    /// Reads all items.
    pub(super) fn load(store: &Store, txn: &RoTxn) -> Result<Self> {
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
        // The database's own count, not the header's, which damage may have made huge.
        let n_items = store.databases.items.len(txn).map_err(store.lmdb("read the items"))?;
        if n_items != header.n_items {
            return Err(store.damaged("its number of items"));
        }
        snapshot.vectors.reserve(n_items as usize);
        for item in store.items(txn)? {
            let (id, record) = item?;
            snapshot.push(id, &record).ok_or_else(|| store.damaged("an item"))?;
        }
        Ok(snapshot)
    }

    /// Adds an item; `None` when it is none of this datastore.
    fn push(&mut self, id: u32, record: &RecordView<'_>) -> Option<()> {
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

    pub(super) fn row_of_key(&self, key: &str) -> Option<usize> {
        let rows = self.by_key.get_or_init(|| {
            let mut rows: Vec<u32> = (0..self.keys.len() as u32).collect();
            rows.sort_unstable_by_key(|&row| &self.keys[row as usize]);
            rows
        });
        let position = rows.binary_search_by_key(&key, |&row| &self.keys[row as usize]).ok()?;
        Some(rows[position] as usize)
    }

    pub(super) fn item(&self, row: usize) -> Result<StoredItem> {
        Ok(StoredItem {
            item: ItemId(self.ids[row]),
            embedding: Embedding::new(self.vectors.row(row))?,
            labels: self.labels[row].clone(),
            source: self.sources[row],
        })
    }
}

//! Snapshots: one commit's items in memory.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use heed::RoTxn;
use roaring::RoaringBitmap;

use super::chunks::Chunks;
use super::exact::ExactIndex;
use super::format::RecordView;
use super::item::{ItemId, Neighbor, Source, StoredItem};
use super::store::Store;
use crate::{Embedding, LabelFrequencies, LabelSet, LabelVocabulary, Result};

/// The items of one commit; row r of the matrix belongs to item `ids[r]`.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) generation: u64,
    /// There was an approximate index at that commit.
    pub(super) is_indexed: bool,
    pub(super) vectors: ExactIndex,
    pub(super) vocabulary: LabelVocabulary,
    /// Ascending.
    pub(super) ids: Vec<u32>,
    items: Chunks<Item>,
    /// The rows in the order of their keys; sorted when a key is first asked for.
    by_key: OnceLock<Vec<u32>>,
    /// Counted when they are first asked for.
    frequencies: OnceLock<LabelFrequencies>,
}

/// An item without its number and vector.
#[derive(Clone)]
struct Item {
    key: Arc<str>,
    labels: LabelSet,
    undecided: LabelSet,
    source: Source,
}

/// The items that commits have changed since a snapshot was taken.
#[derive(Debug)]
pub(super) struct Changes {
    /// The snapshot's generation.
    pub(super) from: u64,
    /// The generation of the last of the commits.
    pub(super) to: u64,
    pub(super) touched: RoaringBitmap,
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
        let vectors = ExactIndex::new(store.dimensions);
        let mut snapshot = Snapshot::new(header.generation, vectors, store.vocabulary(txn)?);
        snapshot.is_indexed = header.n_centered > 0;
        // The database's own count, not the header's, which damage may have made huge.
        let n_items = store.databases.items.len(txn).map_err(store.lmdb("read the items"))?;
        if n_items != header.n_items {
            return Err(store.damaged("its number of items"));
        }
        for item in store.items(txn)? {
            let (id, record) = item?;
            snapshot.push(id, &record).ok_or_else(|| store.damaged("an item"))?;
        }
        Ok(snapshot)
    }

    /// Makes a snapshot without items.
    fn new(generation: u64, vectors: ExactIndex, vocabulary: LabelVocabulary) -> Self {
        Snapshot {
            generation,
            is_indexed: false,
            vectors,
            vocabulary,
            ids: Vec::new(),
            items: Chunks::default(),
            by_key: OnceLock::new(),
            frequencies: OnceLock::new(),
        }
    }

    /// Brings a snapshot to the newest commit, without reading the items that are as they were.
    ///
    /// `touched` are all items that differ. Labels may have been added since, but not changed.
    pub(super) fn advance(
        mut self,
        store: &Store,
        txn: &RoTxn,
        touched: &RoaringBitmap,
    ) -> Result<Self> {
        let _span = tracing::debug_span!("advance", n_touched = touched.len()).entered();
        let header = store.header(txn)?;
        (self.generation, self.vocabulary) = (header.generation, store.vocabulary(txn)?);
        self.frequencies = OnceLock::new();
        let is_indexed = header.n_centered > 0;
        let damaged = || store.damaged("an item");
        let mut moved = Vec::new();
        for id in touched {
            match (self.row(id), store.item(txn, id)?) {
                (Some(row), Some(record)) => self.replace(row, &record).ok_or_else(damaged)?,
                (None, Some(record)) if self.ids.last().is_none_or(|last| id > *last) => {
                    self.push(id, &record).ok_or_else(damaged)?;
                    self.sort_in(self.ids.len() - 1);
                }
                (None, None) => {}
                (_, record) => moved.push((id, record)),
            }
        }
        if !moved.is_empty() {
            self = self.spliced(moved).ok_or_else(damaged)?;
        }
        self.is_indexed = is_indexed;
        if self.ids.len() as u64 != header.n_items {
            return Err(store.damaged("its number of items"));
        }
        Ok(self)
    }

    /// Removes items, and inserts others between those that are there; the changes stand in the order of
    /// their numbers. `None` when one is none of this datastore.
    fn spliced(mut self, changes: Vec<(u32, Option<RecordView<'_>>)>) -> Option<Self> {
        let vectors = ExactIndex::new(self.vectors.dimensions());
        let vocabulary = std::mem::take(&mut self.vocabulary);
        let mut spliced = Snapshot::new(self.generation, vectors, vocabulary);
        let mut new_rows = vec![None; self.ids.len()];
        let (mut row, mut inserted) = (0, Vec::new());
        for (id, record) in changes {
            let end = self.ids.partition_point(|known| *known < id);
            spliced.push_rows_of(&self, row..end, &mut new_rows);
            row = end;
            match record {
                Some(record) => {
                    inserted.push(spliced.ids.len());
                    spliced.push(id, &record)?;
                }
                None => row += 1,
            }
        }
        spliced.push_rows_of(&self, row..self.ids.len(), &mut new_rows);
        if let Some(by_key) = self.by_key.get() {
            let rows = by_key.iter().filter_map(|&row| new_rows[row as usize]).collect();
            let _ = spliced.by_key.set(rows);
            inserted.into_iter().for_each(|row| spliced.sort_in(row));
        }
        Some(spliced)
    }

    /// Adds rows of another snapshot, and notes where they stand now.
    fn push_rows_of(&mut self, other: &Snapshot, rows: Range<usize>, new_rows: &mut [Option<u32>]) {
        for row in rows.clone() {
            new_rows[row] = Some((self.ids.len() + row - rows.start) as u32);
        }
        self.ids.extend_from_slice(&other.ids[rows.clone()]);
        self.items.extend_from(&other.items, rows.clone());
        self.vectors.push_rows_of(&other.vectors, rows);
    }

    /// Replaces a row's item; `None` when it is none of this datastore.
    fn replace(&mut self, row: usize, record: &RecordView<'_>) -> Option<()> {
        let item = self.item_of(record)?;
        self.vectors.replace(row, &record.values().collect::<Vec<f32>>())?;
        let before = std::mem::replace(self.items.get_mut(row), item);
        if *before.key != *record.key {
            // The number was given to another key.
            if let Some(by_key) = self.by_key.get_mut() {
                by_key.retain(|known| *known as usize != row);
            }
            self.sort_in(row);
        }
        Some(())
    }

    /// Puts a row into its place in the order of the keys.
    fn sort_in(&mut self, row: usize) {
        if let Some(by_key) = self.by_key.get_mut() {
            let key = &self.items[row].key;
            let place = by_key.partition_point(|&known| self.items[known as usize].key < *key);
            by_key.insert(place, row as u32);
        }
    }

    /// Adds an item; `None` when it is none of this datastore.
    fn push(&mut self, id: u32, record: &RecordView<'_>) -> Option<()> {
        let item = self.item_of(record)?;
        self.vectors.push(record.values())?;
        self.ids.push(id);
        self.items.push(item);
        Some(())
    }

    /// Returns an item with its labels, and its undecided ones, as those that stand for them now; `None` when
    /// it is none of this datastore.
    fn item_of(&self, record: &RecordView<'_>) -> Option<Item> {
        let mut last_labels =
            record.labels.ids().last().into_iter().chain(record.undecided.ids().last());
        let are_known = last_labels.all(|label| label.index() < self.vocabulary.len());
        if record.key.is_empty() || !are_known {
            return None;
        }
        let labels = self.vocabulary.resolve_set(&record.labels);
        // Labels that were merged may be decided by now.
        let undecided = self.vocabulary.resolve_set(&record.undecided).without(&labels);
        Some(Item { key: record.key.into(), labels, undecided, source: record.source })
    }

    /// Returns the row of an item's number.
    pub(super) fn row(&self, id: u32) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    /// Returns a row as a neighbor.
    pub(super) fn neighbor(&self, row: usize, distance: f32) -> Neighbor {
        let Item { labels, undecided, .. } = self.items[row].clone();
        Neighbor { item: ItemId(self.ids[row]), distance, labels, undecided }
    }

    pub(super) fn key(&self, row: usize) -> &str {
        &self.items[row].key
    }

    /// Returns the keys in the order of the rows.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.items.iter().map(|item| &*item.key)
    }

    /// Returns how often each label occurs among the items.
    pub(super) fn frequencies(&self) -> &LabelFrequencies {
        self.frequencies
            .get_or_init(|| LabelFrequencies::count(self.items.iter().map(|item| &item.labels)))
    }

    pub(super) fn row_of_key(&self, key: &str) -> Option<usize> {
        let rows = self.by_key.get_or_init(|| {
            let mut rows: Vec<u32> = (0..self.items.len() as u32).collect();
            rows.sort_unstable_by_key(|&row| self.key(row as usize));
            rows
        });
        let position = rows.binary_search_by_key(&key, |&row| self.key(row as usize)).ok()?;
        Some(rows[position] as usize)
    }

    pub(super) fn item(&self, row: usize) -> Result<StoredItem> {
        let Item { labels, undecided, source, .. } = self.items[row].clone();
        let embedding = Embedding::new(self.vectors.row(row))?;
        Ok(StoredItem { item: ItemId(self.ids[row]), embedding, labels, undecided, source })
    }
}

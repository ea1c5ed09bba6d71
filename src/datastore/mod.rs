//! The datastore {(h_i, y_i)}: labelled texts' representations in LMDB, searched exactly or by
//! Arroy's trees.

use std::num::NonZeroUsize;
use std::path::Path;

use crate::{Embedding, Fingerprint, LabelSet, LabelVocabulary, Result};

/// An item's number inside one datastore; a key keeps its number when it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u32);

/// Who labelled an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The model's training set.
    Training,
    /// A person, after training.
    Human,
}

/// A labelled text near the one asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbor {
    /// The item.
    pub item: ItemId,
    /// d(h_i, f(x)): the Euclidean distance, not squared.
    pub distance: f32,
    /// y_i.
    pub labels: LabelSet,
}

/// How neighbors are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchMode {
    /// Whichever of the two costs less, as measured on this datastore and machine.
    #[default]
    Auto,
    /// Every item is compared, a batch of queries at once through matrix products.
    Exact,
    /// Arroy's trees, approximate.
    Arroy,
}

/// What a new datastore is made for.
#[derive(Clone, Debug)]
pub struct DatastoreOptions {
    /// The length of every embedding.
    pub dimensions: NonZeroUsize,
    /// The encoder whose embeddings it holds.
    pub encoder: Fingerprint,
    /// The labels known at the start: the model's, so that ids agree.
    pub labels: LabelVocabulary,
    /// The number of Arroy's trees.
    pub n_trees: NonZeroUsize,
}

/// An LMDB environment with the labelled items; a handle to clone and share.
#[derive(Clone, Debug)]
pub struct Datastore {}

/// Collects changes; nothing is visible to readers before [`DatastoreWriter::commit`].
#[derive(Debug)]
pub struct DatastoreWriter {}

/// A snapshot: what was committed when it was taken. Cheap to clone and share between threads.
#[derive(Clone, Debug)]
pub struct DatastoreReader {}

impl Datastore {
    /// Makes an empty datastore in a folder that has none.
    pub fn create(_folder: &Path, _options: &DatastoreOptions) -> Result<Self> {
        unimplemented!()
    }

    /// Opens a datastore for reading and writing.
    pub fn open(_folder: &Path, _encoder: &Fingerprint) -> Result<Self> {
        unimplemented!()
    }

    /// Opens a datastore that nobody changes, such as a bundle's; writes nothing into its folder.
    pub fn open_read_only(_folder: &Path, _encoder: &Fingerprint) -> Result<Self> {
        unimplemented!()
    }

    /// Copies the committed state, compacted, into a folder that has no datastore.
    pub fn copy_to(&self, _folder: &Path) -> Result<()> {
        unimplemented!()
    }

    /// Takes a snapshot.
    pub fn reader(&self) -> Result<DatastoreReader> {
        unimplemented!()
    }

    /// Begins changes; one writer at a time.
    pub fn writer(&self) -> Result<DatastoreWriter> {
        unimplemented!()
    }
}

impl DatastoreWriter {
    /// Stores an item under its key, replacing the one that is there; returns its number.
    pub fn put(
        &mut self,
        _key: &str,
        _embedding: &Embedding,
        _labels: &[&str],
        _source: Source,
    ) -> Result<()> {
        unimplemented!()
    }

    /// Deletes an item; a key that is not there is no error.
    pub fn delete(&mut self, _key: &str) -> Result<()> {
        unimplemented!()
    }

    /// Makes all changes visible at once, durably.
    pub fn commit(&mut self) -> Result<()> {
        unimplemented!()
    }
}

impl DatastoreReader {
    /// Finds the k nearest items of each query, the nearest first, in the queries' order.
    pub fn nearest(
        &self,
        _queries: &[&Embedding],
        _k: usize,
        _mode: SearchMode,
    ) -> Result<Vec<Vec<Neighbor>>> {
        unimplemented!()
    }

    /// Returns the labels known to this snapshot.
    pub fn labels(&self) -> &LabelVocabulary {
        unimplemented!()
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Tells whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns an item's key.
    pub fn key(&self, _item: ItemId) -> Result<Option<String>> {
        unimplemented!()
    }

    /// Returns an item by key.
    pub fn get(&self, _key: &str) -> Result<Option<StoredItem>> {
        unimplemented!()
    }
}

/// An item as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredItem {
    /// Its number.
    pub item: ItemId,
    /// h_i.
    pub embedding: Embedding,
    /// y_i.
    pub labels: LabelSet,
    /// Who labelled it.
    pub source: Source,
}

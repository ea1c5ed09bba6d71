//! Options of a new datastore, of its storage and of its search.

use std::num::NonZeroUsize;

use crate::{Encoder, Error, Fingerprint, LabelVocabulary, Result};

/// The kind of neighbor search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchMode {
    /// Whichever of the two costs less, as measured on this datastore and machine.
    #[default]
    Auto,
    /// Every item is compared, a batch of queries at once through matrix products.
    Exact,
    /// Arroy's trees, approximate, and exactly what they do not cover; all items where there are no trees.
    Arroy,
}

/// Options of a new datastore.
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

impl DatastoreOptions {
    /// The default number of trees.
    pub const DEFAULT_TREES: NonZeroUsize = NonZeroUsize::new(10).expect("10 is not 0");

    /// Makes options with the default number of trees.
    pub fn new(dimensions: NonZeroUsize, encoder: Fingerprint, labels: LabelVocabulary) -> Self {
        DatastoreOptions { dimensions, encoder, labels, n_trees: Self::DEFAULT_TREES }
    }

    /// Makes the options of an encoder's datastore, with the default number of trees.
    ///
    /// # Errors
    ///
    /// [`Error::Embedding`] for an encoder without dimensions.
    pub fn of<E: Encoder + ?Sized>(encoder: &E) -> Result<Self> {
        let without = Error::Embedding { dimensions: 0, reason: "it is empty" };
        let dimensions = NonZeroUsize::new(encoder.dimensions()).ok_or(without)?;
        Ok(DatastoreOptions::new(dimensions, encoder.fingerprint(), encoder.labels().clone()))
    }
}

/// Limits on map, buffer and index; every default suits every size. A datastore does not keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// The size of LMDB's map when the environment is opened, in bytes, rounded up to whole pages.
    ///
    /// The map is address space and no memory; it doubles by itself when it is full.
    pub initial_map_bytes: usize,
    /// The bytes of staged changes that a writer keeps in memory before it moves them into the
    /// file.
    pub staged_bytes: usize,
    /// The number of items from which on Arroy's trees are built. Below it an exact search costs less
    /// anyway.
    pub indexed_from: u64,
}

impl Default for StorageOptions {
    fn default() -> Self {
        StorageOptions {
            initial_map_bytes: 256 << 20,
            staged_bytes: 32 << 20,
            indexed_from: 500_000,
        }
    }
}

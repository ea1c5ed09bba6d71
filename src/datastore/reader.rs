//! Reading: neighbors, items and documents, as of one commit.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::document::decode_document;
use super::item::{DocumentRecord, ItemId, Neighbor, StoredItem};
use super::options::SearchMode;
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::{Embedding, Error, LabelFrequencies, LabelVocabulary, Result};

/// A snapshot: what was committed when it was taken. Cheap to clone and share between threads.
#[derive(Clone, Debug)]
pub struct DatastoreReader {
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
}

impl DatastoreReader {
    pub(super) fn newest(shared: &Arc<Shared>) -> Result<Self> {
        Ok(DatastoreReader { snapshot: shared.snapshot()?, shared: shared.clone() })
    }

    /// Finds the k nearest items of each query, the nearest first: queries [texts, D], answers in their
    /// order.
    ///
    /// Items at the same distance stand in the order of their numbers. Where k exceeds the number
    /// of items, all are found.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    ///
    /// use autotag::datastore::DatastoreOptions;
    /// use autotag::{Datastore, Embedding, Fingerprint, LabelVocabulary, SearchMode, Source};
    /// use ndarray::array;
    ///
    /// let folder = tempfile::tempdir()?;
    /// let labels = LabelVocabulary::new(["red", "green"])?;
    /// let dimensions = NonZeroUsize::new(2).expect("2 is not 0");
    /// let options = DatastoreOptions::new(dimensions, Fingerprint([0; 32]), labels);
    /// let datastore = Datastore::create(folder.path(), &options)?;
    /// let mut writer = datastore.writer()?;
    /// writer.put("a", &Embedding::new(vec![1.0, 0.0])?, &["red"], Source::Human)?;
    /// writer.put("b", &Embedding::new(vec![0.0, 1.0])?, &["green"], Source::Human)?;
    /// writer.commit()?;
    ///
    /// let reader = datastore.reader()?;
    /// let found = reader.nearest(array![[0.9, 0.1], [0.2, 3.0]].view(), 1, SearchMode::Auto)?;
    /// assert_eq!(reader.key(found[0][0].item), Some("a"));
    /// assert_eq!(reader.key(found[1][0].item), Some("b"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let (expected, found) = (self.shared.store.dimensions, queries.ncols());
        if expected != found {
            return Err(Error::Dimensions { expected, found });
        }
        if !queries.iter().all(|value| value.is_finite()) {
            let reason = "a query holds a value that is not finite";
            return Err(Error::Embedding { dimensions: found, reason });
        }
        let Shared { store, search, .. } = &*self.shared;
        search.nearest(store, &self.snapshot, queries, k, mode)
    }

    /// Returns what [`SearchMode::Auto`] has chosen for batches of so many queries, or `None` as
    /// long as it measures.
    pub fn chosen_mode(&self, n_queries: usize) -> Option<SearchMode> {
        self.shared.search.choice(&self.snapshot, n_queries)
    }

    /// Returns the labels known to this snapshot. Items have those that stand for the ones they
    /// were given.
    pub fn labels(&self) -> &LabelVocabulary {
        &self.snapshot.vocabulary
    }

    /// Returns how often each label occurs among the items; counted once for each snapshot.
    pub fn frequencies(&self) -> &LabelFrequencies {
        self.snapshot.frequencies()
    }

    /// Returns the length of every embedding.
    pub fn dimensions(&self) -> usize {
        self.shared.store.dimensions
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
        ids.zip(self.snapshot.keys())
    }

    /// Returns an item's key; `None` where this snapshot has no such item.
    pub fn key(&self, item: ItemId) -> Option<&str> {
        self.snapshot.row(item.0).map(|row| self.snapshot.key(row))
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
        let lmdb = self.shared.store.lmdb("read the documents");
        self.shared.store.read(|txn| {
            let mut records = Vec::with_capacity(keys.len());
            for key in keys {
                let bytes = match key.is_empty() {
                    // LMDB has no empty keys.
                    true => None,
                    false => self
                        .shared
                        .store
                        .databases
                        .documents
                        .get(txn, key.as_bytes())
                        .map_err(&lmdb)?,
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
        let lmdb = self.shared.store.lmdb("read the documents");
        self.shared.store.read(|txn| {
            let mut keys = Vec::new();
            for entry in self.shared.store.databases.documents.iter(txn).map_err(&lmdb)? {
                let (key, _) = entry.map_err(&lmdb)?;
                let key = std::str::from_utf8(key);
                keys.push(key.map_err(|_| self.shared.store.damaged("a key"))?.to_owned());
            }
            Ok(keys)
        })
    }

    fn document(&self, key: &str, bytes: &[u8]) -> Result<DocumentRecord> {
        let view = decode_document(bytes, self.shared.store.dimensions);
        let view = view.ok_or_else(|| self.shared.store.damaged("a document"))?;
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
        for (row, key) in self.snapshot.keys().enumerate() {
            look(key, self.snapshot.item(row)?)?;
        }
        Ok(())
    }
}

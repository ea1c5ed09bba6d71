//! The two stores that a writer changes together: Tantivy's index and the datastore.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use autotag::{DatastoreWriter, DocumentRecord};
use tantivy::indexer::UserOperation;
use tantivy::query::AllQuery;
use tantivy::schema::Field;
use tantivy::{IndexWriter, Term};

use crate::budget::Metered;
use crate::change::{Change, Content, DecidedLabels, Kept};
use crate::{Error, Result, WriterTimes};

pub(crate) struct Stores {
    pub(crate) tantivy: IndexWriter<Metered>,
    pub(crate) datastore: DatastoreWriter,
    pub(crate) key: Field,
    /// The hashes of the keys that became neighbors since the last commit.
    ///
    /// Why? Most tagged documents have no neighbor, and a deletion that finds nothing would still cost
    /// the datastore a commit.
    put_keys: HashSet<u64>,
    hasher: RandomState,
}

impl Stores {
    pub(crate) fn new(
        tantivy: IndexWriter<Metered>,
        datastore: DatastoreWriter,
        key: Field,
    ) -> Self {
        let (put_keys, hasher) = (HashSet::new(), RandomState::new());
        Stores { tantivy, datastore, key, put_keys, hasher }
    }

    /// Applies a chunk's changes to both stores, in their order; visible after the commit.
    ///
    /// Returns the time spent in each.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Result<WriterTimes> {
        let started = Instant::now();
        let mut operations = Vec::with_capacity(2 * changes.len());
        // Held until Tantivy has the operations.
        let mut permits = Vec::new();
        for Change { key, had_neighbor, content } in changes {
            operations.push(UserOperation::Delete(Term::from_field_text(self.key, &key)));
            match content {
                Content::Document(document, Kept { labels, record }) => {
                    self.keep(&key, had_neighbor, labels, record)?;
                    operations.push(UserOperation::Add(document));
                }
                Content::Rewritten(document) => operations.push(UserOperation::Add(document)),
                Content::Nothing(permit) => {
                    self.keep(&key, had_neighbor, None, None)?;
                    permits.push(permit);
                }
            }
        }
        let datastore = started.elapsed();
        let started = Instant::now();
        self.tantivy.run(operations).map_err(Error::tantivy("took documents"))?;
        Ok(WriterTimes { tantivy: started.elapsed(), datastore, ..WriterTimes::default() })
    }

    /// Deletes all documents and what the datastore keeps of them; visible after the commit.
    ///
    /// Why a query? `IndexWriter::delete_all_documents` leaves documents that Tantivy's threads hold,
    /// and takes effect without a commit.
    pub(crate) fn delete_all(&mut self) -> Result<()> {
        self.datastore.delete_all_documents()?;
        let deleted = self.tantivy.delete_query(Box::new(AllQuery));
        deleted.map(drop).map_err(Error::tantivy("deleted all documents"))
    }

    /// Forgets the keys of a commit.
    pub(crate) fn committed(&mut self) {
        self.put_keys.clear();
    }

    /// Fails when Tantivy's indexing thread has died.
    pub(crate) fn probe(&mut self) -> Result<()> {
        // Tantivy reports it only when given an operation; no document has an empty key.
        let nothing = UserOperation::Delete(Term::from_field_text(self.key, ""));
        self.tantivy.run([nothing]).map(drop).map_err(Error::tantivy("took documents"))
    }

    /// Replaces the datastore's neighbor and record of a key.
    fn keep(
        &mut self,
        key: &str,
        had_neighbor: bool,
        labels: Option<DecidedLabels>,
        record: Option<DocumentRecord>,
    ) -> Result<()> {
        let hash = self.hasher.hash_one(key);
        let encoded = record.as_ref().and_then(|record| record.encoded.as_ref());
        if let (Some(labels), Some(encoded)) = (labels, encoded) {
            labels.put(&mut self.datastore, key, &encoded.embedding)?;
            self.put_keys.insert(hash);
        } else if had_neighbor || self.put_keys.contains(&hash) {
            // Only labels that people gave may vote: a predicted document does not.
            self.datastore.delete(key)?;
        }
        // After the neighbor, with which a record shares its embedding.
        match record {
            Some(record) => self.datastore.put_document(key, record)?,
            None => self.datastore.delete_document(key)?,
        }
        Ok(())
    }
}

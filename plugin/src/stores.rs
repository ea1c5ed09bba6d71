//! The two stores that a writer changes together: Tantivy's index and the datastore.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use autotag::{DatastoreWriter, Source};
use tantivy::indexer::UserOperation;
use tantivy::schema::Field;
use tantivy::{IndexWriter, Term};

use crate::budget::Metered;
use crate::change::{Change, Content, NewNeighbor, Processed};
use crate::{Error, Result};

pub(crate) struct Stores {
    pub(crate) tantivy: IndexWriter<Metered>,
    pub(crate) datastore: DatastoreWriter,
    key: Field,
    /// The hashes of the keys that became neighbors since the last commit.
    ///
    /// Why? A document that is tagged has no neighbor most of the time, and a datastore that is told
    /// to delete what it does not have must write a commit for nothing.
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
    pub(crate) fn apply(&mut self, processed: &mut Processed) -> Result<()> {
        let started = Instant::now();
        for change in &mut processed.changes {
            self.apply_to_datastore(change)?;
        }
        processed.tally.times.datastore += started.elapsed();

        let started = Instant::now();
        let changes = std::mem::take(&mut processed.changes);
        let mut operations = Vec::with_capacity(2 * changes.len());
        let mut permits = Vec::new();
        for Change { key, content, .. } in changes {
            operations.push(UserOperation::Delete(Term::from_field_text(self.key, &key)));
            match content {
                Content::Document(document, _) | Content::Rewritten(document) => {
                    operations.push(UserOperation::Add(document));
                }
                Content::Nothing(permit) => permits.push(permit),
            }
        }
        self.tantivy.run(operations).map_err(Error::tantivy("took documents"))?;
        processed.tally.times.tantivy += started.elapsed();
        Ok(())
    }

    /// Begins anew after a commit of both.
    pub(crate) fn committed(&mut self) {
        self.put_keys.clear();
    }

    /// Fails when Tantivy's indexing thread has died.
    pub(crate) fn probe(&mut self) -> Result<()> {
        // Tantivy tells only when it is given something; no document has an empty key.
        let nothing = UserOperation::Delete(Term::from_field_text(self.key, ""));
        self.tantivy.run([nothing]).map(drop).map_err(Error::tantivy("took documents"))
    }

    fn apply_to_datastore(&mut self, change: &mut Change) -> Result<()> {
        let Change { key, had_neighbor, content } = change;
        let hash = self.hasher.hash_one(&*key);
        let kept = match content {
            Content::Document(_, kept) => Some(kept),
            Content::Nothing(_) => None,
            Content::Rewritten(_) => return Ok(()),
        };
        let (neighbor, record) =
            kept.map_or((None, None), |kept| (kept.neighbor.take(), kept.record.take()));
        if let Some(NewNeighbor { embedding, labels }) = neighbor {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            self.datastore.put(key, &embedding, &labels, Source::Human)?;
            self.put_keys.insert(hash);
        } else if *had_neighbor || self.put_keys.contains(&hash) {
            // Only labels that people gave may vote: a document that is tagged anew does not.
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

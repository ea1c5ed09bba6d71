//! The two stores that a writer changes together: Tantivy's index and the datastore.

use std::time::Instant;

use autotag::{DatastoreWriter, Embedding, Source};
use tantivy::indexer::UserOperation;
use tantivy::schema::Field;
use tantivy::{IndexWriter, Term};

use crate::budget::{Metered, Permit};
use crate::worker::Processed;
use crate::{Error, Result};

/// What becomes of one key.
pub(crate) enum Change {
    /// The document replaces the one of its key; so does its neighbor, or none does.
    Replace { key: String, document: Metered, neighbor: Option<NewNeighbor> },
    /// The key leaves both stores.
    Delete { key: String, _permit: Permit },
}

/// What makes a document a neighbor from the next commit on.
pub(crate) struct NewNeighbor {
    pub(crate) embedding: Embedding,
    pub(crate) labels: Vec<String>,
}

pub(crate) struct Stores {
    pub(crate) tantivy: IndexWriter<Metered>,
    pub(crate) datastore: DatastoreWriter,
    pub(crate) key: Field,
}

impl Stores {
    /// Applies a chunk's changes to both stores, in their order; visible after the commit.
    pub(crate) fn apply(&mut self, processed: &mut Processed) -> Result<()> {
        let changes = std::mem::take(&mut processed.changes);
        let started = Instant::now();
        for change in &changes {
            self.apply_to_datastore(change)?;
        }
        processed.tally.times.datastore += started.elapsed();

        let started = Instant::now();
        let mut operations = Vec::with_capacity(2 * changes.len());
        for change in changes {
            match change {
                Change::Replace { key, document, .. } => {
                    operations.push(UserOperation::Delete(Term::from_field_text(self.key, &key)));
                    operations.push(UserOperation::Add(document));
                }
                Change::Delete { key, .. } => {
                    operations.push(UserOperation::Delete(Term::from_field_text(self.key, &key)));
                }
            }
        }
        self.tantivy.run(operations).map_err(Error::tantivy("took documents"))?;
        processed.tally.times.tantivy += started.elapsed();
        Ok(())
    }

    fn apply_to_datastore(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Replace { key, neighbor: Some(NewNeighbor { embedding, labels }), .. } => {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                self.datastore.put(key, embedding, &labels, Source::Human)?;
            }
            // Only labels that people gave may vote: a document that is tagged anew does not.
            Change::Replace { key, neighbor: None, .. } | Change::Delete { key, .. } => {
                self.datastore.delete(key)?;
            }
        }
        Ok(())
    }
}

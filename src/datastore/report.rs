//! The report of an integrity check, and the changes that wait in a journal.

use std::collections::BTreeMap;

use crate::{Error, LabelSet, LabelVocabulary, Result};

/// So many problems are listed; more are only counted.
const MAX_LISTED: usize = 100;

/// The report of an integrity check, [`Datastore::verify`](super::Datastore::verify).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DatastoreReport {
    /// The number of items.
    pub n_items: u64,
    /// The datastore's generation.
    pub generation: u64,
    /// The first problems that were found.
    pub problems: Vec<DatastoreProblem>,
    /// The number of problems.
    pub n_problems: u64,
}

/// Something in a datastore that should not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatastoreProblem {
    /// The header counts other items than there are.
    #[error("the header counts {counted} items where there are {found}")]
    Count {
        /// As the header says.
        counted: u64,
        /// As they are.
        found: u64,
    },
    /// LMDB counts other entries in a database than there are.
    #[error("the database {database:?} counts {counted} entries where there are {found}")]
    Entries {
        /// The database.
        database: &'static str,
        /// As LMDB says.
        counted: u64,
        /// As they are.
        found: u64,
    },
    /// An item's bytes are no item.
    #[error("item {item} does not decode")]
    Item {
        /// The item's number.
        item: u32,
    },
    /// An item cannot be found by its key.
    #[error("item {item} is not found by its key {key:?}")]
    Unreachable {
        /// The item's number.
        item: u32,
        /// Its key.
        key: String,
    },
    /// A key has no item of its own.
    #[error("key {key:?} leads to item {item}, which is not its own")]
    Key {
        /// The key.
        key: String,
        /// The number that it leads to.
        item: u32,
    },
    /// A document's record does not decode.
    #[error("what is kept of document {key:?} does not decode")]
    Document {
        /// The document's key.
        key: String,
    },
    /// The trees are not those that were written.
    #[error("the trees were changed after they were written")]
    ChangedTrees,
    /// The trees hold an item otherwise than it is, or not at all, or one that is not there.
    #[error("the trees are not those of item {item}")]
    Trees {
        /// The item's number.
        item: u32,
    },
    /// Something as a whole cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Changes that a writer prepared and nobody has applied or discarded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedChanges {
    /// The generation that the datastore has once they are applied.
    pub generation: u64,
    /// The labels as they are once they are applied.
    pub labels: LabelVocabulary,
    /// The changes of neighbors, in their order.
    pub changes: Vec<PreparedChange>,
    /// The documents of which something is kept (true) or nothing more is (false).
    pub documents: BTreeMap<String, bool>,
}

/// The change of one key's neighbor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedChange {
    /// The key.
    pub key: String,
    /// The labels that the item which is put under the key was given; `None` where its item is
    /// deleted.
    pub labels: Option<LabelSet>,
}

impl DatastoreReport {
    pub(super) fn add(&mut self, problem: DatastoreProblem) {
        self.n_problems += 1;
        if self.problems.len() < MAX_LISTED {
            self.problems.push(problem);
        }
    }

    /// Notes a failure, and goes on.
    pub(super) fn note<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.add(DatastoreProblem::Unreadable(with_causes(&error)))).ok()
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

//! What a worker decided: the changes of a chunk, on their way to both stores.

use autotag::{DocumentRecord, Embedding};

use crate::budget::{Metered, Permit};
use crate::ledger::Tally;

/// A chunk's outcome: what to change in both stores, and how much was done.
pub(crate) struct Processed {
    pub(crate) changes: Vec<Change>,
    pub(crate) tally: Tally,
}

/// What becomes of one key.
pub(crate) struct Change {
    pub(crate) key: String,
    /// Whether the key had a neighbor at the last commit.
    pub(crate) had_neighbor: bool,
    pub(crate) content: Content,
}

/// What a key has from now on.
pub(crate) enum Content {
    /// A document, and what the datastore keeps of it.
    Document(Metered, Kept),
    /// A document that says the same otherwise; the datastore has all of it already.
    Rewritten(Metered),
    /// Nothing, in either store.
    Nothing(Permit),
}

/// What the datastore keeps of a document.
pub(crate) struct Kept {
    /// The neighbor, where people labelled the document.
    pub(crate) neighbor: Option<NewNeighbor>,
    /// What is needed to tag it again; absent where it could not be encoded.
    pub(crate) record: Option<DocumentRecord>,
}

/// What makes a document a neighbor from the next commit on.
pub(crate) struct NewNeighbor {
    pub(crate) embedding: Embedding,
    pub(crate) labels: Vec<String>,
}

//! The changes that a worker decided on, on their way to both stores.

use autotag::DocumentRecord;

use crate::budget::{Metered, Permit};
use crate::ledger::Tally;

/// The outcome of a chunk.
pub(crate) struct ProcessedChunk {
    /// In the order of the chunk's operations.
    pub(crate) changes: Vec<Change>,
    pub(crate) tally: Tally,
}

/// The change of one key.
pub(crate) struct Change {
    pub(crate) key: String,
    /// The key had a neighbor at the last commit; of no matter where what the datastore keeps stays.
    pub(crate) had_neighbor: bool,
    pub(crate) content: Content,
}

/// The content of a key from now on.
pub(crate) enum Content {
    /// A document, and what the datastore keeps of it.
    Document(Metered, Kept),
    /// A document with other evidence; what the datastore keeps stays.
    Rewritten(Metered),
    /// Nothing, in either store.
    Nothing(Permit),
}

/// The datastore's part of a document.
pub(crate) struct Kept {
    /// The labels that people gave: the document votes for them, where the record has an embedding.
    pub(crate) labels: Option<Vec<String>>,
    /// Its text's answer and people's verdicts; `None` where there is neither.
    pub(crate) record: Option<DocumentRecord>,
}

impl Kept {
    pub(crate) fn new(labels: Option<Vec<String>>, record: DocumentRecord) -> Self {
        Kept { labels, record: worth_keeping(record) }
    }
}

/// Returns a document's record, where it says more than the document itself.
pub(crate) fn worth_keeping(record: DocumentRecord) -> Option<DocumentRecord> {
    let is_informative =
        record.encoded.is_some() || record.is_corrected || !record.rejected.is_empty();
    is_informative.then_some(record)
}

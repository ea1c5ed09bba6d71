//! The changes that a worker decided on, on their way to both stores.

use autotag::{DatastoreWriter, DocumentRecord, Embedding, Evidence, Review};

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
    /// The labels that people decided: the document votes by them, where the record has an embedding.
    pub(crate) labels: Option<DecidedLabels>,
    /// Its text's answer and people's verdicts; `None` where there is neither.
    pub(crate) record: Option<DocumentRecord>,
}

/// The labels of a neighbor.
pub(crate) struct DecidedLabels {
    pub(crate) given: Vec<String>,
    /// The neighbor abstains from the vote on them.
    pub(crate) undecided: Vec<String>,
}

impl DecidedLabels {
    /// Reads them in the evidence of a document that people labeled or reviewed.
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let undecided = match evidence.review {
            Review::Partial => evidence.predicted_labels().map(str::to_owned).collect(),
            Review::None | Review::Complete => vec![],
        };
        DecidedLabels { given: evidence.given(), undecided }
    }

    /// Stages a document as a neighbor.
    pub(crate) fn put(
        &self,
        datastore: &mut DatastoreWriter,
        key: &str,
        embedding: &Embedding,
    ) -> autotag::Result<()> {
        fn names(labels: &[String]) -> Vec<&str> {
            labels.iter().map(String::as_str).collect()
        }
        datastore.put_partial(key, embedding, &names(&self.given), &names(&self.undecided))
    }
}

impl Kept {
    pub(crate) fn new(labels: Option<DecidedLabels>, record: DocumentRecord) -> Self {
        Kept { labels, record: worth_keeping(record) }
    }
}

/// Returns a document's record, where it says more than the document itself.
pub(crate) fn worth_keeping(record: DocumentRecord) -> Option<DocumentRecord> {
    let is_informative =
        record.encoded.is_some() || !record.review.is_none() || !record.rejected.is_empty();
    is_informative.then_some(record)
}

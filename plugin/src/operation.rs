//! A caller's request, on its way from the writer through the queue to a worker.

use autotag::{DatastoreReader, Evidence, LabelSet, LabelVocabulary};
use tantivy::{Searcher, TantivyDocument};

use crate::budget::Permit;
use crate::ticket::Ticket;
use crate::{Error, document};

/// A request for one key.
pub(crate) struct Operation {
    pub(crate) key: String,
    pub(crate) action: Action,
    /// The commit whose document the action was made from, if any.
    pub(crate) made_from: Option<u64>,
    pub(crate) ticket: Ticket,
    pub(crate) permit: Permit,
}

pub(crate) enum Action {
    Delete,
    /// Writes a document of the last commit with other evidence; what the datastore keeps stays.
    Rewrite(StoredDocument, Evidence),
    /// Indexes a document by its text.
    Index(TantivyDocument, Labeling),
}

/// Who labels a document that is indexed.
pub(crate) enum Labeling {
    /// The tagger.
    Predict,
    /// The tagger, once more: the document has this evidence in the last commit.
    Repredict(Evidence),
    /// People: these labels came with the document.
    Given(Vec<String>),
    /// A person, who corrects the document of the last commit.
    Corrected(Corrected),
}

/// The outcome of a correction.
pub(crate) struct Corrected {
    /// The document's evidence from now on.
    pub(crate) evidence: Evidence,
    /// The labels that people said it does not have.
    pub(crate) rejected: LabelSet,
}

impl Corrected {
    /// Completes evidence by the names of rejected labels, which are neither tags nor suggestions then;
    /// given ones stay.
    pub(crate) fn new(
        mut evidence: Evidence,
        rejected: LabelSet,
        vocabulary: &LabelVocabulary,
    ) -> Self {
        let given = evidence.given();
        let mut names = document::label_names(&vocabulary.resolve_set(&rejected), vocabulary);
        names.retain(|name| !given.contains(name));
        evidence.reject(names);
        Corrected { evidence, rejected }
    }
}

/// A document as the last commit has it, without what autotag attached.
pub(crate) struct StoredDocument {
    pub(crate) document: TantivyDocument,
    pub(crate) evidence: Evidence,
}

/// Operations that are worked on together, and the neighbors to tag them by.
pub(crate) struct Chunk {
    pub(crate) sequence: u64,
    pub(crate) operations: Vec<Operation>,
    pub(crate) neighbors: DatastoreReader,
    /// The documents of the same commit.
    pub(crate) searcher: Searcher,
    /// All documents of that commit were deleted before these operations.
    pub(crate) all_deleted: bool,
}

/// The last commit as both stores have it.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) neighbors: DatastoreReader,
    pub(crate) searcher: Searcher,
}

impl Operation {
    /// Makes an operation; the queue gives it its ticket.
    pub(crate) fn new(key: String, action: Action, made_from: Option<u64>, permit: Permit) -> Self {
        Operation { key, action, made_from, ticket: Ticket::NONE, permit }
    }

    /// Returns the error of an operation that must wait for a commit, with the document that was not
    /// taken.
    pub(crate) fn not_committed(self) -> Error {
        Error::NotCommitted { key: self.key, document: self.action.into_document().map(Box::new) }
    }
}

impl Action {
    /// Estimates the memory that an operation takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        // Its place in a chunk, and the place of its change in the next one.
        let place = 2 * size_of::<Operation>();
        place
            + match self {
                Action::Delete => 0,
                Action::Rewrite(stored, evidence) => {
                    document::size(&stored.document) + stored.evidence.size() + evidence.size()
                }
                Action::Index(document, labeling) => document::size(document) + labeling.bytes(),
            }
    }

    /// Returns the document that it indexes, if any.
    pub(crate) fn into_document(self) -> Option<TantivyDocument> {
        match self {
            Action::Index(document, _) => Some(document),
            Action::Delete | Action::Rewrite(..) => None,
        }
    }

    /// Tells whether its document's text is encoded.
    pub(crate) fn has_text(&self) -> bool {
        matches!(self, Action::Index(..))
    }
}

impl Labeling {
    fn bytes(&self) -> usize {
        match self {
            Labeling::Predict => 0,
            Labeling::Repredict(evidence) => evidence.size(),
            Labeling::Given(labels) => {
                let length = |label: &String| label.len() + size_of::<String>();
                let labels: usize = labels.iter().map(length).sum();
                // The labels once as they came, and once in the document's evidence.
                2 * labels
            }
            Labeling::Corrected(Corrected { evidence, rejected }) => {
                evidence.size() + size_of::<u32>() * rejected.len()
            }
        }
    }
}

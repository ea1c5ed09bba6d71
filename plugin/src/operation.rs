//! What a caller asks for, on its way from the writer through the queue to a worker.

use autotag::{DatastoreReader, LabelSet};
use tantivy::{Searcher, TantivyDocument};

use crate::budget::Permit;
use crate::{Evidence, document};

/// What a caller asked for.
pub(crate) struct Operation {
    pub(crate) key: String,
    pub(crate) action: Action,
    pub(crate) permit: Permit,
}

pub(crate) enum Action {
    /// A document that comes without labels.
    Tag(TantivyDocument),
    /// A document that comes with labels.
    Label(TantivyDocument, Vec<String>),
    Delete,
    /// A document of the last commit that a person has labelled anew.
    Correct(StoredDocument, Corrected),
    /// A document of the last commit that is tagged again.
    Retag(StoredDocument),
    /// A document of the last commit whose labels have other names.
    Rewrite(StoredDocument, Evidence),
}

/// A document as the last commit has it, without what autotag attached.
pub(crate) struct StoredDocument {
    pub(crate) document: TantivyDocument,
    pub(crate) evidence: Evidence,
    /// The commit.
    pub(crate) generation: u64,
}

/// What a person said of a document's labels.
#[derive(Default)]
pub(crate) struct Corrected {
    pub(crate) labels: Vec<String>,
    /// Those that it does not have.
    pub(crate) rejected: LabelSet,
    pub(crate) source: LabelSource,
}

/// Where a document's labels come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LabelSource {
    /// They came with the document.
    #[default]
    Document,
    /// A person corrected the document.
    Person,
    /// A person corrected the document before it came again.
    Earlier,
}

/// Operations that are worked on together, and the neighbors to tag them by.
pub(crate) struct Chunk {
    pub(crate) sequence: u64,
    pub(crate) operations: Vec<Operation>,
    pub(crate) neighbors: DatastoreReader,
    /// The documents of the same commit.
    pub(crate) searcher: Searcher,
}

/// The last commit as both stores have it.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) neighbors: DatastoreReader,
    pub(crate) searcher: Searcher,
}

impl Action {
    /// Estimates what an operation takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let length = |labels: &[String]| {
            labels.iter().map(|label| label.len() + size_of::<String>()).sum::<usize>()
        };
        let committed_size = |committed: &StoredDocument| {
            document::size(&committed.document) + committed.evidence.size()
        };
        // Its place in a chunk, and with what becomes of it in the next.
        let place = 2 * size_of::<Operation>();
        place
            + match self {
                Action::Tag(document) => document::size(document),
                // The labels once as they came, and once in the document's evidence.
                Action::Label(document, labels) => document::size(document) + 2 * length(labels),
                Action::Delete => 0,
                Action::Correct(committed, given) => {
                    let rejected = size_of::<u32>() * given.rejected.len();
                    committed_size(committed) + 2 * length(&given.labels) + rejected
                }
                Action::Retag(committed) => committed_size(committed),
                Action::Rewrite(committed, evidence) => committed_size(committed) + evidence.size(),
            }
    }

    /// Tells whether its document is tagged.
    pub(crate) fn is_tagged(&self) -> bool {
        matches!(self, Action::Tag(_))
    }

    /// Tells whether its document is tagged again.
    pub(crate) fn is_tagged_again(&self) -> bool {
        matches!(self, Action::Retag(_))
    }

    /// Tells whether it needs its document's text encoded.
    pub(crate) fn has_text(&self) -> bool {
        !matches!(self, Action::Delete | Action::Rewrite(..))
    }

    /// Returns the commit whose document this is made from.
    pub(crate) fn made_from(&self) -> Option<u64> {
        match self {
            Action::Correct(committed, _)
            | Action::Retag(committed)
            | Action::Rewrite(committed, _) => Some(committed.generation),
            Action::Tag(_) | Action::Label(..) | Action::Delete => None,
        }
    }
}

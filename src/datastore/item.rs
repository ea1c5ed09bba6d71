//! Items, documents and neighbors, as the datastore takes and gives them.

use serde::{Deserialize, Serialize};

use crate::{Embedding, Encoded, LabelSet};

/// An item's number inside one datastore; a key keeps its number when it is replaced.
///
/// The number of a deleted item may be given to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u32);

/// The origin of an item's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The model's training set.
    Training,
    /// A person, after training.
    Human,
}

/// A labeled text near the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbor {
    /// The item.
    pub item: ItemId,
    /// d(h_i, f(x)): the Euclidean distance, not squared.
    pub distance: f32,
    /// y_i.
    pub labels: LabelSet,
    /// The labels that people have not decided on: the neighbor abstains from the vote on them.
    pub undecided: LabelSet,
}

impl Neighbor {
    /// Makes a neighbor whose labels are all decided.
    pub fn new(item: ItemId, distance: f32, labels: LabelSet) -> Self {
        Neighbor { item, distance, labels, undecided: LabelSet::default() }
    }
}

/// An item as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredItem {
    /// Its number.
    pub item: ItemId,
    /// h_i.
    pub embedding: Embedding,
    /// y_i.
    pub labels: LabelSet,
    /// The labels that people have not decided on, none of `labels`.
    pub undecided: LabelSet,
    /// The origin of the labels.
    pub source: Source,
}

/// The extent of a person's review of a document's labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    /// Nobody corrected the document: it has the labels that it came with, or predicted ones.
    #[default]
    None,
    /// Some labels were decided; the others are undecided, and predicted anew where the document is
    /// tagged again.
    Partial,
    /// All labels were decided: the document has those that people gave, and no others.
    Complete,
}

impl Review {
    /// Tells whether nobody corrected the document.
    pub fn is_none(&self) -> bool {
        *self == Review::None
    }
}

/// The record of a document, labeled or not, from which it can be tagged again without being
/// encoded again.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentRecord {
    /// A digest of the document's text, made by the caller.
    pub content: [u8; 16],
    /// The extent of a person's review.
    pub review: Review,
    /// The labels that people said it does not have.
    pub rejected: LabelSet,
    /// The text's embedding and scores, kept in 8 and 16 bits a value: see [`rounded`](super::rounded). Scores
    /// of 0 take no room.
    pub encoded: Option<Encoded>,
}

impl DocumentRecord {
    pub(super) fn embedding(&self) -> Option<&Embedding> {
        self.encoded.as_ref().map(|encoded| &encoded.embedding)
    }
}

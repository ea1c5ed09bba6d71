//! Items, documents and neighbors, as the datastore takes and gives them.

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
    /// The origin of the labels.
    pub source: Source,
}

/// The record of a document, labeled or not, from which it can be tagged again without being
/// encoded again.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentRecord {
    /// A digest of the document's text, made by the caller.
    pub content: [u8; 16],
    /// Whether a person corrected its labels.
    pub is_corrected: bool,
    /// The labels that people said it does not have.
    pub rejected: LabelSet,
    /// The text's embedding and scores; scores of 0 take no room.
    pub encoded: Option<Encoded>,
}

impl DocumentRecord {
    pub(super) fn embedding(&self) -> Option<&Embedding> {
        self.encoded.as_ref().map(|encoded| &encoded.embedding)
    }
}

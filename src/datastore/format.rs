//! The disk format: little-endian records, one format version for all of them.
//!
//! Database `meta` holds the [`Header`], the trees' center and the items that the trees do not cover;
//! `items` maps an item's number (u32, big-endian, so that LMDB's order is the numbers') to its
//! [`Record`]; `keys` maps keys to numbers;
//! `documents` maps keys to [`DocumentRecord`]s; `labels` maps label ids to [`LabelHistory`]s;
//! `staged` holds operations that wait for a commit, which outlive their process where `meta` holds
//! a [`Journal`] too; `trees` belongs to Arroy, which keeps native-endian copies of the vectors
//! beside its trees.
//!
//! Every value but Arroy's and the numbers in `keys` ends with the CRC-32 of what stands before it: LMDB has
//! no checksums.

use roaring::RoaringBitmap;

use super::bytes::{CHECKSUM_BYTES, Input, seal, unseal, words};
use super::document::{document_from, document_len, put_document};
use super::item::{DocumentRecord, Source};
use crate::{Fingerprint, LabelFate, LabelHistory, LabelId, LabelSet};

/// The format version that this program writes.
///
/// Version 4 has trees of an older generation than its items, with the numbers of the items that they do
/// not cover, and documents in a compact form (flag 16). Version 3 has undecided labels (source 2), partial
/// reviews (flag 8) and the deletion of all documents (operation 4); otherwise it is as version 2.
pub(super) const VERSION: u32 = 4;

/// The oldest format version that this program reads.
const OLDEST: u32 = 2;

/// The header: a datastore's shape, encoder and generation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) dimensions: u32,
    pub(super) n_trees: u32,
    pub(super) encoder: Fingerprint,
    /// Counts commits.
    pub(super) generation: u64,
    pub(super) n_items: u64,
    /// The number of items whose mean the trees' center is; 0 where there are no trees.
    pub(super) n_centered: u64,
    /// The checksum of Arroy's nodes, without the vectors.
    pub(super) trees_checksum: u32,
    /// The generation whose items the trees hold.
    pub(super) trees_generation: u64,
    /// The number of items that were added, changed or deleted since that generation.
    pub(super) n_uncovered: u64,
}

/// The reason why a header cannot be used.
#[derive(Debug, PartialEq)]
pub(super) enum HeaderError {
    Version(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(92);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.dimensions.to_le_bytes());
        bytes.extend(self.n_trees.to_le_bytes());
        bytes.extend(self.encoder.0);
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.n_items.to_le_bytes());
        bytes.extend(self.n_centered.to_le_bytes());
        bytes.extend(self.trees_checksum.to_le_bytes());
        bytes.extend(self.trees_generation.to_le_bytes());
        bytes.extend(self.n_uncovered.to_le_bytes());
        seal(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let version = Input(bytes).u32().ok_or(HeaderError::Damaged)?;
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(HeaderError::Version(version));
        }
        let mut input = Input(unseal(bytes).ok_or(HeaderError::Damaged)?);
        let header = Header::decode_fields(&mut input).ok_or(HeaderError::Damaged)?;
        let usable = input.0.is_empty() && header.dimensions > 0 && header.n_trees > 0;
        usable.then_some(header).ok_or(HeaderError::Damaged)
    }

    fn decode_fields(input: &mut Input<'_>) -> Option<Self> {
        let version = input.u32()?;
        let mut header = Header {
            dimensions: input.u32()?,
            n_trees: input.u32()?,
            encoder: Fingerprint(input.array()?),
            generation: input.u64()?,
            n_items: input.u64()?,
            n_centered: input.u64()?,
            trees_checksum: input.u32()?,
            trees_generation: 0,
            n_uncovered: 0,
        };
        // Before version 4 the trees were those of the newest commit.
        header.trees_generation = if version < 4 { header.generation } else { input.u64()? };
        header.n_uncovered = if version < 4 { 0 } else { input.u64()? };
        Some(header)
    }
}

/// Lays out a vector: values (f32 each).
pub(super) fn encode_vector(values: &[f32]) -> Vec<u8> {
    seal(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Reads a vector of so many dimensions; `None` when the bytes are none.
pub(super) fn decode_vector(bytes: &[u8], dimensions: usize) -> Option<Vec<f32>> {
    let values = unseal(bytes)?;
    (values.len() == dimensions.checked_mul(4)?)
        .then(|| words(values).map(f32::from_le_bytes).collect())
}

/// Lays out a set of items' numbers in the portable format of Roaring bitmaps: at most 8 KiB for each 65,536
/// numbers in use.
pub(super) fn encode_ids(ids: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.serialized_size() + CHECKSUM_BYTES);
    ids.serialize_into(&mut bytes).expect("a vector takes all bytes");
    seal(bytes)
}

/// Reads a set of items' numbers; `None` when the bytes are none.
pub(super) fn decode_ids(bytes: &[u8]) -> Option<RoaringBitmap> {
    let mut content = unseal(bytes)?;
    let ids = RoaringBitmap::deserialize_from(&mut content).ok()?;
    content.is_empty().then_some(ids)
}

/// The record that makes the operations in `staged` durable: they wait to be applied or discarded as a
/// whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Journal {
    /// The generation that the datastore has once they are applied.
    pub(super) generation: u64,
    /// They are numbered from 0 on.
    pub(super) n_operations: u64,
    /// The labels that are new or changed, in the order of their ids.
    pub(super) labels: Vec<(LabelId, LabelHistory)>,
}

impl Journal {
    /// Lays out generation (u64), number of operations (u64), and for each label its id (u32) and
    /// its history.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.n_operations.to_le_bytes());
        for (id, label) in &self.labels {
            bytes.extend(id.0.to_le_bytes());
            put_history(&mut bytes, label);
        }
        seal(bytes)
    }

    /// Reads a journal; `None` when the bytes are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(unseal(bytes)?);
        let (generation, n_operations) = (input.u64()?, input.u64()?);
        let mut labels = Vec::new();
        while !input.0.is_empty() {
            labels.push((LabelId(input.u32()?), history_from(&mut input)?));
        }
        Some(Journal { generation, n_operations, labels })
    }
}

/// Lays out a label's history by itself.
pub(super) fn encode_history(label: &LabelHistory) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_history(&mut bytes, label);
    seal(bytes)
}

/// Reads a label's history; `None` when the bytes are none.
pub(super) fn decode_history(bytes: &[u8]) -> Option<LabelHistory> {
    let mut input = Input(unseal(bytes)?);
    let label = history_from(&mut input)?;
    input.0.is_empty().then_some(label)
}

/// Lays out fate (u8: 0 active, 1 merged, 2 retired), what it is merged into (u32), the name, the
/// number of former names (u16) and those; each name after its length (u16).
fn put_history(bytes: &mut Vec<u8>, label: &LabelHistory) {
    let (fate, target) = match label.fate {
        LabelFate::Active => (0, 0),
        LabelFate::MergedInto(target) => (1, target.0),
        LabelFate::Retired => (2, 0),
    };
    bytes.push(fate);
    bytes.extend(u32::to_le_bytes(target));
    let put_name = |bytes: &mut Vec<u8>, name: &str| {
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(name.as_bytes());
    };
    put_name(bytes, &label.name);
    bytes.extend((label.former.len() as u16).to_le_bytes());
    label.former.iter().for_each(|name| put_name(bytes, name));
}

fn history_from(input: &mut Input<'_>) -> Option<LabelHistory> {
    let fate = input.array::<1>()?[0];
    let target = LabelId(input.u32()?);
    let fate = match fate {
        0 => LabelFate::Active,
        1 => LabelFate::MergedInto(target),
        2 => LabelFate::Retired,
        _ => return None,
    };
    let name = input.name()?.to_owned();
    let n_former = u16::from_le_bytes(input.array()?);
    let mut former = Vec::new();
    for _ in 0..n_former {
        former.push(input.name()?.to_owned());
    }
    Some(LabelHistory { name, former, fate })
}

/// An item as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) key: Box<str>,
    pub(super) labels: LabelSet,
    pub(super) undecided: LabelSet,
    pub(super) source: Source,
    pub(super) embedding: Box<[f32]>,
}

impl Record {
    /// Lays out source (u8: 0 training set, 1 a person, 2 a person with undecided labels), key's length
    /// (u16), number of labels (u32), key, labels (u32 each), with source 2 the number of undecided
    /// labels (u32) and those (u32 each), values (f32 each).
    fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.push(match self.source {
            Source::Training => 0,
            Source::Human if self.undecided.is_empty() => 1,
            Source::Human => 2,
        });
        bytes.extend((self.key.len() as u16).to_le_bytes());
        bytes.extend((self.labels.len() as u32).to_le_bytes());
        bytes.extend(self.key.as_bytes());
        bytes.extend(self.labels.ids().iter().flat_map(|label| label.0.to_le_bytes()));
        if !self.undecided.is_empty() {
            bytes.extend((self.undecided.len() as u32).to_le_bytes());
            bytes.extend(self.undecided.ids().iter().flat_map(|label| label.0.to_le_bytes()));
        }
        bytes.extend(self.embedding.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len() + CHECKSUM_BYTES);
        self.encode_into(&mut bytes);
        seal(bytes)
    }

    pub(super) fn encoded_len(&self) -> usize {
        let n_undecided = self.undecided.len() + usize::from(!self.undecided.is_empty());
        7 + self.key.len() + 4 * (self.labels.len() + n_undecided + self.embedding.len())
    }
}

/// A record whose values are still bytes, so that loading many copies them once.
pub(super) struct RecordView<'a> {
    pub(super) key: &'a str,
    pub(super) labels: LabelSet,
    pub(super) undecided: LabelSet,
    pub(super) source: Source,
    values: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads a record of so many dimensions; `None` when the bytes are none.
    pub(super) fn decode(bytes: &'a [u8], dimensions: usize) -> Option<Self> {
        RecordView::decode_content(unseal(bytes)?, dimensions)
    }

    fn decode_content(content: &'a [u8], dimensions: usize) -> Option<Self> {
        let mut input = Input(content);
        let (source, has_undecided) = match input.array::<1>()?[0] {
            0 => (Source::Training, false),
            1 => (Source::Human, false),
            2 => (Source::Human, true),
            _ => return None,
        };
        let key_length = u16::from_le_bytes(input.array()?);
        let n_labels = input.u32()?;
        let key = std::str::from_utf8(input.take(key_length.into())?).ok()?;
        let labels = input.label_ids(n_labels)?;
        let undecided =
            if has_undecided { input.counted_label_ids()? } else { LabelSet::default() };
        let values = input.take(dimensions.checked_mul(4)?)?;
        input.0.is_empty().then_some(RecordView { key, labels, undecided, source, values })
    }

    /// Returns the embedding's values.
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = f32> {
        words(self.values).map(f32::from_le_bytes)
    }

    fn to_record(&self) -> Record {
        Record {
            key: self.key.into(),
            labels: self.labels.clone(),
            undecided: self.undecided.clone(),
            source: self.source,
            embedding: self.values().collect(),
        }
    }
}

/// A change that waits for its commit.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operation {
    Put(Record),
    Delete(Box<str>),
    PutDocument(Box<str>, DocumentRecord),
    DeleteDocument(Box<str>),
    /// Deletes the items that people labeled, and all documents.
    DeleteAllDocuments,
}

impl Operation {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len() + CHECKSUM_BYTES);
        match self {
            Operation::Delete(key) => {
                bytes.push(0);
                bytes.extend(key.as_bytes());
            }
            Operation::Put(record) => {
                bytes.push(1);
                record.encode_into(&mut bytes);
            }
            Operation::DeleteDocument(key) => {
                bytes.push(2);
                bytes.extend(key.as_bytes());
            }
            Operation::PutDocument(key, document) => {
                bytes.push(3);
                bytes.extend((key.len() as u16).to_le_bytes());
                bytes.extend(key.as_bytes());
                put_document(&mut bytes, document, document.embedding());
            }
            Operation::DeleteAllDocuments => bytes.push(4),
        }
        seal(bytes)
    }

    /// Returns the length without the checksum, an upper bound for documents.
    pub(super) fn encoded_len(&self) -> usize {
        1 + match self {
            Operation::Put(record) => record.encoded_len(),
            Operation::Delete(key) | Operation::DeleteDocument(key) => key.len(),
            Operation::PutDocument(key, document) => 2 + key.len() + document_len(document),
            Operation::DeleteAllDocuments => 0,
        }
    }

    /// Reads an operation; `None` when the bytes are none.
    pub(super) fn decode(bytes: &[u8], dimensions: usize) -> Option<Self> {
        let (&tag, rest) = unseal(bytes)?.split_first()?;
        let key = || std::str::from_utf8(rest).ok().map(Box::from);
        match tag {
            0 => Some(Operation::Delete(key()?)),
            1 => Some(Operation::Put(RecordView::decode_content(rest, dimensions)?.to_record())),
            2 => Some(Operation::DeleteDocument(key()?)),
            3 => {
                let mut input = Input(rest);
                let key = input.name()?.into();
                let document = document_from(&mut input, dimensions)?.complete(|| None);
                input.0.is_empty().then_some(Operation::PutDocument(key, document))
            }
            4 => rest.is_empty().then_some(Operation::DeleteAllDocuments),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

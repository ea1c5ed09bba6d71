//! What lies on disk: little-endian records, one format version for all of them.
//!
//! Database `meta` holds the [`Header`]; `items` maps an item's number (u32, big-endian, so that
//! LMDB's order is the numbers') to its record; `keys` maps keys to numbers; `labels` maps label
//! ids to names; `staged` holds operations that wait for a commit, which outlive their process
//! where `meta` holds a [`Journal`] too; `trees` belongs to Arroy, which keeps native-endian copies
//! of the vectors beside its trees.

use crate::{Fingerprint, LabelId, LabelSet, Source};

/// The newest format version, which this program writes.
pub(super) const VERSION: u32 = 1;

/// What a datastore says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) dimensions: u32,
    pub(super) n_trees: u32,
    pub(super) encoder: Fingerprint,
    /// Counts commits.
    pub(super) generation: u64,
    pub(super) n_items: u64,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq)]
pub(super) enum HeaderError {
    Version(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(60);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.dimensions.to_le_bytes());
        bytes.extend(self.n_trees.to_le_bytes());
        bytes.extend(self.encoder.0);
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.n_items.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut input = Input(bytes);
        let version = input.u32().ok_or(HeaderError::Damaged)?;
        if version > VERSION {
            return Err(HeaderError::Version(version));
        }
        if version != VERSION {
            return Err(HeaderError::Damaged);
        }
        let header = Header::decode_fields(&mut input).ok_or(HeaderError::Damaged)?;
        let usable = input.0.is_empty() && header.dimensions > 0 && header.n_trees > 0;
        usable.then_some(header).ok_or(HeaderError::Damaged)
    }

    fn decode_fields(input: &mut Input<'_>) -> Option<Self> {
        Some(Header {
            dimensions: input.u32()?,
            n_trees: input.u32()?,
            encoder: Fingerprint(input.array()?),
            generation: input.u64()?,
            n_items: input.u64()?,
        })
    }
}

/// What makes the operations in `staged` durable: they wait to be applied or discarded as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Journal {
    /// The generation that the datastore has once they are applied.
    pub(super) generation: u64,
    /// They are numbered from 0 on.
    pub(super) n_operations: u64,
    /// The labels that they add to the vocabulary, in the order of their ids.
    pub(super) labels: Vec<Box<str>>,
}

impl Journal {
    /// Lays out generation (u64), number of operations (u64), and for each label its length (u16)
    /// and its name.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.n_operations.to_le_bytes());
        for label in &self.labels {
            bytes.extend((label.len() as u16).to_le_bytes());
            bytes.extend(label.as_bytes());
        }
        bytes
    }

    /// Reads a journal; `None` when the bytes are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (generation, n_operations) = (input.u64()?, input.u64()?);
        let mut labels = Vec::new();
        while !input.0.is_empty() {
            let length = u16::from_le_bytes(input.array()?);
            labels.push(std::str::from_utf8(input.take(length.into())?).ok()?.into());
        }
        Some(Journal { generation, n_operations, labels })
    }
}

/// An item as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) key: Box<str>,
    pub(super) labels: LabelSet,
    pub(super) source: Source,
    pub(super) embedding: Box<[f32]>,
}

impl Record {
    /// Lays out source (u8), key's length (u16), number of labels (u32), key, labels (u32 each),
    /// values (f32 each).
    pub(super) fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.push(match self.source {
            Source::Training => 0,
            Source::Human => 1,
        });
        bytes.extend((self.key.len() as u16).to_le_bytes());
        bytes.extend((self.labels.len() as u32).to_le_bytes());
        bytes.extend(self.key.as_bytes());
        bytes.extend(self.labels.ids().iter().flat_map(|label| label.0.to_le_bytes()));
        bytes.extend(self.embedding.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut bytes);
        bytes
    }

    pub(super) fn encoded_len(&self) -> usize {
        7 + self.key.len() + 4 * (self.labels.len() + self.embedding.len())
    }
}

/// A record whose values are still bytes, so that loading many copies them once.
pub(super) struct RecordView<'a> {
    pub(super) key: &'a str,
    pub(super) labels: LabelSet,
    pub(super) source: Source,
    values: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads a record of so many dimensions; `None` when the bytes are none.
    pub(super) fn decode(bytes: &'a [u8], dimensions: usize) -> Option<Self> {
        let mut input = Input(bytes);
        let source = match input.array::<1>()?[0] {
            0 => Source::Training,
            1 => Source::Human,
            _ => return None,
        };
        let key_length = u16::from_le_bytes(input.array()?);
        let n_labels = input.u32()? as usize;
        let key = std::str::from_utf8(input.take(key_length.into())?).ok()?;
        let labels = input.take(n_labels.checked_mul(4)?)?;
        let labels = words(labels).map(|word| LabelId(u32::from_le_bytes(word))).collect();
        let values = input.take(dimensions.checked_mul(4)?)?;
        input.0.is_empty().then_some(RecordView { key, labels, source, values })
    }

    /// Returns the embedding's values.
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = f32> {
        words(self.values).map(f32::from_le_bytes)
    }

    fn to_record(&self) -> Record {
        Record {
            key: self.key.into(),
            labels: self.labels.clone(),
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
}

impl Operation {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        match self {
            Operation::Put(record) => {
                bytes.push(1);
                record.encode_into(&mut bytes);
            }
            Operation::Delete(key) => {
                bytes.push(0);
                bytes.extend(key.as_bytes());
            }
        }
        bytes
    }

    pub(super) fn encoded_len(&self) -> usize {
        1 + match self {
            Operation::Put(record) => record.encoded_len(),
            Operation::Delete(key) => key.len(),
        }
    }

    /// Reads an operation; `None` when the bytes are none.
    pub(super) fn decode(bytes: &[u8], dimensions: usize) -> Option<Self> {
        let (&tag, rest) = bytes.split_first()?;
        match tag {
            0 => Some(Operation::Delete(std::str::from_utf8(rest).ok()?.into())),
            1 => Some(Operation::Put(RecordView::decode(rest, dimensions)?.to_record())),
            _ => None,
        }
    }
}

/// Bytes that are read from the front; every read checks that enough is left.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

fn words(bytes: &[u8]) -> impl ExactSizeIterator<Item = [u8; 4]> {
    bytes.chunks_exact(4).map(|word| word.try_into().expect("chunks of 4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            dimensions: 3,
            n_trees: 10,
            encoder: Fingerprint([7; 32]),
            generation: 1 << 40,
            n_items: 5,
        }
    }

    fn record(key: &str, labels: &[u32], embedding: &[f32]) -> Record {
        Record {
            key: key.into(),
            labels: labels.iter().copied().map(LabelId).collect(),
            source: Source::Human,
            embedding: embedding.into(),
        }
    }

    #[test]
    fn a_header_round_trips_and_a_newer_one_is_told_apart() {
        let mut bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Ok(header()));
        assert_eq!(Header::decode(&bytes[..bytes.len() - 1]), Err(HeaderError::Damaged));
        bytes[0] = 9;
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Version(9)));
    }

    #[test]
    fn the_record_layout_is_fixed() {
        let bytes = record("ab", &[258], &[1.0]).encode();
        assert_eq!(bytes, [1, 2, 0, 1, 0, 0, 0, b'a', b'b', 2, 1, 0, 0, 0, 0, 0x80, 0x3f]);
    }

    proptest! {
        #[test]
        fn operations_round_trip_and_no_part_of_one_decodes(
            key in ".{1,20}",
            labels in proptest::collection::vec(0u32..1000, 0..6),
            embedding in proptest::collection::vec(-1e9f32..1e9, 4),
            cut in 0usize..1000,
        ) {
            let put = Operation::Put(record(&key, &labels, &embedding));
            let bytes = put.encode();
            prop_assert_eq!(bytes.len(), put.encoded_len());
            prop_assert_eq!(Operation::decode(&bytes, 4), Some(put));
            prop_assert_eq!(Operation::decode(&bytes[..cut % bytes.len()], 4), None);
            prop_assert_eq!(Operation::decode(&bytes, 5), None);
            let delete = Operation::Delete(key.into());
            prop_assert_eq!(Operation::decode(&delete.encode(), 4), Some(delete));
        }

        #[test]
        fn journals_round_trip_and_no_part_of_a_label_decodes(
            generation: u64,
            labels in proptest::collection::vec(".{1,20}", 0..4),
        ) {
            let labels: Vec<Box<str>> = labels.iter().map(|label| label.as_str().into()).collect();
            let journal = Journal { generation, n_operations: 7, labels };
            let bytes = journal.encode();
            prop_assert_eq!(Journal::decode(&bytes), Some(journal));
            prop_assert_eq!(Journal::decode(&[&bytes[..], &[1]].concat()), None);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Operation::decode(&bytes, 4);
            let _ = Journal::decode(&bytes);
            let _ = Header::decode(&bytes);
        }
    }
}

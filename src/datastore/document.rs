//! The records of documents on disk.

use super::bytes::{CHECKSUM_BYTES, Input, seal, unseal, words};
use super::compact;
use super::item::{DocumentRecord, Review};
use crate::{Embedding, Encoded, LabelSet, Scores};

/// The flag of a document in the compact form.
const IS_COMPACT: u8 = 16;

/// The form of a document's embedding and scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// That of versions before 4.
    Float,
    /// See [`compact`].
    Compact,
}

/// More labels than any model scores.
pub(super) const MAX_LABELS: usize = 1 << 24;

/// Lays out content hash (16 bytes), flags (u8: 1 reviewed, 2 with an embedding, 4 with scores, 8
/// reviewed in part, 16 in this form), number of rejected labels (u32), those (u32 each), the embedding's
/// compact form, number of the model's labels (u32), number of scores above 0 (u32), and for each of
/// those the number of labels between it and the one before (LEB128) and multiples of 1/50,000 (u16).
///
/// Without flag 16, as before version 4, the embedding has f32 values, and a score its label (u32) and
/// f32.
///
/// Where the document is a neighbor, the embedding stands there alone: pass `None`.
pub(super) fn encode_document(document: &DocumentRecord, embedding: Option<&Embedding>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(document_len(document) + CHECKSUM_BYTES);
    put_document(&mut bytes, document, embedding);
    seal(bytes)
}

/// Reads what is kept of a document; `None` when the bytes are none.
pub(super) fn decode_document(bytes: &[u8], dimensions: usize) -> Option<DocumentView> {
    let mut input = Input(unseal(bytes)?);
    let document = document_from(&mut input, dimensions)?;
    input.0.is_empty().then_some(document)
}

/// A decoded document record, without the embedding where that stands in a neighbor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DocumentView {
    pub(super) content: [u8; 16],
    pub(super) review: Review,
    pub(super) rejected: LabelSet,
    pub(super) embedding: Option<Embedding>,
    pub(super) scores: Option<Scores>,
}

impl DocumentView {
    /// Completes the record with its neighbor's embedding, where it has none of its own.
    pub(super) fn complete(self, neighbor: impl FnOnce() -> Option<Embedding>) -> DocumentRecord {
        let DocumentView { content, review, rejected, embedding, scores } = self;
        let embedding = embedding.or_else(neighbor);
        let encoded = embedding.map(|embedding| Encoded { embedding, scores });
        DocumentRecord { content, review, rejected, encoded }
    }
}

pub(super) fn put_document(
    bytes: &mut Vec<u8>,
    document: &DocumentRecord,
    embedding: Option<&Embedding>,
) {
    let scores = document.encoded.as_ref().and_then(|encoded| encoded.scores.as_ref());
    bytes.extend(document.content);
    bytes.push(
        match document.review {
            Review::None => 0,
            Review::Complete => 1,
            Review::Partial => 9,
        } | u8::from(embedding.is_some()) << 1
            | u8::from(scores.is_some()) << 2
            | IS_COMPACT,
    );
    bytes.extend((document.rejected.len() as u32).to_le_bytes());
    bytes.extend(document.rejected.ids().iter().flat_map(|label| label.0.to_le_bytes()));
    if let Some(embedding) = embedding {
        compact::put_embedding(bytes, embedding);
    }
    if let Some(scores) = scores {
        bytes.extend((scores.values().len() as u32).to_le_bytes());
        bytes.extend((compact::kept_scores(scores).count() as u32).to_le_bytes());
        let mut next = 0;
        for (label, score) in compact::kept_scores(scores) {
            put_leb128(bytes, label - next);
            bytes.extend(score.to_le_bytes());
            next = label + 1;
        }
    }
}

/// Lays out a number in groups of 7 bits, the lowest first; all but the last have bit 7 set.
fn put_leb128(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Returns an upper bound of a document's length.
pub(super) fn document_len(document: &DocumentRecord) -> usize {
    const LONGEST_SCORE: usize = 7;
    let encoded = document.encoded.as_ref();
    let embedding =
        encoded.map_or(0, |encoded| compact::embedding_len(encoded.embedding.values().len()));
    let scores = encoded.and_then(|encoded| encoded.scores.as_ref());
    let n_scores = scores.map_or(0, |scores| compact::kept_scores(scores).count());
    29 + 4 * document.rejected.len() + embedding + LONGEST_SCORE * n_scores
}

/// Reads a document's record from the front; `None` when the bytes are none.
pub(super) fn document_from(input: &mut Input<'_>, dimensions: usize) -> Option<DocumentView> {
    let content = input.array()?;
    let flags = input.array::<1>()?[0];
    let review = match flags & 9 {
        0 => Review::None,
        1 => Review::Complete,
        9 => Review::Partial,
        _ => return None,
    };
    if flags >= 2 * IS_COMPACT {
        return None;
    }
    let form = if flags & IS_COMPACT == 0 { Form::Float } else { Form::Compact };
    let rejected = input.counted_label_ids()?;
    let embedding = match flags & 2 {
        0 => None,
        _ if form == Form::Compact => {
            let bytes = input.take(compact::embedding_len(dimensions))?;
            Some(compact::embedding_from(bytes, dimensions)?)
        }
        _ => {
            let values = words(input.take(dimensions.checked_mul(4)?)?).map(f32::from_le_bytes);
            Some(Embedding::new(values.collect::<Vec<f32>>()).ok()?)
        }
    };
    let scores = match flags & 4 {
        0 => None,
        _ => Some(scores_from(input, form)?),
    };
    Some(DocumentView { content, review, rejected, embedding, scores })
}

fn scores_from(input: &mut Input<'_>, form: Form) -> Option<Scores> {
    let n_labels = input.u32()?;
    let n_scores = input.u32()?;
    // What damage may have made huge must not set memory aside.
    if n_labels as usize > MAX_LABELS || n_scores > n_labels {
        return None;
    }
    let mut scores = vec![0.0; n_labels as usize];
    let mut next = 0u32;
    for _ in 0..n_scores {
        let (label, score) = if form == Form::Compact {
            let label = next.checked_add(input.leb128()?)?;
            (label, compact::score_from(u16::from_le_bytes(input.array()?)))
        } else {
            (input.u32()?, f32::from_le_bytes(input.array()?))
        };
        *scores.get_mut(label as usize)? = score;
        next = label.checked_add(1)?;
    }
    Scores::new(scores).ok()
}

//! The decoders of what lies on disk, for fuzz targets.

use super::bytes::seal;
use super::document::decode_document;
use super::format::{
    Header, Journal, Operation, RecordView, decode_history, decode_ids, decode_vector,
    encode_history, encode_ids, encode_vector,
};
use crate::{LabelId, LabelVocabulary};

const DIMENSIONS: usize = 2;

/// Takes any bytes for each kind of value, as they are and with a checksum that fits.
///
/// # Panics
///
/// When what is decoded and encoded again decodes to something else: that is a bug.
pub fn decode_any(bytes: &[u8]) {
    decode_sealed(bytes);
    decode_sealed(&seal(bytes.to_vec()));
}

fn decode_sealed(bytes: &[u8]) {
    check(bytes, |bytes| Header::decode(bytes).ok(), Header::encode);
    check(bytes, Journal::decode, Journal::encode);
    check(bytes, decode_history, encode_history);
    check(bytes, |bytes| Operation::decode(bytes, DIMENSIONS), Operation::encode);
    check(bytes, decode_ids, encode_ids);
    check(bytes, |bytes| decode_vector(bytes, DIMENSIONS), |values| encode_vector(values));
    if let Some(record) = RecordView::decode(bytes, DIMENSIONS) {
        let _: Vec<f32> = record.values().collect();
    }
    if let Some(document) = decode_document(bytes, DIMENSIONS) {
        document.complete(|| None);
    }
    if let Some(journal) = Journal::decode(bytes) {
        read_labels(journal);
    }
}

/// Checks that a value which decodes is written so that it decodes to the same. Compared are bytes:
/// what is no number equals nothing.
fn check<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<T>, encode: impl Fn(&T) -> Vec<u8>) {
    let Some(value) = decode(bytes) else { return };
    let written = encode(&value);
    let again = decode(&written).expect("what was written decodes");
    assert_eq!(encode(&again), written);
}

/// Takes a journal's labels for a vocabulary, and asks it all that one asks.
fn read_labels(journal: Journal) {
    let mut vocabulary = LabelVocabulary::default();
    for (id, history) in journal.labels {
        if vocabulary.put_history(id, history).is_none() {
            return;
        }
    }
    if !vocabulary.has_all_targets() {
        return;
    }
    for id in (0..vocabulary.len() as u32).map(LabelId) {
        let name = vocabulary.name(id).to_owned();
        assert_eq!(vocabulary.id(&name), Some(id));
        let _ = vocabulary.resolve_name(&name);
        assert_eq!(vocabulary.history(id).name, name);
    }
}

use super::super::compact::rounded;
use super::super::document::{decode_document, encode_document};
use super::super::item::Review;
use super::*;
use crate::{Embedding, Encoded, Scores};
use proptest::prelude::*;

fn header() -> Header {
    Header {
        dimensions: 3,
        n_trees: 10,
        encoder: Fingerprint([7; 32]),
        generation: 1 << 40,
        n_items: 5,
        n_centered: 4,
        trees_checksum: 77,
        trees_generation: 1 << 39,
        n_uncovered: 6,
    }
}

fn record(key: &str, labels: &[u32], embedding: &[f32]) -> Record {
    Record {
        key: key.into(),
        labels: labels.iter().copied().map(LabelId).collect(),
        undecided: LabelSet::default(),
        source: Source::Human,
        embedding: embedding.into(),
    }
}

#[test]
fn a_header_round_trips_and_a_newer_one_is_told_apart() {
    let mut bytes = header().encode();
    assert_eq!(Header::decode(&bytes), Ok(header()));
    assert_eq!(Header::decode(&bytes[..bytes.len() - 1]), Err(HeaderError::Damaged));
    for version in [2, 3] {
        let mut older = bytes[..bytes.len() - CHECKSUM_BYTES - 16].to_vec();
        older[0] = version;
        let current = Header { trees_generation: 1 << 40, n_uncovered: 0, ..header() };
        assert_eq!(Header::decode(&seal(older)), Ok(current));
    }
    bytes[0] = 9;
    assert_eq!(Header::decode(&bytes), Err(HeaderError::Version(9)));
}

#[test]
fn the_record_layout_is_fixed() {
    let bytes = record("ab", &[258], &[1.0]).encode();
    let (content, checksum) = bytes.split_last_chunk().unwrap();
    assert_eq!(content, [1, 2, 0, 1, 0, 0, 0, b'a', b'b', 2, 1, 0, 0, 0, 0, 0x80, 0x3f]);
    assert_eq!(u32::from_le_bytes(*checksum), crc32fast::hash(content));
    let undecided = [LabelId(3)].into_iter().collect();
    let bytes = Record { undecided, ..record("ab", &[258], &[1.0]) }.encode();
    let expected =
        [2, 2, 0, 1, 0, 0, 0, b'a', b'b', 2, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0x80, 0x3f];
    assert_eq!(bytes[..bytes.len() - CHECKSUM_BYTES], expected);
}

proptest! {
    #[test]
    fn operations_round_trip_and_no_part_of_one_decodes(
        key in ".{1,20}",
        labels in proptest::collection::vec(0u32..1000, 0..6),
        undecided in proptest::collection::vec(0u32..1000, 0..6),
        embedding in proptest::collection::vec(-1e9f32..1e9, 4),
        cut in 0usize..1000,
    ) {
        let undecided = undecided.into_iter().map(LabelId).collect();
        let put = Operation::Put(Record { undecided, ..record(&key, &labels, &embedding) });
        let bytes = put.encode();
        prop_assert_eq!(bytes.len(), put.encoded_len() + CHECKSUM_BYTES);
        prop_assert_eq!(Operation::decode(&bytes, 4), Some(put));
        prop_assert_eq!(Operation::decode(&bytes[..cut % bytes.len()], 4), None);
        prop_assert_eq!(Operation::decode(&bytes, 5), None);
        for delete in [Operation::Delete(key.clone().into()), Operation::DeleteDocument(key.into())]
        {
            prop_assert_eq!(Operation::decode(&delete.encode(), 4), Some(delete));
        }
        let all = Operation::DeleteAllDocuments;
        prop_assert_eq!(Operation::decode(&all.encode(), 4), Some(all));
    }

    #[test]
    fn documents_round_trip_and_no_changed_bit_goes_unnoticed(
        key in ".{1,20}",
        content: [u8; 16],
        review in proptest::sample::select(vec![Review::None, Review::Partial, Review::Complete]),
        rejected in proptest::collection::vec(0u32..1000, 0..4),
        encoded: bool,
        scores in proptest::option::of(proptest::collection::vec(
            prop_oneof![0.0f32..=1.0, Just(0.0)], 0..400,
        )),
        bit: usize,
    ) {
        let embedding = Embedding::new(vec![1.0, -2.0]).unwrap();
        let scores = scores.map(|scores| Scores::new(scores).unwrap());
        let document = DocumentRecord {
            content,
            review,
            rejected: rejected.into_iter().map(LabelId).collect(),
            encoded: encoded.then(|| rounded(Encoded { embedding: embedding.clone(), scores })),
        };
        let own = encode_document(&document, document.embedding());
        let view = decode_document(&own, 2).unwrap();
        prop_assert_eq!(view.complete(|| None), document.clone());
        let shared = encode_document(&document, None);
        let view = decode_document(&shared, 2).unwrap();
        prop_assert_eq!(view.complete(|| document.embedding().cloned()), document.clone());
        let put = Operation::PutDocument(key.into(), document);
        let mut bytes = put.encode();
        prop_assert!(bytes.len() <= put.encoded_len() + CHECKSUM_BYTES);
        prop_assert_eq!(Operation::decode(&bytes, 2), Some(put));
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Operation::decode(&bytes, 2), None);
    }

    #[test]
    fn journals_round_trip_and_no_part_of_a_label_decodes(
        generation: u64,
        names in proptest::collection::vec(".{1,20}", 0..4),
        target: u32,
    ) {
        let fates =
            [LabelFate::Active, LabelFate::Retired, LabelFate::MergedInto(LabelId(target))];
        let label = |(id, name): (u32, &String)| {
            let (former, fate) = (names.clone(), fates[id as usize % 3]);
            (LabelId(id), LabelHistory { name: name.clone(), former, fate })
        };
        let labels = (0..).zip(&names).map(label).collect();
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
        let _ = decode_document(&bytes, 4);
        let _ = decode_history(&bytes);
        // Behind the checksum too.
        let sealed = seal(bytes);
        let _ = Operation::decode(&sealed, 4);
        let _ = Journal::decode(&sealed);
        let _ = decode_document(&sealed, 4);
        let _ = decode_history(&sealed);
    }
}

#[test]
fn a_document_of_an_earlier_version_is_read() {
    let mut bytes = vec![9; 16];
    bytes.push(1 | 2 | 4);
    bytes.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    bytes.extend([0.3f32, -2.0].iter().flat_map(|value| value.to_le_bytes()));
    bytes.extend([300u32, 2, 4].iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend(0.1f32.to_le_bytes());
    bytes.extend(299u32.to_le_bytes());
    bytes.extend(0.7f32.to_le_bytes());
    let document = decode_document(&seal(bytes), 2).unwrap().complete(|| None);
    assert_eq!((document.content, document.review), ([9; 16], Review::Complete));
    assert_eq!(document.rejected.ids(), [LabelId(7)]);
    let Encoded { embedding, scores } = document.encoded.unwrap();
    assert_eq!(embedding.values(), [0.3, -2.0]);
    let scores = scores.unwrap();
    assert_eq!(scores.values().len(), 300);
    assert_eq!((scores.values()[4], scores.values()[299]), (0.1, 0.7));
}

#[test]
fn a_document_of_128_dimensions_and_50_scores_takes_350_bytes() {
    let values: Vec<f32> = (0..128).map(|value| (value as f32).sin()).collect();
    let scores = (0..340).map(|label| if label % 7 == 0 { 0.25 } else { 0.0 });
    let encoded = Encoded {
        embedding: Embedding::new(values).unwrap(),
        scores: Some(Scores::new(scores.collect::<Vec<f32>>()).unwrap()),
    };
    let document = DocumentRecord {
        content: [1; 16],
        review: Review::None,
        rejected: LabelSet::default(),
        encoded: Some(encoded),
    };
    assert!(encode_document(&document, document.embedding()).len() <= 350);
}

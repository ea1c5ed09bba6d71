//! Texts at which an encoder does what it must not do: they fail alone.

use std::iter;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use autotag::{
    EncodeError, EncodedBatch, Encoder, Fingerprint, LabelVocabulary, SearchMode, Tagger,
};
use ndarray::Array2;
use tantivy_autotag::{Error, Health, OnFailure, TaggingWriter, WriterOptions};

use crate::support::{DIMENSIONS, Fixture, LABELS};

/// The poisons: a text that has one of these words makes the encoder do this.
const KINDS: [&str; 8] = [
    "tokenize-panics",
    "count-panics",
    "encode-panics",
    "row-missing",
    "row-more",
    "row-long",
    "row-nan",
    "scores-missing",
];

/// An encoder that is sensitive to poison. Each text's embedding is made of its length.
struct Sensitive {
    labels: LabelVocabulary,
    n_calls: AtomicUsize,
}

impl Encoder for Sensitive {
    type Tokens = String;

    fn labels(&self) -> &LabelVocabulary {
        &self.labels
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint([7; 32])
    }

    fn tokenize(&self, text: &str) -> Result<String, EncodeError> {
        assert!(!text.contains("tokenize-panics"), "poisoned at tokenizing");
        Ok(text.to_owned())
    }

    fn token_count(text: &String) -> usize {
        assert!(!text.contains("count-panics"), "poisoned at counting");
        text.len()
    }

    fn encode(&self, batch: &[String]) -> EncodedBatch {
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        let n_with = |poison: &str| batch.iter().filter(|text| text.contains(poison)).count();
        assert_eq!(n_with("encode-panics"), 0, "poisoned at encoding");
        let rows = batch.len() + n_with("row-more") - n_with("row-missing");
        let dimensions = DIMENSIONS + n_with("row-long");
        let mut embeddings = Array2::from_elem((rows, dimensions), 1.0);
        for (mut row, text) in embeddings.rows_mut().into_iter().zip(batch) {
            row[0] = if text.contains("row-nan") { f32::NAN } else { text.len() as f32 };
        }
        let has_scores = n_with("scores-missing") == 0;
        let scores = has_scores.then(|| Array2::from_elem((rows, self.labels.len()), 0.9));
        EncodedBatch::new(embeddings, scores)
    }
}

/// A writer with one thread, whose chunks have up to 256 texts.
fn open(fixture: &Fixture, on_failure: OnFailure) -> (TaggingWriter<Sensitive>, Arc<Sensitive>) {
    let labels = LabelVocabulary::new(LABELS).unwrap();
    let encoder = Arc::new(Sensitive { labels, n_calls: AtomicUsize::new(0) });
    let mut tagger = Tagger::new(encoder.clone());
    tagger.search = SearchMode::Exact;
    let options = WriterOptions::new()
        .on_failure(on_failure)
        .threads(1.try_into().ok())
        .linger(std::time::Duration::from_secs(3600));
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let writer =
        TaggingWriter::open(index, datastore, tagger, fixture.fields.clone(), options).unwrap();
    (writer, encoder)
}

fn keys(numbers: Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{number:03}")).collect()
}

#[test]
fn each_poison_fails_alone_and_is_named() {
    for kind in KINDS {
        let fixture = Fixture::new();
        let (writer, encoder) = open(&fixture, OnFailure::Skip);
        for key in keys(0..100) {
            let text = if key == "041" { kind } else { "harmless" };
            writer.add(fixture.document(&key, text)).unwrap();
        }
        let summary = writer.commit().unwrap();
        assert_eq!((summary.tagged, summary.failed), (99, 1), "{kind}");
        let failure = &summary.failures[0];
        assert_eq!(failure.key, "041", "{kind}");
        match &failure.cause {
            EncodeError::Panicked { message } => {
                assert!(kind.contains("panics") && message.contains("poisoned at"), "{message}");
            }
            EncodeError::Answer(_) => assert!(!kind.contains("panics"), "{kind}"),
            cause => panic!("{kind}: {cause}"),
        }
        assert_eq!(fixture.keys().len(), 99, "{kind}");
        assert!(!fixture.keys().contains(&"041".to_owned()), "{kind}");
        assert_eq!(writer.health(), Health::Running, "{kind}");
        // Four batches, one of which is halved five times at most.
        let n_calls = encoder.n_calls.load(Ordering::SeqCst);
        assert!(n_calls <= 4 + 2 * 5, "{kind}: {n_calls} calls");
    }
}

#[test]
fn poisons_that_hide_each_other_are_all_found() {
    let fixture = Fixture::new();
    let (writer, _) = open(&fixture, OnFailure::Skip);
    let mut expected = Vec::new();
    // Not a row too many beside one too few: that batch has the right shape.
    let kinds = KINDS.into_iter().filter(|kind| *kind != "row-more");
    for (key, kind) in keys(0..7).into_iter().zip(kinds) {
        writer.add(fixture.document(&key, kind)).unwrap();
        writer.add(fixture.document(&format!("{key} harmless"), "harmless")).unwrap();
        expected.push(key);
    }
    let summary = writer.commit().unwrap();
    let mut failed: Vec<String> = summary.failures.iter().map(|f| f.key.clone()).collect();
    failed.sort();
    assert_eq!(failed, expected);
    assert_eq!(summary.tagged, 7);
}

#[test]
fn the_policy_applies_to_poison() {
    let fixture = Fixture::new();
    let (writer, _) = open(&fixture, OnFailure::Fail);
    writer.add(fixture.document("a", "encode-panics")).unwrap();
    let error = writer.commit().unwrap_err();
    assert!(matches!(&error, Error::Document { key, .. } if key == "a"), "{error}");
    writer.add(fixture.document("b", "harmless")).unwrap();
    assert_eq!(writer.commit().unwrap().tagged, 1);
    drop(writer);

    let (writer, _) = open(&fixture, OnFailure::IndexUntagged);
    writer.add(fixture.document("c", "encode-panics")).unwrap();
    writer.add_labeled(fixture.document("d", "row-missing"), ["cat"]).unwrap();
    assert_eq!(writer.commit().unwrap().failed, 2);
    assert_eq!(fixture.keys(), ["b", "c", "d"]);
    assert_eq!(fixture.tags("d"), ["/cat"]);
    assert!(fixture.neighbor_keys().is_empty());
}

#[test]
fn an_encoder_that_fails_on_every_text_stops_the_writer_with_the_reason() {
    for kind in KINDS {
        let fixture = Fixture::new();
        let (writer, encoder) = open(&fixture, OnFailure::Skip);
        writer.add(fixture.document("good", "harmless")).unwrap();
        writer.commit().unwrap();
        encoder.n_calls.store(0, Ordering::SeqCst);
        for key in keys(0..300) {
            if writer.add(fixture.document(&key, kind)).is_err() {
                break;
            }
        }
        let error = writer.commit().unwrap_err();
        let Error::Stopped { cause } = &error else { panic!("{kind}: {error}") };
        assert!(matches!(**cause, Error::EncoderFailed { n_texts: 128, .. }), "{kind}: {cause}");
        let Health::Stopped { reason } = writer.health() else { panic!("{kind}") };
        let expected = if kind.contains("panics") { "poisoned at" } else { "answer" };
        assert!(reason.contains(expected), "{kind}: {reason}");
        assert_eq!(writer.stats().health, writer.health());
        // Two calls for each text of one chunk.
        assert!(encoder.n_calls.load(Ordering::SeqCst) <= 2 * 256, "{kind}");
        drop(writer);
        assert_eq!(fixture.keys(), ["good"], "{kind}");
    }
}

#[test]
fn many_poisons_among_good_texts_and_many_empty_texts_stop_nothing() {
    let fixture = Fixture::new();
    let (writer, _) = open(&fixture, OnFailure::Skip);
    let texts = iter::repeat_n("encode-panics", 100).chain(["harmless"]);
    for (key, text) in keys(0..505).iter().zip(texts.cycle()) {
        writer.add(fixture.document(key, text)).unwrap();
    }
    let summary = writer.commit().unwrap();
    assert_eq!((summary.tagged, summary.failed), (5, 500));
    drop(writer);

    let words = crate::support::Words::new(&LABELS);
    let options = WriterOptions::new().on_failure(OnFailure::Skip);
    let writer = fixture.open(words, options).unwrap();
    for key in keys(0..300) {
        writer.add(fixture.document(&key, " ")).unwrap();
    }
    assert_eq!(writer.commit().unwrap().failed, 300);
    assert_eq!(writer.health(), Health::Running);
}

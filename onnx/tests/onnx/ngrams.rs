//! Bundles whose model reads weighted word n-grams.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use autotag::{EncodeError, Encoded, Encoder};
use autotag_onnx::bundle::InputKind;
use autotag_onnx::graph::{Dim, GraphBuilder, Reduced};
use autotag_onnx::proto::ElementType;
use autotag_onnx::{
    BundleDraft, Lexicon, ModelBundle, NgramVocabulary, OnnxEncoder, OnnxError, Result,
};
use tempfile::TempDir;

use crate::fixture::{self, DIMENSIONS, Parts, parts};

const N_NGRAMS: usize = 5;

/// a, b, c, "a b", "b c".
fn vocabulary() -> NgramVocabulary {
    let words = ["a", "b", "c"].map(Into::into).to_vec();
    NgramVocabulary::new(words, vec![(0, 1), (1, 2)], vec![1.0, 1.5, 2.0, 2.5, 3.0]).unwrap()
}

/// Writes the sum of weighted rows and a layer of scores, with rows for `n_rows` n-grams.
fn sum_model(n_rows: usize) -> Vec<u8> {
    let mut graph = GraphBuilder::new("sum");
    let shape = [Dim::Symbol("batch"), Dim::Symbol("features")];
    let ids = graph.input("feature_ids", ElementType::Int64, &shape);
    let weights = graph.input("feature_weights", ElementType::Float, &shape);
    let values: Vec<f32> = (0..n_rows * DIMENSIONS).map(|i| (i * 7 % 11) as f32 - 4.5).collect();
    let table = graph.constant_f32("table", &[n_rows, DIMENSIONS], &values);
    let rows = graph.gather(&table, &ids, 0);
    let weights = graph.unsqueeze(&weights, &[2]);
    let rows = graph.mul(&rows, &weights);
    let embedding = graph.reduce_sum(&rows, &[1], Reduced::Dropped);
    let two_values = graph.slice(&embedding, &[0], &[2], &[1]);
    let scores = graph.sigmoid(&two_values);
    fixture::name_outputs(&mut graph, &embedding, &scores);
    graph.finish()
}

fn draft(lexicon: impl Into<Lexicon>, model: Vec<u8>) -> (TempDir, Result<BundleDraft>) {
    let root = tempfile::tempdir().unwrap();
    let Parts { mut config, labels, .. } = parts();
    config.input = InputKind::Ngrams;
    let target = root.path().join("bundle");
    let draft = BundleDraft::create(&target, config, &labels, lexicon, model);
    (root, draft)
}

fn bundle() -> (TempDir, ModelBundle) {
    let (root, draft) = draft(vocabulary(), sum_model(N_NGRAMS));
    let bundle = draft.unwrap().publish().unwrap();
    (root, bundle)
}

/// Publishes the bundle and returns where it lies.
pub(crate) fn published() -> (TempDir, PathBuf) {
    let (root, bundle) = bundle();
    (root, bundle.path().to_path_buf())
}

fn encoder() -> (TempDir, OnnxEncoder) {
    let (root, bundle) = bundle();
    let encoder = OnnxEncoder::open(&bundle, &fixture::on_cpu()).unwrap();
    (root, encoder)
}

fn encode(encoder: &OnnxEncoder, texts: &[&str]) -> Vec<Result<Encoded, EncodeError>> {
    let inputs: Vec<_> = texts.iter().map(|text| encoder.tokenize(text).unwrap()).collect();
    encoder.encode(&inputs).outcomes().collect()
}

#[test]
fn a_bundle_of_ngrams_opens_and_is_verified() {
    let (_root, bundle) = bundle();
    assert_eq!(bundle.config().input, InputKind::Ngrams);
    assert!(bundle.path().join("ngrams.json").is_file());
    assert!(!bundle.path().join("tokenizer.json").exists());
    ModelBundle::verify(bundle.path(), &fixture::on_cpu()).unwrap();
}

#[test]
fn a_text_in_a_batch_is_encoded_as_alone() {
    let (_root, encoder) = encoder();
    let texts = ["a", "a b c a b", "b and c", "c c c c"];
    for (text, batched) in texts.iter().zip(encode(&encoder, &texts)) {
        let (batched, alone) = (batched.unwrap(), encode(&encoder, &[text]).remove(0).unwrap());
        for (a, b) in batched.embedding.values().iter().zip(alone.embedding.values()) {
            assert!((a - b).abs() < 1e-5, "{text}: {a} {b}");
        }
    }
}

#[test]
fn a_text_without_a_known_ngram_has_no_answer_and_fails_alone() {
    let (_root, encoder) = encoder();
    let outcomes = encode(&encoder, &["a", "nothing known", "b"]);
    assert!(matches!(outcomes[1], Err(EncodeError::Answer(_))), "{:?}", outcomes[1]);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
}

#[test]
fn empty_texts_are_an_error() {
    let (_root, encoder) = encoder();
    for text in ["", " \n", "\u{a0}", "?!, --"] {
        assert!(matches!(encoder.tokenize(text), Err(EncodeError::EmptyText)), "{text:?}");
    }
}

#[test]
fn a_text_of_50_megabytes_costs_no_more_than_a_page() {
    let (_root, encoder) = encoder();
    for text in ["a b ".repeat(12_500_000), "é".repeat(25_000_000), "?a".repeat(25_000_000)] {
        let started = Instant::now();
        let input = encoder.tokenize(&text).unwrap();
        assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
        assert!(input.features.ids.len() <= N_NGRAMS);
        // As many words are read as the configuration says, and no more.
        let (first, _) = text.split_at(text.floor_char_boundary(1000));
        assert_eq!(encoder.tokenize(first).unwrap(), input);
    }
}

#[test]
fn the_encoder_fingerprint_covers_the_ngrams() {
    let fingerprint = |vocabulary: NgramVocabulary| {
        let (_root, draft) = draft(vocabulary, sum_model(N_NGRAMS));
        draft.unwrap().encoder_fingerprint()
    };
    let words = ["a", "b", "c"].map(Into::into).to_vec();
    let other = NgramVocabulary::new(words, vec![(0, 1), (1, 2)], vec![1.0, 1.5, 2.0, 2.5, 3.5]);
    assert_eq!(fingerprint(vocabulary()), fingerprint(vocabulary()));
    assert_ne!(fingerprint(vocabulary()), fingerprint(other.unwrap()));
}

#[test]
fn a_vocabulary_that_the_configuration_does_not_name_is_refused() {
    let tokenizer = parts().tokenizer;
    for lexicon in [Lexicon::from(&tokenizer), Lexicon::default()] {
        let error = draft(lexicon, sum_model(N_NGRAMS)).1.unwrap_err();
        assert!(matches!(error, OnnxError::LexiconKind { .. }), "{error}");
    }
}

#[test]
fn a_model_with_fewer_rows_than_ngrams_is_refused_when_loaded() {
    let (_root, draft) = draft(vocabulary(), sum_model(N_NGRAMS - 1));
    let bundle = draft.unwrap().publish().unwrap();
    let error = OnnxEncoder::open(&bundle, &fixture::on_cpu()).unwrap_err();
    assert!(matches!(&error, OnnxError::Session { action: "run", .. }), "{error}");
}

#[test]
fn a_model_that_reads_tokens_does_not_fit_ngrams() {
    let error = draft(vocabulary(), parts().model).1.unwrap_err();
    let OnnxError::ModelSignature { side, name, .. } = &error else { panic!("{error}") };
    assert_eq!((*side, name.as_str()), ("input", "feature_ids"));
}

/// Puts other bytes in the place of a bundle's n-grams, as someone would who also corrects the
/// manifest, and returns the error with which the model is refused.
fn with_ngrams(bytes: &[u8]) -> String {
    let (_root, bundle) = bundle();
    fs::write(bundle.path().join("ngrams.json"), bytes).unwrap();
    fixture::reseal(bundle.path());
    let bundle = ModelBundle::open(bundle.path()).unwrap();
    let error = OnnxEncoder::open(&bundle, &fixture::on_cpu()).unwrap_err();
    let OnnxError::Ngrams { path, source } = &error else { panic!("{error}") };
    assert!(path.ends_with("ngrams.json"));
    source.to_string()
}

#[test]
fn ngrams_that_cannot_be_are_told() {
    let check = |json: &str, expect: &str| {
        let error = with_ngrams(json.as_bytes());
        assert!(error.contains(expect), "{error}");
    };
    check("{\"words\":", "EOF");
    check(r#"{"words": ["a"]}"#, "missing field");
    check(r#"{"words": [], "pairs": [], "idf": []}"#, "no word");
    check(r#"{"words": ["a"], "pairs": [[0, 9]], "idf": [1, 1]}"#, "pair 0 names word 9 of 1");
    check(r#"{"words": ["a"], "pairs": [[0, -1]], "idf": [1, 1]}"#, "invalid value");
    check(r#"{"words": ["a"], "pairs": [], "idf": [1e300]}"#, "not a number from");
    check(r#"{"words": ["a"], "pairs": [], "idf": [1e-25]}"#, "not a number from");
    check(r#"{"words": ["a", "a"], "pairs": [], "idf": [1, 1]}"#, "stands there twice");
}

#[test]
fn damage_to_the_ngrams_is_named() {
    for damage in ["cut", "changed", "gone"] {
        let (_root, bundle) = bundle();
        let path = bundle.path().join("ngrams.json");
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "cut" => bytes.truncate(9),
            _ => bytes[20] ^= 1,
        }
        fs::write(&path, bytes).unwrap();
        if damage == "gone" {
            fs::remove_file(&path).unwrap();
        }
        let error = ModelBundle::open(bundle.path()).unwrap_err();
        assert!(error.to_string().contains("ngrams.json"), "{error}");
    }
}

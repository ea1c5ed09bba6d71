use std::time::{Duration, Instant};

use autotag::{EncodeError, Encoded, Encoder};
use autotag_onnx::graph::{Dim, GraphBuilder, Reduced};
use autotag_onnx::proto::ElementType;
use autotag_onnx::{ModelInput, OnnxEncoder};

use crate::fixture::{self, DIMENSIONS, MAX_LENGTH, Parts, parts, word_vectors};

fn tokens(encoder: &OnnxEncoder, texts: &[&str]) -> Vec<ModelInput> {
    texts.iter().map(|text| encoder.tokenize(text).unwrap()).collect()
}

fn encode(encoder: &OnnxEncoder, texts: &[&str]) -> Vec<Result<Encoded, EncodeError>> {
    encoder.encode(&tokens(encoder, texts)).outcomes().collect()
}

#[test]
fn a_text_becomes_the_mean_of_its_words() {
    let encoder = fixture::encoder(parts());
    let vectors = word_vectors(10);
    let outcomes = encode(&encoder, &["a b"]);
    let encoded = outcomes[0].as_ref().unwrap();
    for (i, value) in encoded.embedding.values().iter().enumerate() {
        let mean = (vectors[2 * DIMENSIONS + i] + vectors[3 * DIMENSIONS + i]) / 2.0;
        assert!((value - mean).abs() < 1e-6, "{value} {mean}");
    }
    assert_eq!(encoded.scores.as_ref().unwrap().values().len(), encoder.labels().len());
    assert_eq!(encoder.dimensions(), DIMENSIONS);
}

#[test]
fn a_text_in_a_batch_is_encoded_as_alone() {
    let encoder = fixture::encoder(parts());
    let texts = ["a", "a b c", "what is this b", "c c c c c c c c c c c c"];
    for (text, batched) in texts.iter().zip(encode(&encoder, &texts)) {
        let batched = batched.unwrap();
        let alone = encode(&encoder, &[text]).remove(0).unwrap();
        let values = |encoded: &Encoded| {
            let scores = encoded.scores.as_ref().unwrap().values().to_vec();
            [encoded.embedding.values().to_vec(), scores].concat()
        };
        for (a, b) in values(&batched).iter().zip(values(&alone)) {
            assert!((a - b).abs() < 1e-5, "{text}: {a} {b}");
        }
    }
}

#[test]
fn many_threads_share_the_sessions() {
    let encoder = fixture::encoder(parts());
    let expect = encode(&encoder, &["a b c"]).remove(0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(encode(&encoder, &["a b c"]).remove(0).unwrap(), expect);
                }
            });
        }
    });
}

#[test]
fn large_weights_shared_between_sessions_answer_alike() {
    // 100,000 words of 3 values are far beyond what each session keeps for itself.
    let large = fixture::encoder(Parts { model: fixture::mean_model(100_000).finish(), ..parts() });
    let small = fixture::encoder(parts());
    let encoded = |encoder| encode(encoder, &["a b"]).remove(0).unwrap();
    assert_eq!(encoded(&large), encoded(&small));
}

#[test]
fn large_tables_in_half_precision_are_shared_too() {
    let mut graph = GraphBuilder::new("half");
    let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
    let ids = graph.input("input_ids", ElementType::Int64, &shape);
    graph.input("attention_mask", ElementType::Int64, &shape);
    // 1.5 in half precision.
    let table = graph.constant_f16("table", &[50_000, DIMENSIONS], &[0x3e00; 50_000 * DIMENSIONS]);
    let halves = graph.gather(&table, &ids, 0);
    let vectors = graph.cast(&halves, ElementType::Float);
    let embedding = graph.reduce_max(&vectors, &[1], Reduced::Dropped);
    let two_values = graph.slice(&embedding, &[0], &[2], &[1]);
    let scores = graph.sigmoid(&two_values);
    fixture::name_outputs(&mut graph, &embedding, &scores);
    let encoder = fixture::encoder(Parts { model: graph.finish(), ..parts() });
    let encoded = encode(&encoder, &["a b"]).remove(0).unwrap();
    assert_eq!(encoded.embedding.values(), [1.5; DIMENSIONS]);
}

#[test]
fn a_text_whose_answer_is_no_number_fails_alone() {
    let encoder = fixture::encoder(parts());
    let outcomes = encode(&encoder, &["a", "b nan", "c"]);
    assert!(matches!(outcomes[1], Err(EncodeError::Answer(_))), "{:?}", outcomes[1]);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
}

#[test]
fn a_text_that_the_model_cannot_run_fails_alone() {
    let encoder = fixture::encoder(parts());
    let outcomes = encode(&encoder, &["a", "b beyond", "c"]);
    assert!(matches!(outcomes[1], Err(EncodeError::Run(_))), "{:?}", outcomes[1]);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(encoder.encode(&[]).is_empty());
}

#[test]
fn scores_out_of_range_are_an_error() {
    let mut graph = GraphBuilder::new("logits");
    let (embedding, scores) = fixture::mean_layers(&mut graph, 10);
    let two = graph.scalar(2.0);
    let scores = graph.add(&scores, &two);
    fixture::name_outputs(&mut graph, &embedding, &scores);
    let encoder = fixture::encoder(Parts { model: graph.finish(), ..parts() });
    let outcome = encode(&encoder, &["a"]).remove(0);
    assert!(matches!(outcome, Err(EncodeError::Answer(_))), "{outcome:?}");
}

#[test]
fn a_model_without_labels_has_no_scores() {
    let mut parts = parts();
    parts.config.n_labels = 0;
    parts.labels = autotag::LabelVocabulary::default();
    let encoder = fixture::encoder(parts);
    assert_eq!(encode(&encoder, &["a"]).remove(0).unwrap().scores, None);
}

#[test]
fn empty_texts_are_an_error() {
    let encoder = fixture::encoder(parts());
    for text in ["", " ", "\n\t\u{a0} "] {
        assert!(matches!(encoder.tokenize(text), Err(EncodeError::EmptyText)), "{text:?}");
    }
}

#[test]
fn strange_characters_do_no_harm() {
    let encoder = fixture::encoder(parts());
    let broken = String::from_utf8_lossy(b"a \xff\xfe b");
    for text in ["a\0b", "\0", "\u{1}\u{7f} a", &broken, "\u{feff}a", "🦀 \u{202e}", "[PAD]"] {
        for outcome in encode(&encoder, &[text]) {
            outcome.unwrap();
        }
    }
}

#[test]
fn a_text_of_50_megabytes_costs_no_more_than_a_page() {
    let encoder = fixture::encoder(parts());
    for text in ["a b ".repeat(12_500_000), "é".repeat(25_000_000)] {
        let started = Instant::now();
        let tokens = encoder.tokenize(&text).unwrap();
        assert!(started.elapsed() < Duration::from_millis(20), "{:?}", started.elapsed());
        assert!(OnnxEncoder::token_count(&tokens) <= MAX_LENGTH);
        encoder.encode(&[tokens]).row(0).unwrap();
    }
}

#[test]
fn the_tokenizers_own_padding_and_truncation_are_replaced() {
    let mut parts = parts();
    let padding = tokenizers::PaddingParams {
        strategy: tokenizers::PaddingStrategy::Fixed(128),
        ..Default::default()
    };
    let truncation = tokenizers::TruncationParams { max_length: 2, ..Default::default() };
    parts.tokenizer.with_padding(Some(padding)).with_truncation(Some(truncation)).unwrap();
    let encoder = fixture::encoder(parts);
    for (text, n_tokens) in [("a b c", 3), ("a a a a a a a a a a", MAX_LENGTH)] {
        assert_eq!(OnnxEncoder::token_count(&encoder.tokenize(text).unwrap()), n_tokens);
    }
}

#[test]
fn special_tokens_are_kept_when_a_text_is_cut() {
    let mut parts = parts();
    parts.config.special_tokens = true;
    let post_processor =
        tokenizers::processors::bert::BertProcessing::new(("c".to_owned(), 4), ("b".to_owned(), 3));
    parts.tokenizer.with_post_processor(Some(post_processor));
    let encoder = fixture::encoder(parts);
    let tokens = encoder.tokenize("a a a a a a a a a a").unwrap();
    assert_eq!(tokens.ids(), [3, 2, 2, 2, 2, 2, 2, 4]);
    assert!(matches!(encoder.tokenize(""), Err(EncodeError::EmptyText)));
}

//! A tiny model: the mean of its words' vectors, and one layer of scores.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use autotag::{Interpolation, LabelVocabulary, Selection};
use autotag_onnx::bundle::{FORMAT_VERSION, InputKind};
use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;
use autotag_onnx::{
    BundleConfig, BundleDraft, Device, ModelBundle, OnnxEncoder, OnnxOptions, Result,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokenizers::Tokenizer;

pub(crate) const DIMENSIONS: usize = 3;
pub(crate) const LABELS: [&str; 2] = ["role::program", "role::library"];
pub(crate) const MAX_LENGTH: usize = 8;

const BATCH: Dim<'_> = Dim::Symbol("batch");
const LENGTH: Dim<'_> = Dim::Symbol("length");

/// The parts of a bundle.
pub(crate) struct Parts {
    pub(crate) config: BundleConfig,
    pub(crate) labels: LabelVocabulary,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) model: Vec<u8>,
}

/// Returns the parts of a bundle in which nothing is wrong.
pub(crate) fn parts() -> Parts {
    Parts {
        config: BundleConfig {
            format_version: FORMAT_VERSION,
            architecture: "mean".to_owned(),
            input: InputKind::TokenIds,
            special_tokens: false,
            prefix: String::new(),
            max_length: NonZeroUsize::new(MAX_LENGTH).unwrap(),
            dimensions: NonZeroUsize::new(DIMENSIONS).unwrap(),
            n_labels: LABELS.len(),
            normalized: false,
            interpolation: Interpolation::default(),
            mix: None,
            selection: Selection::default(),
            training: serde_json::json!({"dev": {"micro_f1": 0.5}}),
        },
        labels: LabelVocabulary::new(LABELS).unwrap(),
        tokenizer: tokenizer(),
        model: mean_model(1000).finish(),
    }
}

/// Returns a tokenizer of whole words.
///
/// The word "nan" has a vector of NaN, and the word "beyond" an id for which there is no vector.
fn tokenizer() -> Tokenizer {
    let json = r#"{
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab":
            {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "c": 4, "nan": 5, "beyond": 1000000}}
    }"#;
    Tokenizer::from_bytes(json).unwrap()
}

/// Builds the model's graph with vectors for `n_words` words.
pub(crate) fn mean_model(n_words: usize) -> GraphBuilder {
    let mut graph = GraphBuilder::new("mean");
    let (embedding, scores) = mean_layers(&mut graph, n_words);
    name_outputs(&mut graph, &embedding, &scores);
    graph
}

/// Adds inputs and layers and returns the embedding and the scores.
pub(crate) fn mean_layers(graph: &mut GraphBuilder, n_words: usize) -> (Value, Value) {
    let ids = graph.input("input_ids", ElementType::Int64, &[BATCH, LENGTH]);
    let mask = graph.input("attention_mask", ElementType::Int64, &[BATCH, LENGTH]);
    let table = graph.constant_f32("table", &[n_words, DIMENSIONS], &word_vectors(n_words));
    let vectors = graph.gather(&table, &ids, 0);
    let mask = graph.cast(&mask, ElementType::Float);
    let mask = graph.unsqueeze(&mask, &[2]);
    let vectors = graph.mul(&vectors, &mask);
    let sum = graph.reduce_sum(&vectors, &[1], Reduced::Dropped);
    let n_tokens = graph.reduce_sum(&mask, &[1], Reduced::Dropped);
    let embedding = graph.div(&sum, &n_tokens);
    let weights = graph.constant_f32("weights", &[3, 2], &[1.0, -1.0, 0.5, 0.5, -1.0, 1.0]);
    let bias = graph.constant_f32("bias", &[2], &[0.1, -0.1]);
    let logits = graph.gemm(&embedding, &weights, &bias);
    let scores = graph.sigmoid(&logits);
    (embedding, scores)
}

pub(crate) fn name_outputs(graph: &mut GraphBuilder, embedding: &Value, scores: &Value) {
    graph.output("embedding", embedding, ElementType::Float, &[BATCH, Dim::Fixed(DIMENSIONS)]);
    graph.output("scores", scores, ElementType::Float, &[BATCH, Dim::Fixed(LABELS.len())]);
}

/// Returns one vector for each word; word 5 has none that is a number.
pub(crate) fn word_vectors(n_words: usize) -> Vec<f32> {
    let value = |word: usize, i: usize| ((word * 7 + i * 3) % 11) as f32 - 4.5;
    let vector =
        |word| (0..DIMENSIONS).map(move |i| if word == 5 { f32::NAN } else { value(word, i) });
    (0..n_words).flat_map(vector).collect()
}

/// Begins a bundle in a folder of its own.
pub(crate) fn draft(parts: Parts) -> (TempDir, Result<BundleDraft>) {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("bundle");
    let Parts { config, labels, tokenizer, model } = parts;
    let draft = BundleDraft::create(&target, config, &labels, &tokenizer, model);
    (root, draft)
}

/// Publishes a bundle in a folder of its own.
pub(crate) fn bundle(parts: Parts) -> (TempDir, PathBuf) {
    let (root, draft) = draft(parts);
    let bundle = draft.unwrap().publish().unwrap();
    (root, bundle.path().to_path_buf())
}

/// Lists a bundle's files anew in its manifest, as somebody would who changed them on purpose.
pub(crate) fn reseal(bundle: &Path) {
    let path = bundle.join("manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (name, entry) in manifest["files"].as_object_mut().unwrap() {
        let bytes = fs::read(bundle.join(name)).unwrap();
        let digest = hex::encode(Sha256::digest(&bytes));
        *entry = serde_json::json!({"bytes": bytes.len(), "sha256": digest});
    }
    fs::write(path, manifest.to_string()).unwrap();
}

/// Returns options for two sessions on the CPU.
pub(crate) fn on_cpu() -> OnnxOptions {
    let mut options = OnnxOptions::default();
    options.device = Device::Cpu;
    options.sessions = NonZeroUsize::new(2).unwrap();
    options
}

/// Loads the model of a bundle made of the parts.
pub(crate) fn encoder(parts: Parts) -> OnnxEncoder {
    let (_root, path) = bundle(parts);
    OnnxEncoder::open(&ModelBundle::open(&path).unwrap(), &on_cpu()).unwrap()
}

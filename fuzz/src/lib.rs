//! Readers of files, given any bytes: they answer or refuse, and never panic.
//!
//! Each function is a target for cargo-fuzz; `fuzz/corpus/TARGET` holds inputs worth keeping, which
//! the crate's test replays. `CONTRIBUTING.md` says how to look for more.

use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use autotag::LabelVocabulary;
use autotag_documents::{Documents, InputFormat, ReadOptions};
use autotag_onnx::bundle::InputKind;
use autotag_onnx::{BundleConfig, BundleDraft, Lexicon, ModelBundle, TextReader};
use autotag_train::bert::{BertConfig, BertFolder, BertWeights};
use autotag_train::{Dataset, LabeledText, Pretrained, WordVectors};

/// A target, a function of any bytes.
pub type Target = fn(&[u8]);

/// All targets with the names of their corpora.
pub const TARGETS: [(&str, Target); 9] = [
    ("bundle_config", bundle_config),
    ("bundle_lexicon", bundle_lexicon),
    ("bundle_manifest", bundle_manifest),
    ("bundle_model", bundle_model),
    ("datastore_codec", datastore_codec),
    ("json_lines", json_lines),
    ("csv_rows", csv_rows),
    ("encoder_files", encoder_files),
    ("word_vectors", word_vectors),
];

/// Longer lines are refused, so that gzip data cannot unpack to much.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// Takes the bytes for a bundle's `config.json`: what can be read is written so that it reads the
/// same.
pub fn bundle_config(bytes: &[u8]) {
    with_bundle(|folder| {
        let file = folder.join("config.json");
        fs::write(&file, bytes).expect("a temporary file can be written");
        // The manifest knows another one.
        assert!(ModelBundle::open(folder).is_err());
    });
    let Ok(config) = serde_json::from_slice::<BundleConfig>(bytes) else { return };
    let written = serde_json::to_vec(&config).expect("what was read can be written");
    let again: BundleConfig = serde_json::from_slice(&written).expect("what was written reads");
    assert_eq!(again, config);
}

/// Takes the bytes for the manifest of a bundle with no other file than a configuration.
pub fn bundle_manifest(bytes: &[u8]) {
    with_bundle(|folder| {
        let file = folder.join("manifest.json");
        fs::write(&file, bytes).expect("a temporary file can be written");
        // The model is missing, whatever the manifest lists.
        assert!(ModelBundle::open(folder).is_err());
    });
}

/// Takes the bytes for a bundle's tokenizer and for its n-grams, and reads texts with what is accepted.
pub fn bundle_lexicon(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (file, input) in
        [("tokenizer.json", InputKind::TokenIds), ("ngrams.json", InputKind::Ngrams)]
    {
        fs::write(folder.path().join(file), bytes).expect("a temporary file can be written");
        let config = BundleConfig { input, ..config() };
        let Ok(reader) = TextReader::open(folder.path(), &config) else { continue };
        for text in ["oven", "the sea, 12 m", "語\u{300}\u{0}\t🦀", &"a".repeat(5000)] {
            let Ok(read) = reader.read(text) else { continue };
            assert!(read.ids.len() <= config.max_length.get());
            assert!(read.features.weights.iter().all(|weight| weight.is_finite()));
        }
    }
}

/// Takes the bytes for a bundle's model.
pub fn bundle_model(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let config = config();
    let labels = LabelVocabulary::new((0..config.n_labels).map(|label| label.to_string()))
        .expect("the names differ");
    let lexicon =
        Lexicon { tokenizer: Some(TOKENIZER.parse().expect("it is a tokenizer")), ngrams: None };
    let target = folder.path().join("bundle");
    let model = bytes.to_vec();
    let Ok(draft) = BundleDraft::create(&target, config, &labels, lexicon, model) else {
        return;
    };
    let bundle = draft.publish().expect("what was checked can be published");
    ModelBundle::open(bundle.path()).expect("what was published opens");
}

/// Takes the bytes for each kind of value in a datastore.
pub fn datastore_codec(bytes: &[u8]) {
    autotag::datastore::decode_any(bytes);
}

/// Takes the bytes for a file of JSON lines, plain or gzip.
pub fn json_lines(bytes: &[u8]) {
    documents(bytes, InputFormat::Jsonl);
}

/// Takes the bytes for a CSV file, plain or gzip.
pub fn csv_rows(bytes: &[u8]) {
    documents(bytes, InputFormat::Csv);
}

/// Takes the bytes for the configuration and for the parameters of a pretrained encoder.
pub fn encoder_files(bytes: &[u8]) {
    let config: BertConfig = serde_json::from_str(ENCODER).expect("it has every field");
    let weights = BertWeights::random(&config, 1);
    let tokenizer = TOKENIZER.parse().expect("it is a tokenizer");
    let encoder = BertFolder { tokenizer, config, weights, pooling: None };
    for file in ["config.json", "model.safetensors"] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        encoder.write(folder.path()).expect("a temporary folder can be written");
        fs::write(folder.path().join(file), bytes).expect("a temporary file can be written");
        if let Ok(read) = BertFolder::read(folder.path()) {
            assert!(read.weights.get("embeddings.word_embeddings.weight").nrows() >= 3);
        }
        if let Ok(Pretrained { token_table, .. }) = Pretrained::read(folder.path()) {
            assert!(token_table.iter().all(|value| value.is_finite()));
        }
    }
}

/// Takes the bytes for word vectors, as text and as an array.
pub fn word_vectors(bytes: &[u8]) {
    let text = LabeledText { key: "1".into(), text: "oven sea".into(), labels: vec!["a".into()] };
    let train = Dataset::new(vec![text]).expect("it is a data set");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (path, words) = (folder.path().join("vectors"), folder.path().join("words"));
    fs::write(&path, bytes).expect("a temporary file can be written");
    fs::write(&words, "sea\noven\n").expect("a temporary file can be written");
    for vectors in [WordVectors::Text(path.clone()), WordVectors::Npy { array: path, words }] {
        let Ok((Pretrained { token_table, .. }, coverage)) = vectors.start(&train, 100, 1) else {
            continue;
        };
        assert!(token_table.iter().all(|value| value.is_finite()));
        assert!((1..=2).contains(&coverage.n_known), "{coverage:?}");
    }
}

fn documents(bytes: &[u8], format: InputFormat) {
    let options = ReadOptions {
        format: Some(format),
        max_line_bytes: MAX_LINE_BYTES,
        ..ReadOptions::default()
    };
    let Ok(documents) = Documents::from_reader("input", Cursor::new(bytes.to_vec()), &options)
    else {
        return;
    };
    let (mut line, mut n_documents) = (0, 0u64);
    for outcome in documents {
        n_documents += 1;
        // Every document and every error takes at least one byte, unless it is unpacked.
        assert!(n_documents <= bytes.len() as u64 + 1 || bytes.starts_with(&[0x1f, 0x8b]));
        match outcome {
            Ok(document) => {
                assert!(document.line > line && !document.key.is_empty(), "{document:?}");
                assert!(document.last_line >= document.line, "{document:?}");
                line = document.last_line;
                let labels: HashSet<&String> = document.labels.iter().collect();
                assert_eq!(labels.len(), document.labels.len(), "{document:?}");
            }
            Err(error) => {
                assert!(error.to_string().starts_with("input"), "{error}");
                // Whoever begins with the line that an error names begins with its row or behind.
                let last_line = error.last_line.unwrap_or(u64::MAX);
                assert!(
                    error.line.is_none_or(|named| named > line && named <= last_line),
                    "{error}"
                );
            }
        }
    }
}

fn config() -> BundleConfig {
    serde_json::from_slice(CONFIG).expect("it has every field")
}

/// Hands a folder with a bundle's configuration to a function.
fn with_bundle(look: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("config.json"), CONFIG).expect("a temporary file can be written");
    look(folder.path());
}

/// A small encoder's shape, and its tokenizer.
const ENCODER: &str = r#"{
    "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4,
    "vocab_size": 3, "max_position_embeddings": 4, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "hidden_act": "gelu"
}"#;
const TOKENIZER: &str = r#"{
    "version": "1.0", "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "oven": 1, "sea": 2}, "unk_token": "[UNK]"}
}"#;

/// A configuration as the program writes it.
const CONFIG: &[u8] = include_bytes!("../corpus/bundle_config/written.json");

//! A pretrained encoder as it is goes through every command, and gets better with labels.

use std::fs;
use std::path::Path;

use autotag_train::bert::{Architecture, BertConfig, BertFolder, BertWeights, Pooling};
use serde_json::{Map, Value, json};

use crate::support::{Folder, autotag, autotag_with, documents, lines, unlabeled};

/// The positions of the tiny encoder: some texts are longer.
const POSITIONS: usize = 16;

/// Writes a small random encoder that knows the words of the documents, and returns its folder.
pub(crate) fn write_encoder(folder: &Folder, name: &str) -> String {
    let mut words: Vec<String> = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"].map(str::to_owned).into();
    for document in documents(300, 1) {
        words.extend(document["text"].as_str().unwrap().split(' ').map(str::to_owned));
    }
    words[4..].sort_unstable();
    words.dedup();
    let config = BertConfig {
        model_type: Architecture::Bert,
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        intermediate_size: 48,
        vocab_size: words.len(),
        max_position_embeddings: POSITIONS,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    };
    // The words matter more than their places, so that texts of like words lie near each other.
    let mut tensors = BertWeights::random(&config, 1).into_tensors();
    let table = tensors.get_mut("embeddings.word_embeddings.weight").unwrap();
    table.map_inplace(|value| *value *= 6.0);
    let weights = BertWeights::new(&config, tensors);
    let tokenizer = tokenizer(&words).to_string().parse().unwrap();
    let encoder = BertFolder { tokenizer, config, weights, pooling: Some(Pooling::Mean) };
    encoder.write(Path::new(&folder.path(name))).unwrap();
    folder.path(name)
}

/// A tokenizer of whole words that pads to a fixed length, as those of sentence encoders do.
fn tokenizer(words: &[String]) -> Value {
    let ids: Map<String, Value> = words.iter().cloned().zip((0..).map(Value::from)).collect();
    let part = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let known = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    json!({
        "version": "1.0",
        "added_tokens": [],
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, part("[SEP]")],
            "pair": [],
            "special_tokens": {"[CLS]": known("[CLS]", 1), "[SEP]": known("[SEP]", 2)},
        },
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    })
}

#[test]
fn every_command_works_with_an_encoder_that_scores_no_label() {
    let folder = Folder::new();
    let encoder = write_encoder(&folder, "encoder");
    let train = folder.write("train.jsonl", lines(&documents(300, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(60, 2)));
    let test = folder.write("test.jsonl", lines(&documents(80, 3)));
    let bundle = folder.path("bundle");
    let line = format!(
        "bundle from-encoder --encoder {encoder} --data {train} --dev {dev} --out {bundle} \
         --format json"
    );
    let run = autotag(&line);
    let n_warnings = run.stderr.matches("what comes after them is not read").count();
    assert_eq!(n_warnings, 2, "once for each file: {}", run.stderr);
    assert_eq!(run.stderr.matches("has fewer positions").count(), 1, "{}", run.stderr);
    let report = run.json();
    assert!(report["dev_micro_f1"].as_f64().unwrap() > 0.7, "{report}");
    assert_eq!((&report["n_neighbors"], &report["dimensions"]), (&json!(300), &json!(32)));
    let shown = autotag(&format!("bundle show {bundle} --format json")).json();
    assert_eq!(shown["fingerprint"], report["fingerprint"]);
    let config = &shown["config"];
    assert_eq!((&config["architecture"], &config["n_labels"]), (&json!("encoder"), &json!(0)));
    assert_eq!(config["max_length"], json!(POSITIONS));
    assert_eq!(config["interpolation"]["proportion"], json!(1.0));
    let shown = autotag(&format!("bundle show {bundle}")).ok();
    assert!(shown.contains("and no more") && shown.contains("300 labeled"), "{shown}");
    autotag(&format!("bundle verify {bundle}")).ok();

    let line = format!("eval --bundle {bundle} --data {test} --tune {dev} --format json");
    let rows = autotag(&line).json()["rows"].clone();
    for row in rows.as_array().unwrap() {
        assert_ne!(row["method"], "model", "no model scores anything: {row}");
        assert!(row["micro_f1"].as_f64().unwrap() > 0.5, "{row}");
    }

    let tuned = folder.path("tuned");
    autotag(&format!("tune --bundle {bundle} --data {dev} --objective macro --out {tuned}")).ok();
    let index = folder.path("index");
    let data = folder.write("data.jsonl", lines(&unlabeled(&documents(50, 4))));
    let line = format!("index --bundle {tuned} --index {index} --data {test} {data} --format json");
    let report = autotag(&line).json();
    assert_eq!((&report["labeled"], &report["tagged"]), (&json!(80), &json!(50)));
    let input = lines(&unlabeled(&documents(20, 5)));
    let tagged = autotag_with(&format!("tag --index {index}"), &input).json_lines();
    assert_eq!(tagged.len(), 20);
    assert!(tagged.iter().filter(|line| line["tags"] != json!([])).count() > 15);
    autotag(&format!("retag --index {index}")).ok();
    autotag(&format!("verify --index {index}")).ok();
}

#[test]
fn an_encoder_without_any_neighbor_tags_as_soon_as_there_are_labels() {
    let folder = Folder::new();
    let encoder = write_encoder(&folder, "encoder");
    let bundle = folder.path("bundle");
    let out = autotag(&format!("bundle from-encoder --encoder {encoder} --out {bundle}")).ok();
    assert!(out.contains("no label scored, 0 neighbors") && out.contains("untuned"), "{out}");
    assert!(!Path::new(&folder.path("autotag-cache")).exists(), "nothing was encoded");
    let input = lines(&unlabeled(&documents(5, 5)));
    let tagged = autotag_with(&format!("tag --bundle {bundle}"), &input).json_lines();
    assert!(tagged.iter().all(|line| line["tags"] == json!([])), "{tagged:?}");

    let index = folder.path("index");
    let labeled = folder.write("labeled.jsonl", lines(&documents(200, 1)));
    let data = folder.write("data.jsonl", lines(&unlabeled(&documents(40, 2))));
    let line =
        format!("index --bundle {bundle} --index {index} --data {labeled} {data} --format json");
    let report = autotag(&line).json();
    assert_eq!((&report["labeled"], &report["tagged"]), (&json!(200), &json!(40)));
    let expected = documents(40, 2);
    let tagged = autotag_with(&format!("tag --index {index}"), &input).json_lines();
    assert!(tagged.iter().filter(|line| line["tags"] != json!([])).count() >= 4, "{tagged:?}");
    // A label that comes later is given too.
    let mut later: Vec<Value> = expected[..5].to_vec();
    later.iter_mut().for_each(|document| document["labels"] = json!(["later"]));
    let later = folder.write("later.jsonl", lines(&later));
    autotag(&format!("index --bundle {bundle} --index {index} --data {later}")).ok();
    let same = lines(&unlabeled(&expected[..1]));
    let tagged = autotag_with(&format!("tag --index {index} --k 1"), &same).json_lines();
    assert!(tagged[0].to_string().contains("later"), "{tagged:?}");
    autotag(&format!("verify --index {index}")).ok();
}

#[test]
fn embeddings_are_kept_for_the_next_run_unless_that_is_unwanted() {
    let folder = Folder::new();
    let encoder = write_encoder(&folder, "encoder");
    let train = folder.write("train.jsonl", lines(&documents(60, 1)));
    let make = |out: &str, options: &str| {
        let out = folder.path(out);
        let line = "bundle from-encoder -v --format json --encoder";
        let run = autotag(&format!("{line} {encoder} --data {train} --out {out} {options}"));
        let known = run.stderr.contains("known=60");
        (run.json()["fingerprint"].clone(), known)
    };
    let (first, known) = make("first", "--no-cache");
    assert!(!known && !Path::new(&folder.path("autotag-cache")).exists());
    assert!(!make("second", "").1);
    let (third, known) = make("third", "");
    assert!(known, "the second run kept them");
    // The datastore of the bundle has its own random trees, but the model and vectors are the same.
    assert!(first.is_string() && third.is_string());
    assert!(!make("fourth", &format!("--cache {}", folder.path("other"))).1);
    assert!(make("fifth", &format!("--cache {}", folder.path("other"))).1);
    // Another length makes other embeddings.
    assert!(!make("sixth", "--max-length 7").1);
    // A damaged cache is not used.
    for entry in fs::read_dir(folder.path("autotag-cache")).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    assert!(!make("seventh", "").1);
}

#[test]
fn folders_that_are_no_encoder_are_told_apart() {
    let folder = Folder::new();
    let encoder = write_encoder(&folder, "encoder");
    let out = folder.path("out");
    let refused = |encoder: &str| {
        autotag(&format!("bundle from-encoder --encoder {encoder} --out {out}")).error()
    };
    let empty = folder.path("empty");
    fs::create_dir(&empty).unwrap();
    let error = refused(&empty);
    assert!(error.contains("config.json") && error.contains("model.safetensors"), "{error}");
    fs::remove_file(Path::new(&encoder).join("model.safetensors")).unwrap();
    let error = refused(&encoder);
    assert!(error.contains("model.safetensors cannot start the model"), "{error}");
    assert!(!Path::new(&out).exists());
    let line = format!("bundle from-encoder --encoder {encoder} --dev x --out {out}");
    assert_eq!(autotag(&line).code, 2, "nothing can be tuned without neighbors");
}

/// The options that keep training small.
const ADAPTER: &str =
    "--model adapter --batch-size 16 --hidden 24 --epochs 15 --learning-rate 0.03";

/// The same for the adapter beside the wide model and the CNN.
const WIDE_CNN_ADAPTER: &str = "--model wide-cnn-adapter --batch-size 16 --hidden 24 --lexical 16 --filters 8 --epochs 8 \
     --projection 40";

#[test]
fn every_command_works_with_an_adapter() {
    every_command_works(ADAPTER, "adapter", 24);
}

#[test]
fn every_command_works_with_an_adapter_beside_two_other_models() {
    every_command_works(WIDE_CNN_ADAPTER, "wide-cnn-adapter", 40);
}

#[cfg(feature = "burn")]
#[test]
fn every_command_works_with_an_encoder_trained_further_beside_two_other_models() {
    let options = format!(
        "--model wide-cnn-bert --device cpu --max-length {POSITIONS} --hidden 24 --lexical 16 \
         --filters 8 --encoder-learning-rate 1e-3 --learning-rate 5e-3"
    );
    every_command_works(&options, "wide-cnn-bert", 24 + 16 + 3 * 8 + 32);
}

fn every_command_works(options: &str, architecture: &str, dimensions: usize) {
    let folder = Folder::new();
    let encoder = write_encoder(&folder, "encoder");
    let train = folder.write("train.jsonl", lines(&documents(300, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(60, 2)));
    let test = folder.write("test.jsonl", lines(&documents(80, 3)));
    let bundle = folder.path("bundle");
    let line = format!(
        "train --data {train} --dev {dev} --init {encoder} --out {bundle} {options} --format json"
    );
    let report = autotag(&line).json();
    assert!(report["dev_micro_f1"].as_f64().unwrap() > 0.7, "{report}");
    assert!(report["export_difference"].as_f64().unwrap() < 1e-4, "{report}");
    let shown = autotag(&format!("bundle show {bundle} --format json")).json();
    assert_eq!(shown["fingerprint"], report["fingerprint"]);
    let config = &shown["config"];
    let shape = (&config["architecture"], &config["dimensions"]);
    assert_eq!(shape, (&json!(architecture), &json!(dimensions)));
    assert_eq!(shown["neighbors"], json!(300));
    let is_frozen = config["training"]["encoder"]["pooling"] == json!("mean");
    let shown = autotag(&format!("bundle show {bundle}")).ok();
    assert_eq!(is_frozen, shown.contains("pretrained BERT: 1 layers"), "{shown}");
    assert_eq!(is_frozen, architecture.contains("adapter"));
    assert!(shown.contains("trained"), "{shown}");
    autotag(&format!("bundle verify {bundle}")).ok();

    let line = format!("eval --bundle {bundle} --data {test} --tune {dev} --format json");
    let rows = autotag(&line).json()["rows"].clone();
    for row in rows.as_array().unwrap() {
        assert!(row["micro_f1"].as_f64().unwrap() > 0.5, "{row}");
    }
    let index = folder.path("index");
    let data = folder.write("data.jsonl", lines(&unlabeled(&documents(50, 4))));
    let line =
        format!("index --bundle {bundle} --index {index} --data {test} {data} --format json");
    let report = autotag(&line).json();
    assert_eq!((&report["labeled"], &report["tagged"]), (&json!(80), &json!(50)));
    autotag(&format!("verify --index {index}")).ok();
}

#[test]
fn a_seed_fixes_the_adapter_with_and_without_what_was_kept() {
    let folder = Folder::new();
    let encoder = write_encoder(&folder, "encoder");
    let train = folder.write("train.jsonl", lines(&documents(60, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(20, 2)));
    let make = |out: &str, options: &str| {
        let out = folder.path(out);
        let data = format!("--data {train} --dev {dev} --init {encoder} --out {out}");
        let line = format!("train -v {data} {ADAPTER} --format json {options}");
        let run = autotag(&line);
        let known = run.stderr.matches("known=").count() - run.stderr.matches("known=0").count();
        run.ok();
        let shown = autotag(&format!("bundle show {out} --format json")).json();
        (shown["encoder_fingerprint"].clone(), known)
    };
    let (first, known) = make("first", "");
    assert_eq!(known, 0);
    let (second, known) = make("second", "");
    assert_eq!((&first, known), (&second, 2), "the embeddings of both files are kept");
    assert_eq!(make("third", "--no-cache"), (first.clone(), 0));
    assert_ne!(make("fourth", "--seed 1").0, first);
    assert_ne!(make("fifth", "--pooling cls").0, first);
}

#[test]
fn an_adapter_without_an_encoder_is_wrong_usage() {
    let run = autotag("train --data d --dev d --out o --model adapter");
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("--model adapter needs --init FOLDER"), "{}", run.stderr);
}

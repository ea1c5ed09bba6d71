//! Bundles that were made to do harm: each is refused, soon, with what is wrong.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use autotag::Encoder;
use autotag_onnx::graph::GraphBuilder;
use autotag_onnx::proto::{
    AttributeProto, AttributeType, ElementType, FunctionProto, GraphProto, ModelProto, NodeProto,
};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxError, Precision, QuantizedTable, TableFormat};
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{self, Parts, parts};

/// Far less than any of these bundles takes where it is not refused.
const SOON: Duration = Duration::from_secs(20);

const FILES: [&str; 6] = [
    "config.json",
    "labels.json",
    "tokenizer.json",
    "model.onnx",
    "manifest.json",
    "datastore/data.mdb",
];

/// Opens a bundle and loads its model, and returns the error.
fn refused(path: &Path) -> OnnxError {
    let started = Instant::now();
    let bundle = ModelBundle::open(path);
    let error = bundle.and_then(|bundle| OnnxEncoder::open(&bundle, &fixture::on_cpu()));
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    error.expect_err("it is hostile")
}

/// Puts something else in the place of each file, and has the bundle refused for it.
#[cfg(unix)]
fn check_not_plain(put: impl Fn(&Path)) {
    for name in FILES {
        let (_root, path) = fixture::bundle(parts());
        let file = path.join(name);
        fs::remove_file(&file).unwrap();
        put(&file);
        let error = refused(&path);
        let (OnnxError::NotPlain { path } | OnnxError::FileMissing { path }) = &error else {
            panic!("{name}: {error}")
        };
        assert!(path.ends_with(name), "{name}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn pipes_devices_links_and_folders_are_refused_at_once() {
    use std::os::unix::fs::symlink;
    check_not_plain(|file| {
        let status = std::process::Command::new("mkfifo").arg(file).status().unwrap();
        assert!(status.success());
    });
    check_not_plain(|file| symlink("/dev/zero", file).unwrap());
    check_not_plain(|file| symlink(file, file).unwrap());
    check_not_plain(|file| fs::create_dir(file).unwrap());
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    for (name, limit) in [
        ("config.json", 16 << 20),
        ("labels.json", 64 << 20),
        ("tokenizer.json", 64 << 20),
        ("model.onnx", (2_u64 << 30) - 1),
        ("manifest.json", 1 << 20),
    ] {
        let (_root, path) = fixture::bundle(parts());
        File::options().write(true).open(path.join(name)).unwrap().set_len(limit + 1).unwrap();
        let error = refused(&path);
        let OnnxError::FileTooLong { path, limit: found, .. } = &error else { panic!("{error}") };
        assert!(path.ends_with(name) && *found == limit, "{error}");
    }
}

/// A bundle in which one file was changed and listed anew.
fn with_file(name: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) -> (TempDir, PathBuf) {
    let (root, path) = fixture::bundle(parts());
    let bytes = fs::read(path.join(name)).unwrap();
    fs::write(path.join(name), change(&bytes)).unwrap();
    fixture::reseal(&path);
    (root, path)
}

/// A bundle in which some fields of a JSON file were changed and listed anew.
fn with_json(name: &str, change: impl FnOnce(&mut Value)) -> (TempDir, PathBuf) {
    with_file(name, |bytes| {
        let mut value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    })
}

#[test]
fn sizes_that_no_model_has_are_refused() {
    for (field, value) in
        [("max_length", 1_u64 << 40), ("dimensions", 1 << 33), ("n_labels", u64::MAX)]
    {
        let (_root, path) = with_json("config.json", |config| config[field] = value.into());
        let error = refused(&path);
        assert!(
            matches!(&error, OnnxError::ConfigSize { field: found, .. } if *found == field),
            "{error}"
        );
    }
}

#[test]
fn json_that_is_deep_doubled_or_of_other_types_is_refused() {
    let deep = |_: &[u8]| "[".repeat(1 << 20).into_bytes();
    for name in ["config.json", "labels.json", "tokenizer.json"] {
        refused(&with_file(name, deep).1);
    }
    for labels in [json!(["a", "a"]), json!(["", "b"]), json!(["a\u{0}b", "b"]), json!([1, 2])] {
        let (_root, path) = with_json("labels.json", |value| *value = labels);
        refused(&path);
    }
    let (_root, path) = with_file("config.json", |bytes| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replacen('{', "{\"n_labels\": 2,", 1).into_bytes()
    });
    assert!(matches!(refused(&path), OnnxError::Json { .. }));
}

#[track_caller]
fn check_tokenizer(change: impl FnOnce(&mut Value)) {
    let (_root, path) = with_json("tokenizer.json", change);
    let error = refused(&path);
    assert!(matches!(&error, OnnxError::Tokenizer { .. }), "{error}");
}

#[test]
fn a_tokenizer_that_would_panic_or_fill_the_memory_is_refused() {
    for charsmap in ["", "AAAAAA==", "/////w==", "BAAAAAEAAAA="] {
        check_tokenizer(|tokenizer| {
            tokenizer["normalizer"] =
                json!({"type": "Precompiled", "precompiled_charsmap": charsmap});
        });
    }
    check_tokenizer(|tokenizer| {
        tokenizer["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0});
    });
    check_tokenizer(|tokenizer| {
        tokenizer["post_processor"] = json!({"type": "TemplateProcessing", "special_tokens": {},
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}], "pair": []});
    });
    let doubled = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    check_tokenizer(|tokenizer| {
        tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": vec![doubled; 40]});
    });
    check_tokenizer(|tokenizer| tokenizer["model"]["vocab"]["[UNK]"] = "one".into());
}

#[test]
fn padding_and_truncation_in_a_tokenizer_are_ignored() {
    let answer = |path: &Path| {
        let bundle = ModelBundle::open(path).unwrap();
        let encoder = OnnxEncoder::open(&bundle, &fixture::on_cpu()).unwrap();
        encoder.tokenize("a b c a").unwrap()
    };
    let (_root, path) = with_json("tokenizer.json", |tokenizer| {
        tokenizer["padding"] = json!({"strategy": {"Fixed": 1_u64 << 40}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
        tokenizer["truncation"] = json!({"direction": "Right", "max_length": 0,
            "strategy": "LongestFirst", "stride": 0});
    });
    let (_sound_root, sound) = fixture::bundle(parts());
    assert_eq!(answer(&path), answer(&sound));
}

#[test]
fn a_slow_expression_does_not_hold_up_a_text_for_ever() {
    let (_root, path) = with_json("tokenizer.json", |tokenizer| {
        tokenizer["pre_tokenizer"] = json!({"type": "Split", "behavior": "Isolated", "invert": false,
            "pattern": {"Regex": "(a|a|aa)+\\1(?=b)"}});
    });
    let started = Instant::now();
    let bundle = ModelBundle::open(&path).unwrap();
    if let Ok(encoder) = OnnxEncoder::open(&bundle, &fixture::on_cpu()) {
        let _told = encoder.tokenize(&"a".repeat(100_000));
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// The good model with changes, refused.
fn refused_model(change: impl FnOnce(&mut ModelProto)) -> OnnxError {
    let mut model = fixture::mean_model(10).into_model();
    change(&mut model);
    let model = model.encode_to_vec();
    let (_root, path) = with_file("model.onnx", |_| model.clone());
    // Neither is it published.
    fixture::draft(Parts { model, ..parts() }).1.expect_err("it is hostile");
    refused(&path)
}

#[track_caller]
fn check_operator(change: impl FnOnce(&mut ModelProto), expect: &str) {
    let error = refused_model(change);
    assert!(matches!(&error, OnnxError::Operator { name, .. } if name == expect), "{error}");
}

fn node(operator: &str) -> NodeProto {
    NodeProto {
        op_type: Some(operator.to_owned()),
        output: vec!["more".to_owned()],
        ..NodeProto::default()
    }
}

fn nodes(model: &mut ModelProto) -> &mut Vec<NodeProto> {
    &mut model.graph.as_mut().unwrap().node
}

#[test]
fn loops_branches_functions_and_other_domains_are_refused() {
    for operator in ["Loop", "If", "Scan", "SequenceMap", "RandomNormal", "ImageDecoder"] {
        check_operator(|model| nodes(model).push(node(operator)), operator);
    }
    let foreign = NodeProto { domain: Some("com.example".into()), ..node("Add") };
    check_operator(|model| nodes(model).push(foreign), "com.example.Add");
    let body = AttributeProto {
        g: Some(GraphProto::default()),
        r#type: Some(AttributeType::Graph.into()),
        ..AttributeProto::default()
    };
    check_operator(|model| nodes(model)[0].attribute.push(body), "Gather");
    let function = FunctionProto { name: Some("f".into()), ..FunctionProto::default() };
    check_operator(|model| model.functions.push(function), "f");
}

/// A good model beside lookups of its own.
fn with_lookups(change: impl FnOnce(&mut ModelProto)) -> OnnxError {
    let mut graph = GraphBuilder::new("lookups");
    let (embedding, scores) = fixture::mean_layers(&mut graph, 10);
    let ids = graph.integers(&[0, 1]);
    let ids = graph.unsqueeze(&ids, &[0]);
    let table = QuantizedTable::new(&[1.0; 20], TableFormat::new(5, 1, Precision::Int8));
    let weights = graph.constant_f32("weights", &[1, 2], &[1.0; 2]);
    let _unused = graph.embedding_bag("table", &table, &ids, &weights);
    fixture::name_outputs(&mut graph, &embedding, &scores);
    let mut model = graph.into_model();
    change(&mut model);
    let parts = Parts { model: model.encode_to_vec(), ..parts() };
    fixture::draft(parts).1.expect_err("it was changed")
}

#[test]
fn lookups_are_those_of_the_program() {
    let body = with_lookups(|model| {
        let _last = model.functions[0].node.pop();
    });
    assert!(matches!(&body, OnnxError::Operator { name, .. } if name == "EmbeddingBag"), "{body}");
    let missing = with_lookups(|model| model.functions.clear());
    assert!(
        matches!(&missing, OnnxError::Operator { name, .. } if name == "autotag.EmbeddingBag"),
        "{missing}"
    );
}

/// The good model beside a node that reads constants.
fn refused_size(operator: &str, inputs: &[&[i64]]) {
    let mut graph = GraphBuilder::new("mean");
    let (embedding, scores) = fixture::mean_layers(&mut graph, 10);
    let inputs: Vec<_> = inputs.iter().map(|values| graph.integers(values)).collect();
    let _unused = graph.node(operator, &inputs.iter().collect::<Vec<_>>()).output();
    fixture::name_outputs(&mut graph, &embedding, &scores);
    let error = fixture::draft(Parts { model: graph.finish(), ..parts() }).1.unwrap_err();
    assert!(matches!(error, OnnxError::TensorSize { .. }), "{operator}: {error}");
}

#[test]
fn constants_that_ask_for_all_memory_are_refused() {
    const HUGE: i64 = 1 << 40;
    refused_size("ConstantOfShape", &[&[1 << 15, 1 << 15]]);
    refused_size("ConstantOfShape", &[&[i64::MAX, i64::MAX, i64::MAX]]);
    refused_size("Expand", &[&[1], &[HUGE]]);
    refused_size("Tile", &[&[1], &[HUGE]]);
    refused_size("Pad", &[&[1], &[0, HUGE]]);
    refused_size("OneHot", &[&[1], &[HUGE], &[0, 1]]);
    refused_size("Range", &[&[i64::MIN], &[i64::MAX], &[1]]);
    let error = refused_model(|model| {
        model.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 20, 1 << 20];
    });
    assert!(matches!(error, OnnxError::TensorSize { .. }), "{error}");
}

#[test]
fn a_model_of_empty_nodes_is_refused_before_it_is_decoded() {
    // A graph is field 7 of a model, a node field 1 of a graph: here each has no bytes.
    let nodes = [0x0a, 0x00].repeat(3 << 20);
    let (mut bytes, mut length) = (vec![0x3a], nodes.len());
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(nodes);
    let (_root, path) = with_file("model.onnx", |_| bytes);
    let error = refused(&path);
    assert!(matches!(error, OnnxError::ModelStructure { .. }), "{error}");
}

#[test]
fn a_model_that_is_nested_deeply_is_refused() {
    let mut graph = GraphProto::default();
    for _ in 0..200 {
        let attribute = AttributeProto { g: Some(graph), ..AttributeProto::default() };
        let node = NodeProto { attribute: vec![attribute], ..node("Identity") };
        graph = GraphProto { node: vec![node], ..GraphProto::default() };
    }
    let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec();
    let (_root, path) = with_file("model.onnx", |_| bytes);
    let error = refused(&path);
    assert!(matches!(error, OnnxError::ModelDecode { .. }), "{error}");
}

#[test]
fn inputs_of_the_model_that_are_no_words_of_the_vocabulary_fail_alone() {
    // An id for which the model has no row is the text's fault, not the bundle's.
    let encoder = fixture::encoder(parts());
    let inputs: Vec<_> = ["a", "beyond"].map(|text| encoder.tokenize(text).unwrap()).to_vec();
    let encoded = encoder.encode(&inputs);
    assert!(encoded.row(0).is_ok() && encoded.row(1).is_err());
}

#[test]
fn opening_and_verifying_write_nothing() {
    let (root, path) = fixture::bundle(parts());
    let state = |folder: &Path| {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            files.push((entry.path(), metadata.len(), metadata.modified().unwrap()));
        }
        files.sort();
        files
    };
    let states = || [state(root.path()), state(&path), state(&path.join("datastore"))];
    let before = states();
    let bundle = ModelBundle::verify(&path, &fixture::on_cpu()).unwrap();
    let encoder = OnnxEncoder::open(&bundle, &fixture::on_cpu()).unwrap();
    assert!(encoder.tokenize("a").is_ok());
    assert_eq!(states(), before);
    drop(bundle);
    assert_eq!(states(), before);
}

#[test]
fn an_element_type_that_is_not_known_is_refused() {
    let error = refused_model(|model| {
        model.graph.as_mut().unwrap().input[0].r#type.as_mut().unwrap().tensor_type =
            Some(autotag_onnx::proto::TensorTypeProto {
                elem_type: Some(ElementType::String.into()),
                shape: None,
            });
    });
    assert!(matches!(error, OnnxError::ModelSignature { .. }), "{error}");
}

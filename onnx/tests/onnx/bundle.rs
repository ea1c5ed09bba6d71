//! Bundles that are damaged, or that do not keep the contract, are refused with what is wrong.

use std::fs;
use std::path::Path;

use autotag::{Interpolation, Proportion, Selection, Threshold};
use autotag_onnx::graph::{Dim, GraphBuilder};
use autotag_onnx::proto::{
    AttributeProto, AttributeType, ElementType, GraphProto, ModelProto, StringStringEntryProto,
    TensorProto,
};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxError};
use prost::Message;

use crate::fixture::{self, Parts, parts};

const FILES: [&str; 5] =
    ["config.json", "labels.json", "tokenizer.json", "model.onnx", "datastore/data.mdb"];

/// Damages a good bundle and returns the error with which it is refused.
fn refused(damage: impl FnOnce(&Path)) -> OnnxError {
    let (_root, path) = fixture::bundle(parts());
    damage(&path);
    ModelBundle::open(&path).unwrap_err()
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn a_good_bundle_opens() {
    let (_root, path) = fixture::bundle(parts());
    let bundle = ModelBundle::open(&path).unwrap();
    assert_eq!(*bundle.config(), parts().config);
    assert_eq!(*bundle.labels(), parts().labels);
    assert_ne!(bundle.fingerprint(), bundle.encoder_fingerprint());
}

#[test]
fn a_folder_without_a_bundle_is_told_from_a_damaged_bundle() {
    let empty = tempfile::tempdir().unwrap();
    for path in [empty.path().to_path_buf(), empty.path().join("nothing")] {
        let error = ModelBundle::open(&path).unwrap_err();
        assert!(matches!(error, OnnxError::NoBundle { .. }), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    for name in
        ["labels.json", "tokenizer.json", "model.onnx", "manifest.json", "datastore/data.mdb"]
    {
        let error = refused(|bundle| fs::remove_file(bundle.join(name)).unwrap());
        assert!(
            matches!(&error, OnnxError::FileMissing { path } if path.ends_with(name)),
            "{error}"
        );
    }
}

#[test]
fn a_truncated_file_is_named() {
    for name in FILES {
        let error = refused(|bundle| {
            let path = bundle.join(name);
            let length = fs::metadata(&path).unwrap().len();
            fs::File::options().write(true).open(path).unwrap().set_len(length / 2).unwrap();
        });
        assert!(
            matches!(&error, OnnxError::FileLength { path, .. } if path.ends_with(name)),
            "{error}"
        );
    }
}

#[test]
fn a_changed_file_is_named() {
    for name in FILES {
        let error = refused(|bundle| {
            let mut bytes = fs::read(bundle.join(name)).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(bundle.join(name), bytes).unwrap();
        });
        assert!(
            matches!(&error, OnnxError::FileChanged { path } if path.ends_with(name)),
            "{error}"
        );
    }
}

/// Changes one bit of a file, in place.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The stamp says only that a file is as it was: it does not vouch for another one.
#[cfg(unix)]
#[test]
fn a_stamp_vouches_for_no_other_file() {
    for name in FILES {
        let (root, path) = fixture::bundle(parts());
        assert!(path.join("stamp.json").is_file());
        let file = path.join(name);
        let (original, modified) = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap());
        damage(&file);
        // Not even the time of modification tells.
        let opened = fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(modified.modified().unwrap()).unwrap();
        drop(opened);
        let error = ModelBundle::open(&path).unwrap_err();
        assert!(matches!(&error, OnnxError::FileChanged { path } if *path == file), "{error}");
        // A bundle put together from good and bad files has the stamp of the good ones.
        let other = root.path().join("replaced");
        fs::write(&other, fs::read(&file).unwrap()).unwrap();
        fs::write(&file, original).unwrap();
        ModelBundle::open(&path).unwrap();
        fs::rename(&other, &file).unwrap();
        let error = ModelBundle::open(&path).unwrap_err();
        assert!(matches!(&error, OnnxError::FileChanged { path } if *path == file), "{error}");
    }
}

#[test]
fn a_stamp_that_is_missing_damaged_or_of_another_manifest_is_ignored() {
    for stamp in [None, Some("{"), Some("{\"manifest\": null, \"files\": {}}")] {
        let (_root, path) = fixture::bundle(parts());
        match stamp {
            Some(stamp) => fs::write(path.join("stamp.json"), stamp).unwrap(),
            None => fs::remove_file(path.join("stamp.json")).unwrap(),
        }
        ModelBundle::open(&path).unwrap();
        damage(&path.join("model.onnx"));
        let error = ModelBundle::open(&path).unwrap_err();
        assert!(matches!(error, OnnxError::FileChanged { .. }), "{error}");
    }
}

#[test]
fn verifying_stamps_a_bundle_that_has_no_stamp() {
    let (_root, path) = fixture::bundle(parts());
    fs::remove_file(path.join("stamp.json")).unwrap();
    let _opened = ModelBundle::open(&path).unwrap();
    assert!(!path.join("stamp.json").exists());
    let _verified = ModelBundle::verify(&path, &fixture::on_cpu()).unwrap();
    assert!(path.join("stamp.json").is_file());
}

#[test]
fn an_extra_file_is_named() {
    let error = refused(|bundle| {
        fs::create_dir(bundle.join("more")).unwrap();
        fs::write(bundle.join("more/file"), "").unwrap();
    });
    assert!(matches!(&error, OnnxError::FileUnlisted { path } if path.ends_with("more/file")));
}

#[cfg(unix)]
#[test]
fn a_link_is_named() {
    let error = refused(|bundle| {
        let (labels, elsewhere) = (bundle.join("labels.json"), bundle.with_extension("json"));
        fs::rename(&labels, &elsewhere).unwrap();
        std::os::unix::fs::symlink(elsewhere, labels).unwrap();
    });
    assert!(matches!(&error, OnnxError::NotPlain { path } if path.ends_with("labels.json")));
    let error = refused(|bundle| {
        fs::remove_dir_all(bundle.join("datastore")).unwrap();
        std::os::unix::fs::symlink("/", bundle.join("datastore")).unwrap();
    });
    assert!(matches!(&error, OnnxError::NotPlain { path } if path.ends_with("datastore")));
}

#[test]
fn a_manifest_that_leads_outside_is_refused() {
    let error = refused(|bundle| {
        edit(&bundle.join("manifest.json"), "\"labels.json\"", "\"../labels.json\"");
    });
    assert!(matches!(&error, OnnxError::PathOutside { name, .. } if name == "../labels.json"));
}

#[test]
fn a_manifest_that_is_cut_is_named() {
    let error = refused(|bundle| fs::write(bundle.join("manifest.json"), "{\"files\":").unwrap());
    assert!(matches!(&error, OnnxError::Json { path, .. } if path.ends_with("manifest.json")));
}

#[test]
fn a_newer_format_is_told_before_anything_else() {
    let error = refused(|bundle| {
        edit(&bundle.join("config.json"), "\"format_version\": 1", "\"format_version\": 2");
        fs::remove_file(bundle.join("manifest.json")).unwrap();
    });
    assert!(matches!(error, OnnxError::BundleVersion { found: 2, supported: 1, .. }), "{error}");
}

/// Builds a bundle around another model and returns the error with which it is refused.
fn refused_model(model: Vec<u8>) -> OnnxError {
    let (_root, draft) = fixture::draft(Parts { model, ..parts() });
    draft.unwrap_err()
}

fn check_signature(model: Vec<u8>, side: &str, name: &str) {
    let error = refused_model(model);
    let OnnxError::ModelSignature { side: found_side, name: found_name, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*found_side, found_name.as_str()), (side, name), "{error}");
}

/// The good model with changes to its graph.
fn changed(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    let mut model = fixture::mean_model(10).into_model();
    change(model.graph.as_mut().unwrap());
    model.encode_to_vec()
}

#[test]
fn a_model_with_other_inputs_or_outputs_is_refused() {
    check_signature(
        changed(|graph| graph.input[0].name = Some("ids".into())),
        "input",
        "input_ids",
    );
    check_signature(changed(|graph| graph.input.truncate(1)), "input", "attention_mask");
    check_signature(changed(|graph| graph.output.truncate(1)), "output", "scores");
    check_signature(changed(|graph| graph.output.clear()), "output", "embedding");
    let more = |graph: &mut GraphProto| {
        let mut input = graph.input[0].clone();
        input.name = Some("token_type_ids".into());
        graph.input.push(input);
    };
    check_signature(changed(more), "input", "token_type_ids");
    check_signature(ModelProto::default().encode_to_vec(), "input", "input_ids");
}

#[test]
fn a_model_with_other_types_or_dimensions_is_refused() {
    let input = |element, shape: &[Dim<'_>]| {
        let mut other = GraphBuilder::new("other");
        other.input("input_ids", element, shape);
        let input = other.into_model().graph.unwrap().input.remove(0);
        changed(|graph| graph.input[0] = input)
    };
    let batch = Dim::Symbol("batch");
    check_signature(input(ElementType::Int32, &[batch, Dim::Symbol("n")]), "input", "input_ids");
    check_signature(input(ElementType::Int64, &[batch]), "input", "input_ids");
    check_signature(input(ElementType::Int64, &[batch, Dim::Fixed(8)]), "input", "input_ids");
    check_signature(input(ElementType::Int64, &[Dim::Fixed(1), batch]), "input", "input_ids");
    for (name, wrong) in [("embedding", "dimensions"), ("scores", "n_labels")] {
        let mut parts = parts();
        let mut config = serde_json::to_value(&parts.config).unwrap();
        config[wrong] = 7.into();
        parts.config = serde_json::from_value(config).unwrap();
        parts.labels =
            autotag::LabelVocabulary::new((0..parts.config.n_labels).map(|i| i.to_string()))
                .unwrap();
        let error = fixture::draft(parts).1.unwrap_err();
        let OnnxError::ModelSignature { name: found, expected, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((found.as_str(), expected.as_str()), (name, "float32 [batch, 7]"));
    }
}

#[test]
fn a_model_whose_answer_has_another_shape_than_it_says_is_refused_when_loaded() {
    let mut graph = GraphBuilder::new("lies");
    let (embedding, _) = fixture::mean_layers(&mut graph, 10);
    let scores = graph.concat(&[&embedding, &embedding], 1);
    fixture::name_outputs(&mut graph, &embedding, &scores);
    let mut model = graph.into_model();
    for output in &mut model.graph.as_mut().unwrap().output {
        output.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape = None;
    }
    let (_root, path) = fixture::bundle(Parts { model: model.encode_to_vec(), ..parts() });
    let error =
        OnnxEncoder::open(&ModelBundle::open(&path).unwrap(), &fixture::on_cpu()).unwrap_err();
    let OnnxError::OutputShape { name, expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((*name, expected, found), ("scores", &vec![1, 2], &vec![1, 6]));
}

#[test]
fn a_model_that_onnx_runtime_refuses_is_named() {
    let model = changed(|graph| graph.node[0].input.truncate(1));
    let (_root, path) = fixture::bundle(Parts { model, ..parts() });
    let error =
        OnnxEncoder::open(&ModelBundle::open(&path).unwrap(), &fixture::on_cpu()).unwrap_err();
    assert!(
        matches!(&error, OnnxError::Session { path, .. } if path.ends_with("model.onnx")),
        "{error}"
    );
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let error = refused_model(b"no model".to_vec());
    assert!(matches!(error, OnnxError::ModelDecode { .. }), "{error}");
}

#[test]
fn a_model_that_refers_to_other_files_is_refused() {
    let external = || TensorProto {
        name: Some("outside".into()),
        data_location: Some(1),
        external_data: vec![StringStringEntryProto {
            key: Some("location".into()),
            value: Some("../../etc/passwd".into()),
        }],
        ..TensorProto::default()
    };
    let in_attribute =
        |attribute: AttributeProto| changed(|graph| graph.node[0].attribute.push(attribute));
    let subgraph = GraphProto { initializer: vec![external()], ..GraphProto::default() };
    let models = [
        changed(|graph| graph.initializer.push(external())),
        in_attribute(AttributeProto {
            t: Some(external()),
            r#type: Some(AttributeType::Tensor.into()),
            ..AttributeProto::default()
        }),
        in_attribute(AttributeProto { g: Some(subgraph), ..AttributeProto::default() }),
    ];
    for model in models {
        let error = refused_model(model);
        assert!(matches!(&error, OnnxError::ExternalTensor { tensor, .. } if tensor == "outside"));
    }
}

#[test]
fn a_bundle_with_other_settings_makes_the_same_embeddings() {
    let (root, path) = fixture::bundle(parts());
    let bundle = ModelBundle::open(&path).unwrap();
    let interpolation =
        Interpolation { proportion: Proportion::ADAPTIVE, ..Interpolation::default() };
    let selection = Selection {
        per_label: vec![Threshold::new(0.25).unwrap(); 2],
        ..Selection::at(Threshold::new(0.3).unwrap())
    };
    let training = serde_json::json!({"tuned": true});
    let with_settings = |target: &Path| {
        bundle.with_settings(target, interpolation, None, selection.clone(), training.clone())
    };
    let target = root.path().join("deep").join("tuned");
    let tuned = with_settings(&target).unwrap();
    assert_eq!(tuned.encoder_fingerprint(), bundle.encoder_fingerprint());
    assert_ne!(tuned.fingerprint(), bundle.fingerprint());
    let config = &tuned.config();
    assert_eq!((config.interpolation, &config.selection), (interpolation, &selection));
    assert_eq!(config.training, training);
    ModelBundle::verify(&target, &fixture::on_cpu()).unwrap();
    // Nothing else is left beside it, and the old one is as it was.
    assert_eq!(fs::read_dir(root.path().join("deep")).unwrap().count(), 1);
    assert_eq!(ModelBundle::open(&path).unwrap().fingerprint(), bundle.fingerprint());

    // In the place of another bundle, also of itself; not in the place of anything else.
    assert_eq!(with_settings(&target).unwrap().fingerprint(), tuned.fingerprint());
    assert_eq!(with_settings(&path).unwrap().fingerprint(), tuned.fingerprint());
    let error =
        bundle.with_settings(&target, interpolation, None, selection.clone(), training.clone());
    assert!(matches!(error, Err(OnnxError::FileChanged { .. })), "{error:?}");
    let file = root.path().join("file");
    fs::write(&file, "not a bundle").unwrap();
    let error = tuned.with_settings(&file, interpolation, None, selection, training).unwrap_err();
    assert!(matches!(error, OnnxError::TargetExists { .. }), "{error}");
}

#[test]
fn a_bundle_that_changed_meanwhile_is_not_copied() {
    let (root, path) = fixture::bundle(parts());
    let bundle = ModelBundle::open(&path).unwrap();
    edit(&path.join("labels.json"), "program", "progress");
    let (config, target) = (bundle.config().clone(), root.path().join("copy"));
    let error = bundle
        .with_settings(&target, config.interpolation, None, config.selection, config.training)
        .unwrap_err();
    assert!(matches!(error, OnnxError::FileLength { .. }), "{error}");
    assert!(!target.exists());
}

//! Bundles are written beside their place and renamed; an unfinished one leaves nothing.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use autotag::{Encoder, Interpolation};
use autotag_onnx::{BundleDraft, ModelBundle, OnnxError};

use crate::fixture::{self, Parts, parts};

fn create(target: &Path, parts: Parts) -> BundleDraft {
    let Parts { config, labels, tokenizer, model } = parts;
    BundleDraft::create(target, config, &labels, &tokenizer, model).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_dropped_draft_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let draft = create(&root.path().join("bundle"), parts());
    let unfinished = names(root.path());
    assert!(unfinished[0].starts_with(".bundle.draft-"), "{unfinished:?}");
    drop(draft);
    assert!(names(root.path()).is_empty());
}

#[test]
fn a_published_bundle_stands_alone_and_keeps_what_was_set_last() {
    let root = tempfile::tempdir().unwrap();
    let mut draft = create(&root.path().join("deep/bundle"), parts());
    let interpolation =
        Interpolation { k: NonZeroUsize::new(10).unwrap(), ..Interpolation::default() };
    draft.set_interpolation(interpolation);
    draft.set_training(serde_json::json!({"epochs": 3}));
    let encoder = draft.encoder(&fixture::on_cpu()).unwrap();
    let bundle = draft.publish().unwrap();
    assert_eq!(names(&root.path().join("deep")), ["bundle"]);
    assert_eq!(bundle.config().interpolation, interpolation);
    assert_eq!(bundle.config().training["epochs"], 3);
    assert_eq!(encoder.fingerprint(), bundle.encoder_fingerprint());
}

#[test]
fn what_lies_in_the_target_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("bundle");
    create(&target, parts()).publish().unwrap();
    let error = create(&target, parts()).publish().unwrap_err();
    assert!(matches!(error, OnnxError::TargetExists { .. }), "{error}");
    let papers = root.path().join("papers");
    fs::create_dir(&papers).unwrap();
    fs::write(papers.join("thesis"), "years of work").unwrap();
    let error = create(&papers, parts()).publish_replacing().unwrap_err();
    assert!(matches!(error, OnnxError::TargetExists { .. }), "{error}");
    assert_eq!(names(&papers), ["thesis"]);
}

#[test]
fn an_older_bundle_is_replaced_when_asked() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("bundle");
    let older = create(&target, parts()).publish_replacing().unwrap();
    let mut draft = create(&target, parts());
    draft.set_training(serde_json::json!("newer"));
    let newer = draft.publish_replacing().unwrap();
    assert_eq!(newer.config().training, "newer");
    assert_eq!(names(root.path()), ["bundle"]);
    assert_ne!(older.fingerprint(), newer.fingerprint());
    // The embeddings are the same, so that one's datastores serve the other.
    assert_eq!(older.encoder_fingerprint(), newer.encoder_fingerprint());
    assert_eq!(ModelBundle::open(&target).unwrap().fingerprint(), newer.fingerprint());
}

#[test]
fn another_reading_of_texts_is_another_encoder() {
    let root = tempfile::tempdir().unwrap();
    let mut shorter = parts();
    shorter.config.max_length = NonZeroUsize::MIN;
    let other = fixture::mean_model(11).finish();
    let mut fingerprints = vec![];
    for (name, parts) in [("a", parts()), ("b", shorter), ("c", Parts { model: other, ..parts() })]
    {
        fingerprints.push(create(&root.path().join(name), parts).encoder_fingerprint());
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 3);
}

#[test]
fn labels_that_do_not_fit_the_configuration_are_refused() {
    let mut parts = parts();
    parts.labels.insert("one::more").unwrap();
    let error = fixture::draft(parts).1.unwrap_err();
    assert!(matches!(error, OnnxError::LabelCount { expected: 2, found: 3, .. }), "{error}");
}

//! Work over many documents that was interrupted, and the commands that find it.

use std::collections::BTreeMap;
use std::path::Path;

use autotag::Threshold;
use autotag_onnx::{ModelBundle, OnnxOptions};
use serde_json::Value;
use tantivy_autotag::{IndexFolder, LabelChange, TaggingWriter, WriterOptions};

use crate::support::{Folder, autotag, bundle, copy_folder, documents, lines, unlabeled};

/// An index of 20 labeled documents and 30 tagged ones.
fn index(folder: &Folder) -> String {
    let labeled = folder.write("labeled.jsonl", lines(&documents(20, 5)));
    let plain = folder.write("plain.jsonl", lines(&unlabeled(&documents(30, 6))));
    let index = folder.path("index");
    autotag(&format!("index --bundle {} --index {index} --data {labeled} {plain}", bundle())).ok();
    index
}

fn copied(folder: &Folder, index: &str, name: &str) -> String {
    let copy = folder.path(name);
    copy_folder(index, &copy);
    copy
}

/// Returns each document's tags.
fn tags(index: &str) -> BTreeMap<String, Vec<String>> {
    let found = autotag(&format!("search --index {index} --limit 100 --format json")).json();
    let documents = found["documents"].as_array().unwrap();
    let tags = |document: &Value| serde_json::from_value(document["tags"].clone()).unwrap();
    documents.iter().map(|d| (d["id"].as_str().unwrap().to_owned(), tags(d))).collect()
}

/// Begins work on an index with a threshold, and stops in its midst as a killed process does.
fn interrupted(
    index: &str,
    threshold: Option<f32>,
    work: impl FnOnce(&TaggingWriter<autotag_onnx::OnnxEncoder>),
) {
    let bundle = ModelBundle::open(Path::new(&bundle())).unwrap();
    let mut tagger = bundle.tagger(&OnnxOptions::default()).unwrap();
    if let Some(threshold) = threshold {
        tagger.selection.threshold = Threshold::new(threshold).unwrap();
    }
    let options = WriterOptions::new().job_documents(5.try_into().unwrap());
    let writer = IndexFolder::open(Path::new(index)).unwrap().writer(tagger, options).unwrap();
    work(&writer);
    assert!(writer.unfinished_job().is_some());
    writer.close().unwrap();
}

fn interrupt_retagging(index: &str, threshold: f32) {
    interrupted(index, Some(threshold), |writer| {
        let stop = |at: tantivy_autotag::JobProgress| {
            if at.done == 35 {
                writer.interrupt_job();
            }
        };
        writer.retag("", stop).unwrap();
    });
}

#[test]
fn an_interrupted_retag_is_resumed_with_its_own_settings() {
    let folder = Folder::new();
    let original = index(&folder);
    let whole = copied(&folder, &original, "whole");
    autotag(&format!("retag --index {whole} --threshold 0.95")).ok();
    let expected = tags(&whole);
    assert_ne!(expected, tags(&original), "the threshold makes a difference");

    let resumed = copied(&folder, &original, "resumed");
    interrupt_retagging(&resumed, 0.95);
    assert_ne!(tags(&resumed), expected);
    autotag(&format!("retag --index {resumed} --resume")).ok();
    assert_eq!(tags(&resumed), expected);

    // Nor does a command with other settings lose them: it finishes that work, and does its own.
    let other = copied(&folder, &original, "other");
    interrupt_retagging(&other, 0.95);
    let run = autotag(&format!("retag --index {other}"));
    assert!(run.stderr.contains("finishing what was interrupted before: tagging again with"));
    run.ok();
    autotag(&format!("retag --index {original}")).ok();
    assert_eq!(tags(&other), tags(&original));
}

#[test]
fn a_move_leaves_no_document_with_the_settings_of_an_interrupted_job() {
    let folder = Folder::new();
    let index = index(&folder);
    autotag(&format!("retag --index {index}")).ok();
    let expected = tags(&index);
    interrupt_retagging(&index, 0.95);
    assert_ne!(tags(&index), expected);
    autotag(&format!("migrate --index {index} --bundle {}", bundle())).ok();
    assert_eq!(tags(&index), expected);
}

#[test]
fn a_change_of_a_label_does_not_swallow_the_next() {
    let folder = Folder::new();
    let index = index(&folder);
    interrupted(&index, None, |writer| {
        let (label, name) = ("field::ocean".to_owned(), "field::sea".to_owned());
        let rename = LabelChange::Rename { label, name };
        writer.change_labels(&rename, |_| writer.interrupt_job()).unwrap();
    });
    // The same label, by the name that it had.
    let run = autotag(&format!("labels --index {index} retire field::ocean"));
    assert!(run.stderr.contains("renaming the label \"field::ocean\" to \"field::sea\""));
    run.ok();
    let list = autotag(&format!("labels --index {index} list --format json")).json();
    let labels = list["labels"].as_array().unwrap();
    let sea = labels.iter().find(|label| label["label"] == "field::sea").unwrap();
    assert_eq!((sea["state"].as_str(), sea["documents"].as_u64()), (Some("retired"), Some(0)));
    let is_tagged = |tags: &Vec<String>| tags.iter().any(|tag| tag.contains("ocean"));
    assert!(!tags(&index).values().any(is_tagged));
    assert_eq!(autotag(&format!("verify --index {index} --format json")).json()["sound"], true);
}

#[cfg(target_os = "linux")]
#[test]
fn a_bundle_whose_path_is_no_text_is_found_again() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    let folder = Folder::new();
    let name = OsString::from_vec(b"bundle-\xff\xfe".to_vec());
    let path = Path::new(&folder.path("")).join(name);
    copy_folder(bundle(), &path);
    let (index, data) = (folder.path("index"), folder.path("data.jsonl"));
    folder.write("data.jsonl", lines(&unlabeled(&documents(3, 5))));
    let mut command = Command::new(crate::support::PROGRAM);
    command.args(["index", "--index", &index, "--data", &data, "--bundle"]).arg(&path);
    assert!(command.status().unwrap().success());
    autotag(&format!("correct --index {index} 5-1 --add /new/topic")).ok();
}

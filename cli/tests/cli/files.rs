//! Bad files: clear errors, and nothing lost.

use std::fs;

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Folder, SMALL, autotag, autotag_with, bundle, copy_folder, documents, lines};

/// Trains on a file that cannot be used and returns the error.
fn train_error(folder: &Folder, train: &str) -> String {
    let dev = folder.write("dev.jsonl", lines(&documents(10, 2)));
    let out = folder.path("bundle");
    let line = format!("train --data {train} --dev {dev} --out {out} {SMALL} --epochs 1");
    let error = autotag(&line).error();
    assert!(fs::metadata(out).is_err(), "no bundle is left behind");
    folder.mask(&error)
}

fn check_train(content: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    let train = folder.write("train.jsonl", content);
    train_error(&folder, &train)
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = Folder::new();
    assert_snapshot!(train_error(&folder, &folder.path("none.jsonl")), @"
    error: FOLDER/none.jsonl: the file cannot be opened
    caused by: No such file or directory (os error 2)
    ");
}

#[test]
fn an_empty_file_is_an_error() {
    assert_snapshot!(check_train(""), @"error: FOLDER/train.jsonl: there is no document in it: write one JSON object on each line, or a CSV header and rows");
}

#[test]
fn a_line_that_is_no_json_is_named_by_its_number() {
    let good = lines(&documents(2, 1));
    assert_snapshot!(check_train(format!("{good}{{\"id\": \"x\", \"text\"\n")), @r#"error: FOLDER/train.jsonl:3: this is no JSON object, such as {"id": "1", "text": "..."}: EOF while parsing an object at column 18"#);
}

#[test]
fn a_missing_key_and_a_doubled_key_are_errors() {
    assert_snapshot!(check_train(r#"{"text": "a", "labels": ["x"]}"#), @r#"error: FOLDER/train.jsonl:1: the field "id" with the document's key is missing: add it, or name another with --key"#);
    let line = r#"{"id": "1", "text": "a", "labels": ["x"]}"#;
    assert_snapshot!(check_train(format!("{line}\n{line}\n")), @r#"error: FOLDER/train.jsonl:2: the key "1" stands on line 1 already: give every document a key of its own"#);
}

#[test]
fn a_training_document_without_labels_is_an_error() {
    let line = r#"{"id": "1", "text": "a", "labels": []}"#;
    assert_snapshot!(check_train(line), @r#"error: FOLDER/train.jsonl:1: document "1" has no labels in "labels", so there is nothing to learn from it: label it, leave it out, or name another field with --labels"#);
}

#[test]
fn a_document_without_text_is_left_out_of_training_and_strictly_an_error() {
    let folder = Folder::new();
    let mut train = documents(40, 1);
    (train[3]["text"], train[5]["text"]) = (json!(" "), json!(""));
    let mut dev = documents(20, 2);
    dev[0]["text"] = json!("\n");
    let (train, dev) =
        (folder.write("train.jsonl", lines(&train)), folder.write("dev.jsonl", lines(&dev)));
    let out = folder.path("bundle");
    let line = format!("train --data {train} --dev {dev} --out {out} {SMALL} --epochs 1");
    let run = autotag(&line);
    assert!(run.stderr.contains("1-3, 1-5"), "{}", run.stderr);
    let told =
        "left out, without a word that the model knows: 2 documents of the training data, 1 of dev";
    assert!(run.stdout.contains(told), "{}", run.stdout);
    run.ok();
    let report = autotag(&format!("{line} --format json")).json();
    assert_eq!(report["skipped"], json!({"train": 2, "dev": 1}));
    let metrics = std::fs::read_to_string(folder.path("bundle.run/metrics.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    assert_eq!(first["skipped"], report["skipped"]);
    assert_snapshot!(folder.mask(&autotag(&format!("{line} --strict")).error()), @r#"
    error: the text of document "1-3" cannot be used: correct it, or leave the document out
    caused by: the text is empty: give it at least one word
    "#);
}

#[test]
fn an_output_folder_with_other_files_is_told_before_the_documents_are_read() {
    let folder = Folder::new();
    let out = folder.path("bundle");
    std::fs::create_dir(&out).unwrap();
    folder.write("bundle/notes", "someone's");
    let missing = folder.path("none.jsonl");
    let error = autotag(&format!("train --data {missing} --dev {missing} --out {out}")).error();
    assert!(error.contains("exists already"), "{error}");
}

#[test]
fn a_label_that_dev_has_and_train_has_not_is_told() {
    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(40, 1)));
    let mut dev = documents(20, 2);
    dev[0]["labels"] = json!(["field::law"]);
    dev[1]["labels"] = json!([]);
    let (dev, out) = (folder.write("dev.jsonl", lines(&dev)), folder.path("bundle"));
    let run = autotag(&format!("train --data {train} --dev {dev} --out {out} {SMALL} --epochs 1"));
    assert!(run.stderr.contains("field::law"), "{}", run.stderr);
    assert!(run.stderr.contains("documents without labels are left out"), "{}", run.stderr);
    run.ok();
}

#[test]
fn a_text_with_nul_bytes_broken_utf_8_or_50_mb_is_tagged() {
    let folder = Folder::new();
    let mut data = br#"{"id": "nul", "text": "piston \u0000 oil"}"#.to_vec();
    data.extend(b"\n{\"id\": \"utf8\", \"text\": \"piston \xff\xfe oil\"}\n");
    data.extend(
        format!("{{\"id\": \"long\", \"text\": \"{}\"}}\n", "piston oil ".repeat(5_000_000))
            .bytes(),
    );
    let data = folder.write("data.jsonl", data);
    let index = folder.path("index");
    let run = autotag(&format!(
        "index --bundle {} --index {index} --data {data} --format json",
        bundle()
    ));
    assert!(run.stderr.contains("invalid UTF-8"), "{}", run.stderr);
    let report = run.json();
    assert_eq!((&report["tagged"], &report["failed"]), (&json!(3), &json!(0)));
    let found =
        autotag(&format!("search --index {index} --tag /field/engine --format json")).json();
    assert_eq!(found["total"], 3);
}

#[test]
fn a_document_that_cannot_be_tagged_follows_the_policy() {
    let folder = Folder::new();
    let mut documents = documents(30, 4);
    documents[10] = json!({"id": "blank", "text": ""});
    let data = folder.write("data.jsonl", lines(&documents));
    let index = |policy: &str| {
        let index = folder.path(policy);
        let bundle = bundle();
        let line = format!("index --bundle {bundle} --index {index} --data {data} --format json");
        autotag(&format!("{line} --on-failure {policy}"))
    };
    let n_found = |policy: &str| {
        let index = folder.path(policy);
        autotag(&format!("search --index {index} --format json --limit 1")).json()["total"].clone()
    };
    let error = index("fail").error();
    assert!(error.contains("blank") && error.contains("empty"), "{error}");
    // What else was handed over is kept.
    assert!(n_found("fail").as_u64().unwrap() >= 10);
    let skipped = index("skip");
    assert!(skipped.stderr.contains("blank"), "{}", skipped.stderr);
    assert_eq!(skipped.json()["failed"], 1);
    assert_eq!(n_found("skip"), 29);
    assert_eq!(index("untagged").json()["failed"], 1);
    assert_eq!(n_found("untagged"), 30);
}

#[test]
fn a_line_that_cannot_be_read_stops_indexing_and_keeps_what_came_before() {
    let folder = Folder::new();
    let good = lines(&documents(20, 4));
    let data = folder.write("data.jsonl", format!("{good}no json\n{good}"));
    let index = folder.path("index");
    let line = format!("index --bundle {} --index {index} --data {data}", bundle());
    let error = autotag(&line).error();
    assert!(error.contains("data.jsonl:21: this is no JSON object"), "{error}");
    let found = autotag(&format!("search --index {index} --format json")).json();
    assert_eq!(found["total"], 20);
    let report = autotag(&format!("{line} --on-failure skip --format json")).json();
    assert_eq!((&report["labeled"], &report["failed"]), (&json!(40), &json!(1)));
}

#[test]
fn an_index_made_with_another_bundle_is_refused() {
    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(30, 7)));
    let (other, index) = (folder.path("other"), folder.path("index"));
    autotag(&format!("train --data {train} --dev {train} --out {other} {SMALL} --epochs 1")).ok();
    autotag(&format!("index --bundle {other} --index {index} --data {train}")).ok();
    let bundle = bundle();
    for line in [
        format!("index --bundle {bundle} --index {index} --data {train}"),
        format!("tag --bundle {bundle} --index {index}"),
    ] {
        let error = autotag(&line).error();
        assert!(error.contains("made with another bundle"), "{error}");
    }
}

#[test]
fn folders_that_are_no_bundle_or_index_are_named() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(3, 1)));
    let none = folder.path("none");
    let show = |run: crate::support::Run| folder.mask(&run.error());
    assert_snapshot!(show(autotag(&format!("bundle show {none}"))), @"error: FOLDER/none is no model bundle: it has no config.json; give the folder that `autotag train --out` wrote");
    assert_snapshot!(show(autotag(&format!("search --index {none} word"))), @"error: FOLDER/none holds no index made by autotag: give the folder of one, or make one first");
    let missing = format!("index --bundle {none} --index {none} --data {data}");
    assert_snapshot!(show(autotag(&missing)), @"error: FOLDER/none is no model bundle: it has no config.json; give the folder that `autotag train --out` wrote");
    let run = autotag(&format!("index --index {none} --data {data}"));
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("a new one needs --bundle"), "{}", run.stderr);
}

#[test]
fn a_query_that_cannot_be_read_is_an_error() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(3, 1)));
    let index = folder.path("index");
    autotag(&format!("index --bundle {} --index {index} --data {data}", bundle())).ok();
    let error = autotag(&format!("search --index {index} AND")).error();
    assert!(error.contains("AND"), "{error}");
}

#[test]
fn a_changed_bundle_is_refused() {
    let folder = Folder::new();
    let copy = folder.path("bundle");
    copy_folder(bundle(), &copy);
    autotag(&format!("bundle verify {copy}")).ok();
    let labels = format!("{copy}/labels.json");
    fs::write(&labels, fs::read_to_string(&labels).unwrap().replace("kitchen", "Kitchen")).unwrap();
    let error = autotag(&format!("bundle verify {copy}")).error();
    assert!(error.contains("labels.json was changed"), "{error}");
    fs::remove_file(format!("{copy}/model.onnx")).unwrap();
    let error = autotag_with(&format!("tag --bundle {copy}"), "").error();
    assert!(error.contains("model.onnx is missing") || error.contains("changed"), "{error}");
}

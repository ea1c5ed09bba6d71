//! A bundle of the wide model goes through every command.

use serde_json::json;

use crate::support::{Folder, autotag, autotag_with, documents, lines, unlabeled};

/// The options that keep training small.
const WIDE: &str = "--model wide --batch-size 16 --hidden 24 --epochs 8";

#[test]
fn every_command_works_with_a_wide_bundle() {
    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(300, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(60, 2)));
    let test = folder.write("test.jsonl", lines(&documents(80, 3)));
    let bundle = folder.path("bundle");
    let line = format!("train --data {train} --dev {dev} --out {bundle} {WIDE} --format json");
    let report = autotag(&line).json();
    assert!(report["dev_micro_f1"].as_f64().unwrap() > 0.8, "{report}");
    let again = autotag(&format!("bundle show {bundle} --format json")).json();
    assert_eq!(again["fingerprint"], report["fingerprint"]);
    assert_eq!(
        (&again["config"]["architecture"], &again["config"]["input"]),
        (&json!("wide"), &json!("ngrams"))
    );
    let shown = autotag(&format!("bundle show {bundle}")).ok();
    assert!(shown.contains("wide (format 1)") && shown.contains("pairs of them"), "{shown}");
    autotag(&format!("bundle verify {bundle}")).ok();

    let line = format!("eval --bundle {bundle} --data {test} --tune {dev} --format json");
    let rows = autotag(&line).json()["rows"].clone();
    for row in rows.as_array().unwrap() {
        assert!(row["micro_f1"].as_f64().unwrap() > 0.6, "{row}");
    }

    let tuned = folder.path("tuned");
    autotag(&format!("tune --bundle {bundle} --data {dev} --objective macro --out {tuned}")).ok();
    let index = folder.path("index");
    let data = folder.write("data.jsonl", lines(&unlabeled(&documents(50, 4))));
    let line = format!("index --bundle {tuned} --index {index} --data {test} {data} --format json");
    let report = autotag(&line).json();
    assert_eq!((&report["labeled"], &report["tagged"]), (&json!(80), &json!(50)));

    let mut input = unlabeled(&documents(20, 5));
    input.push(json!({"id": "unknown", "text": "zyx wvu"}));
    input.push(json!({"id": "empty", "text": " "}));
    let run = autotag_with(&format!("tag --index {index}"), &lines(&input));
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("2 of 22 lines could not be tagged"), "{}", run.stderr);
}

#[test]
fn the_wide_model_and_a_cnn_are_trained_as_one_and_asked() {
    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(300, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(60, 2)));
    let bundle = folder.path("bundle");
    let options = "--model wide-cnn --batch-size 16 --hidden 24 --filters 8 --widths 1,2 \
                   --embedding-dimensions 16 --max-length 40 --epochs 8 --format json";
    let line = format!("train --data {train} --dev {dev} --out {bundle} {options}");
    let report = autotag(&line).json();
    assert!(report["dev_micro_f1"].as_f64().unwrap() > 0.8, "{report}");
    let shown = autotag(&format!("bundle show {bundle} --format json")).json();
    assert_eq!(shown["config"]["architecture"], json!("wide-cnn"));
    let data = folder.write("data.jsonl", lines(&unlabeled(&documents(20, 4))));
    let index = folder.path("index");
    let line = format!("index --bundle {bundle} --index {index} --data {data} --format json");
    assert_eq!(autotag(&line).json()["tagged"], json!(20));
}

#[test]
fn texts_that_repeat_no_word_are_told() {
    let folder = Folder::new();
    let mut rare = documents(10, 1);
    for (number, document) in rare.iter_mut().enumerate() {
        document["text"] = json!(format!("only{number}"));
    }
    let data = folder.write("rare.jsonl", lines(&rare));
    let out = folder.path("out");
    let error = autotag(&format!("train --data {data} --dev {data} --out {out} {WIDE}")).error();
    assert!(error.contains("no word occurs in 2 or more of the 10 training texts"), "{error}");
}

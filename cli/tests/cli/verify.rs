//! Checking an index.

use std::fs;

use serde_json::json;

use crate::support::{Folder, autotag, bundle, documents, lines, unlabeled};

#[test]
fn a_sound_index_is_counted_and_a_damaged_one_is_an_error() {
    let folder = Folder::new();
    let labeled = folder.write("labeled.jsonl", lines(&documents(20, 5)));
    let plain = folder.write("plain.jsonl", lines(&unlabeled(&documents(30, 6))));
    let index = folder.path("index");
    let line = format!("index --bundle {} --index {index} --data {labeled} {plain}", bundle());
    autotag(&line).ok();

    let report = autotag(&format!("verify --index {index} --format json")).json();
    assert_eq!((&report["sound"], &report["problems"]), (&json!(true), &json!([])));
    assert_eq!((&report["documents"], &report["labeled"]), (&json!(50), &json!(20)));
    assert_eq!((&report["neighbors"], &report["training"]), (&json!(320), &json!(300)));
    let text = autotag(&format!("verify --index {index}")).ok();
    assert!(text.contains("documents labeled by people"), "{text}");

    let store = fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
    let store = store.filter(|path| path.extension().is_some_and(|name| name == "store"));
    let store = store.min().unwrap();
    let mut bytes = fs::read(&store).unwrap();
    bytes[10] ^= 1;
    fs::write(&store, bytes).unwrap();
    let run = autotag(&format!("verify --index {index}"));
    assert!(run.stdout.contains(".store is damaged: its checksum differs"), "{}", run.stdout);
    assert_eq!(folder.mask(&run.error()), "error: there is a problem in the index FOLDER/index\n");
}

//! Adopting a Tantivy index that autotag did not make.

use std::fs;

use serde_json::Value;
use tantivy_autotag::tantivy::schema::{FAST, STORED, STRING, Schema, TEXT};
use tantivy_autotag::tantivy::{Index, IndexWriter, TantivyDocument};

use crate::support::{Folder, autotag, bundle, documents, lines, unlabeled};

/// Makes a plain index of `n` documents, and returns its folder.
fn plain_index(folder: &Folder, n: usize) -> String {
    let mut schema = Schema::builder();
    let sku = schema.add_text_field("sku", STRING | STORED);
    let body = schema.add_text_field("body", TEXT | STORED);
    let year = schema.add_u64_field("year", FAST);
    let path = folder.path("old");
    fs::create_dir(&path).unwrap();
    let index = Index::create_in_dir(&path, schema.build()).unwrap();
    let mut writer: IndexWriter = index.writer(15_000_000).unwrap();
    for document in documents(n, 7) {
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        let mut added = TantivyDocument::new();
        added.add_text(sku, text("id"));
        added.add_text(body, text("text"));
        added.add_u64(year, 1999);
        writer.add_document(added).unwrap();
    }
    writer.commit().unwrap();
    path
}

#[test]
fn an_index_is_adopted_and_used_by_all_commands_from_then_on() {
    let folder = Folder::new();
    let (old, new) = (plain_index(&folder, 30), folder.path("new"));
    let line = format!(
        "adopt --from {old} --index {new} --bundle {} --key sku --text body --format json",
        bundle()
    );
    let report = autotag(&line).json();
    assert_eq!((&report["documents"], &report["tagged"]), (&30.into(), &30.into()), "{report}");
    let found = autotag(&format!("search --index {new} --format json")).json();
    assert_eq!(found["total"], 30);
    let some = |value: &Value| !value["tags"].as_array().unwrap().is_empty();
    assert!(found["documents"].as_array().unwrap().iter().any(some), "{found}");

    autotag(&format!("correct --index {new} 7-1 --set /mine")).ok();
    autotag(&format!("retag --index {new}")).ok();
    let more = folder.write("more.jsonl", lines(&unlabeled(&documents(5, 8))));
    autotag(&format!("index --index {new} --data {more}")).ok();
    autotag(&format!("migrate --index {new} --bundle {}", bundle())).ok();
    let report = autotag(&format!("verify --index {new} --format json")).json();
    assert_eq!((&report["sound"], &report["documents"]), (&true.into(), &35.into()), "{report}");
}

#[test]
fn a_field_that_is_missing_is_named_and_nothing_is_made() {
    let folder = Folder::new();
    let (old, new) = (plain_index(&folder, 3), folder.path("new"));
    let line = format!("adopt --from {old} --index {new} --bundle {} --key id", bundle());
    let error = autotag(&format!("{line} --text body")).error();
    assert!(error.contains("no field \"id\" to hold the key"), "{error}");
    assert!(fs::metadata(&new).is_err());
    assert_eq!(autotag(&line).code, 2);
}

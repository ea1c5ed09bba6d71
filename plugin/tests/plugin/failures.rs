//! Documents that cannot be tagged, and failures that stop the writer.

use std::error::Error as _;

use autotag::EncodeError;
use tantivy::{Index, TantivyDocument};
use tantivy_autotag::{Error, OnFailure, TaggingWriter, WriterOptions};

use crate::support::{Fixture, LABELS, Words};

fn open(fixture: &Fixture, on_failure: OnFailure) -> TaggingWriter<Words> {
    let options = WriterOptions::new().on_failure(on_failure);
    fixture.open(Words::new(&LABELS), options).unwrap()
}

/// Commits an old document, then replaces it by one that fails, among others.
fn add_failing(fixture: &Fixture, writer: &TaggingWriter<Words>) {
    writer.add(fixture.document("old", "program")).unwrap();
    writer.commit().unwrap();
    writer.add(fixture.document("before", "library")).unwrap();
    writer.add(fixture.document("old", "broken")).unwrap();
}

#[test]
fn by_default_the_next_call_reports_the_failure_and_all_else_is_kept() {
    let fixture = Fixture::new();
    let writer = open(&fixture, OnFailure::Fail);
    add_failing(&fixture, &writer);
    let error = writer.commit().unwrap_err();
    assert!(matches!(&error, Error::Document { key, others: 0, .. } if key == "old"), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "the model could not be run");
    assert_eq!(fixture.keys(), ["old"]);

    writer.add(fixture.document("after", "editing")).unwrap();
    let summary = writer.commit().unwrap();
    assert_eq!((summary.tagged, summary.failed), (2, 1));
    assert_eq!(summary.failures[0].key, "old");
    assert_eq!(fixture.keys(), ["after", "before", "old"]);
    assert_eq!(fixture.tags("old"), ["/role/program"]);
}

#[test]
fn many_failures_are_reported_at_once() {
    let fixture = Fixture::new();
    let writer = open(&fixture, OnFailure::Fail);
    for key in ["a", "b", "c"] {
        // An `add` may report what failed before it; then its own document was not taken.
        while let Err(error) = writer.add(fixture.document(key, "broken")) {
            assert!(matches!(error, Error::Document { .. }), "{error}");
        }
    }
    let mut n_reports = 0;
    let summary = loop {
        match writer.commit() {
            Ok(summary) => break summary,
            Err(Error::Document { .. }) => n_reports += 1,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(n_reports <= 1, "{n_reports}");
    assert_eq!(summary.failed, 3);
}

#[test]
fn skipping_leaves_the_old_document() {
    let fixture = Fixture::new();
    let writer = open(&fixture, OnFailure::Skip);
    add_failing(&fixture, &writer);
    let summary = writer.commit().unwrap();
    assert_eq!((summary.tagged, summary.failed), (1, 1));
    assert_eq!(fixture.tags("old"), ["/role/program"]);
}

#[test]
fn indexing_untagged_replaces_the_old_document() {
    let fixture = Fixture::new();
    let writer = open(&fixture, OnFailure::IndexUntagged);
    add_failing(&fixture, &writer);
    writer.add(fixture.document("empty", " ")).unwrap();
    let mut without_text = TantivyDocument::new();
    without_text.add_text(fixture.fields.key, "none");
    writer.add(without_text).unwrap();
    let summary = writer.commit().unwrap();
    assert_eq!((summary.tagged, summary.failed), (1, 3));
    assert!(matches!(summary.failures[1].cause, EncodeError::EmptyText));
    assert_eq!(fixture.keys(), ["before", "empty", "none", "old"]);
    let old = fixture.found("old").unwrap();
    assert_eq!(old.texts, ["broken"]);
    assert!(old.tags.is_empty() && old.evidence.is_none());
}

#[test]
fn a_labeled_document_that_cannot_be_encoded_keeps_its_labels_but_does_not_vote() {
    let fixture = Fixture::new();
    let writer = open(&fixture, OnFailure::IndexUntagged);
    writer.add_labeled(fixture.document("a", "purring"), ["cat"]).unwrap();
    writer.commit().unwrap();
    writer.add_labeled(fixture.document("a", "broken"), ["dog"]).unwrap();
    let summary = writer.commit().unwrap();
    assert_eq!((summary.labeled, summary.failed), (0, 1));
    assert_eq!(fixture.tags("a"), ["/dog"]);
    assert!(fixture.neighbor_keys().is_empty());
}

#[test]
fn a_commit_lists_so_many_failures_and_counts_all() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().on_failure(OnFailure::Skip).listed_failures(2);
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    for key in ["a", "b", "c"] {
        writer.add(fixture.document(key, "")).unwrap();
    }
    let summary = writer.commit().unwrap();
    assert_eq!((summary.failures.len(), summary.failed), (2, 3));
    assert_eq!(writer.commit().unwrap().failed, 0);
}

#[test]
fn documents_that_do_not_fit_are_refused_at_the_call_and_change_nothing() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    let no_key = TantivyDocument::new();
    assert!(matches!(writer.add(no_key), Err(Error::KeyMissing { field }) if field == "id"));
    let mut twice = fixture.document("a", "x");
    twice.add_text(fixture.fields.key, "b");
    assert!(matches!(writer.add(twice), Err(Error::KeyRepeated { count: 2, .. })));
    let empty = fixture.document("", "x");
    assert!(matches!(writer.add(empty), Err(Error::KeyLength { length: 0, .. })));
    let mut own_tags = fixture.document("a", "x");
    own_tags.add_facet(fixture.fields.tags, "/own");
    let refused = writer.add_labeled(own_tags, ["cat"]);
    assert!(matches!(refused, Err(Error::ReservedField { field, .. }) if field == "tags"));
    let mut wrong_type = fixture.document("a", "x");
    wrong_type.add_u64(fixture.extra, 7);
    assert!(matches!(writer.add(wrong_type), Err(Error::ValueType { .. })));
    assert!(matches!(writer.delete(""), Err(Error::KeyLength { .. })));
    assert!(matches!(writer.delete(&"x".repeat(600)), Err(Error::KeyLength { .. })));

    writer.add(fixture.document("good", "program")).unwrap();
    assert_eq!(writer.commit().unwrap().tagged, 1);
    assert_eq!(fixture.keys(), ["good"]);
}

#[test]
fn a_disk_that_fails_stops_the_writer_with_the_cause() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("index");
    std::fs::create_dir(&folder).unwrap();
    let index = Index::create_in_dir(&folder, fixture.index.schema()).unwrap();
    let options = WriterOptions::new().pending_operations(8.try_into().unwrap());
    let fixture = Fixture { index, ..fixture };
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    // No segment can be written any more.
    std::fs::remove_dir_all(&folder).unwrap();
    let mut outcome = Ok(());
    for number in 0..100 {
        let document = fixture.document(&format!("{number}"), "program");
        outcome = writer.add_labeled(document, ["cat"]).map(drop);
        if outcome.is_err() {
            break;
        }
    }
    let error = match outcome {
        Ok(()) => writer.commit().unwrap_err(),
        Err(error) => error,
    };
    let Error::Stopped { cause } = &error else { panic!("{error}") };
    assert!(matches!(**cause, Error::Tantivy { .. }), "{cause}");
    assert!(matches!(writer.delete("a"), Err(Error::Stopped { .. })));
    assert!(matches!(writer.commit(), Err(Error::Stopped { .. })));
    drop(writer);
    assert!(fixture.neighbor_keys().is_empty());
}

#[test]
fn strange_texts_are_tagged_or_refused_but_never_panic() {
    let fixture = Fixture::new();
    let writer = open(&fixture, OnFailure::Skip);
    writer.add(fixture.document("nul", "pro\0gram program\0 program")).unwrap();
    writer
        .add(fixture.document("broken utf-8", &String::from_utf8_lossy(b"program \xff")))
        .unwrap();
    let long = "program ".repeat(1 << 20);
    writer.add(fixture.document("long", &long)).unwrap();
    writer.add(fixture.document("one long word", &"x".repeat(1 << 20))).unwrap();
    writer.add(fixture.document("key\0with nul", "program")).unwrap();
    assert_eq!(writer.commit().unwrap().tagged, 5);
    for key in ["nul", "broken utf-8", "long", "key\0with nul"] {
        assert_eq!(fixture.tags(key), ["/role/program"], "{key:?}");
    }
}

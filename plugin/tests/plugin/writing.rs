//! Adding, labeling, replacing, deleting, committing.

use std::num::NonZeroUsize;

use tantivy::schema::Value;
use tantivy_autotag::Error;

use crate::support::{Fixture, LABELS, Words, chunks_of};

#[test]
fn documents_are_tagged_and_keep_their_own_fields() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    let mut document = fixture.document("vim", "a program for editing");
    document.add_text(fixture.extra, "mine");
    writer.add(document).unwrap();
    let summary = writer.commit().unwrap();
    assert_eq!((summary.tagged, summary.labeled, summary.failed), (1, 0, 0));
    assert_eq!(summary.generation, 1);

    assert_eq!(fixture.tags("vim"), ["/role/program", "/use/editing"]);
    let found = fixture.found("vim").unwrap();
    assert_eq!(found.texts, ["a program for editing"]);
    let extra: Vec<_> = found.document.get_all(fixture.extra).collect();
    assert_eq!(extra.len(), 1);
    assert_eq!(extra[0].as_str(), Some("mine"));
}

#[test]
fn nothing_is_visible_before_the_commit() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.add_labeled(fixture.document("b", "text"), ["x"]).unwrap();
    assert!(fixture.keys().is_empty() && fixture.neighbor_keys().is_empty());
    writer.commit().unwrap();
    assert_eq!(fixture.keys(), ["a", "b"]);
    assert_eq!(fixture.neighbor_keys(), ["b"]);
}

#[test]
fn labeled_documents_vote_from_the_next_commit_on_with_labels_the_model_does_not_know() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("cat", "purring whiskers"), ["animal::cat"]).unwrap();
    writer.add(fixture.document("early", "purring whiskers")).unwrap();
    writer.commit().unwrap();
    writer.add(fixture.document("late", "purring whiskers")).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.tags("cat"), ["/animal/cat"]);
    assert!(fixture.tags("early").is_empty());
    assert_eq!(fixture.tags("late"), ["/animal/cat"]);
}

#[test]
fn predictions_never_become_neighbors() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("vim", "program")).unwrap();
    writer.commit().unwrap();
    assert!(fixture.neighbor_keys().is_empty());
}

#[test]
fn the_same_key_replaces() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    writer.add(fixture.document("a", "library")).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.keys(), ["a"]);
    assert_eq!(fixture.tags("a"), ["/role/library"]);
}

#[test]
fn tagging_a_labeled_document_anew_takes_its_vote_away() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "purring"), ["cat"]).unwrap();
    writer.commit().unwrap();
    writer.add(fixture.document("a", "purring program")).unwrap();
    // Also one that was put since the last commit.
    writer.add_labeled(fixture.document("b", "purring"), ["cat"]).unwrap();
    writer.add(fixture.document("b", "program")).unwrap();
    writer.commit().unwrap();
    assert!(fixture.neighbor_keys().is_empty());
    assert_eq!(fixture.keys(), ["a", "b"]);
}

#[test]
fn deleting_removes_document_and_neighbor() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "purring"), ["cat"]).unwrap();
    writer.add(fixture.document("b", "program")).unwrap();
    writer.commit().unwrap();
    writer.delete("a").unwrap();
    writer.delete("b").unwrap();
    writer.delete("never there").unwrap();
    let summary = writer.commit().unwrap();
    assert_eq!(summary.deleted, 3);
    assert!(fixture.keys().is_empty() && fixture.neighbor_keys().is_empty());
}

#[test]
fn operations_on_a_key_keep_their_order_within_a_chunk_and_across_chunks() {
    for options in [chunks_of(100), chunks_of(1), Default::default()] {
        let fixture = Fixture::new();
        let writer = fixture.open(Words::new(&LABELS), options).unwrap();
        for round in 0..20 {
            writer.add_labeled(fixture.document("a", "purring"), ["cat"]).unwrap();
            writer.add(fixture.document("a", "library")).unwrap();
            writer.delete("a").unwrap();
            writer.add(fixture.document("b", "program")).unwrap();
            writer.delete("b").unwrap();
            let label = format!("round{round}");
            writer.add_labeled(fixture.document("b", "program"), [label]).unwrap();
        }
        writer.commit().unwrap();
        assert_eq!(fixture.keys(), ["b"]);
        assert_eq!(fixture.neighbor_keys(), ["b"]);
        assert_eq!(fixture.tags("b"), ["/round19"]);
    }
}

#[test]
fn a_later_operation_that_is_done_earlier_still_wins() {
    let fixture = Fixture::new();
    let options = chunks_of(1).threads(NonZeroUsize::new(3));
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    writer.add_labeled(fixture.document("a", "slow text"), ["early"]).unwrap();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.add(fixture.document("b", "slow program")).unwrap();
    writer.delete("b").unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.keys(), ["a"]);
    assert_eq!(fixture.tags("a"), ["/role/program"]);
    assert!(fixture.neighbor_keys().is_empty());
}

#[test]
fn a_label_given_twice_counts_once_and_a_wrong_one_is_refused_at_the_call() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    let labels = ["role::program", "/role/program", "role::program"];
    writer.add_labeled(fixture.document("a", "x"), labels).unwrap();
    let error = writer.add_labeled(fixture.document("b", "x"), [" "]).unwrap_err();
    assert!(matches!(&error, Error::Label { key, .. } if key == "b"), "{error}");
    let summary = writer.commit().unwrap();
    assert_eq!((summary.labeled, summary.failed), (1, 0));
    assert_eq!(fixture.tags("a"), ["/role/program"]);
}

#[test]
fn a_document_may_be_labeled_with_nothing() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "program"), [""; 0]).unwrap();
    writer.commit().unwrap();
    assert!(fixture.tags("a").is_empty());
    assert_eq!(fixture.neighbor_keys(), ["a"]);
}

#[test]
fn what_was_not_committed_is_lost_and_the_writer_can_be_opened_again() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "purring"), ["cat"]).unwrap();
    writer.commit().unwrap();
    writer.add_labeled(fixture.document("b", "purring"), ["cat"]).unwrap();
    writer.add(fixture.document("a", "program")).unwrap();
    drop(writer);
    assert_eq!(fixture.keys(), ["a"]);
    let writer = fixture.writer();
    let summary = writer.commit().unwrap();
    assert_eq!((summary.tagged, summary.labeled, summary.generation), (0, 0, 2));
    assert_eq!(fixture.keys(), ["a"]);
    assert_eq!(fixture.neighbor_keys(), ["a"]);
    writer.close().unwrap();
    fixture.writer().close().unwrap();
}

#[test]
fn a_commit_without_changes_leaves_the_datastore_alone() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "purring"), ["cat"]).unwrap();
    writer.commit().unwrap();
    let before = fixture.datastore.reader().unwrap().generation();
    writer.commit().unwrap();
    assert_eq!(fixture.datastore.reader().unwrap().generation(), before);
}

#[test]
fn statistics_add_up() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    for number in 0..50 {
        writer.add(fixture.document(&format!("{number}"), "program editing")).unwrap();
    }
    writer.add_labeled(fixture.document("l", "purring"), ["cat"]).unwrap();
    let summary = writer.commit().unwrap();
    let stats = writer.stats();
    assert_eq!((stats.documents, stats.queue_depth), (51, 0));
    assert!(stats.batches >= 1 && stats.batches <= 51);
    assert_eq!(summary.times, stats.times);
    assert!(!stats.times.tantivy.is_zero() && !stats.times.neighbors.is_zero());
    let next = writer.commit().unwrap();
    assert!(next.times.encode.is_zero());
}

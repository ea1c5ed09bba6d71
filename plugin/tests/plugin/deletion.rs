//! Deletions of many documents at once.

use std::thread;

use autotag::{Datastore, StorageOptions};
use tantivy::Term;
use tantivy::query::{AllQuery, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy_autotag::{Correction, WriterOptions};

use crate::support::{
    Fixture, LABELS, Words, chunks_of, datastore_options, document, keys, neighbor_keys,
};
use crate::verify::Sample;

fn of_word(field: Field, word: &str) -> Box<dyn Query> {
    let term = Term::from_field_text(field, word);
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

#[test]
fn a_query_deletes_documents_with_their_neighbors_and_records() {
    let sample = Sample::new();
    let writer = sample.writer();
    let (_, fields) = sample.index().index().unwrap();
    let purring = of_word(fields.texts[0], "purring");
    // Of 20 labeled documents, one was deleted, and two have other texts.
    assert_eq!(writer.delete_query(&*purring).unwrap(), 17);
    assert_eq!(keys(&sample.index().searcher().unwrap()).len(), 39, "nothing is committed");
    let summary = writer.commit().unwrap();
    assert_eq!(summary.deleted, 17);
    assert_eq!(writer.delete_query(&*purring).unwrap(), 0);
    writer.close().unwrap();
    let report = sample.verify();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!((report.documents, report.neighbors), (Some(22), Some(1)));
    assert_eq!(report.training, 1);
}

#[test]
fn a_query_leaves_documents_alone_that_were_changed_since_the_last_commit() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    for key in ["same", "changed", "corrected"] {
        writer.add_labeled(fixture.document(key, "oven"), ["cat"]).unwrap();
    }
    writer.commit().unwrap();
    writer.add(fixture.document("changed", "library")).unwrap();
    writer.add_labeled(fixture.document("new", "oven"), ["dog"]).unwrap();
    writer.correct("corrected", &Correction::set(["dog"])).unwrap();
    let oven = of_word(fixture.fields.texts[0], "oven");
    assert_eq!(writer.delete_query(&*oven).unwrap(), 1);
    writer.commit().unwrap();
    assert_eq!(fixture.keys(), ["changed", "corrected", "new"]);
    assert_eq!(fixture.neighbor_keys(), ["corrected", "new"]);
    // Committed, they are found.
    assert_eq!(writer.delete_query(&*oven).unwrap(), 2);
    writer.commit().unwrap();
    assert_eq!(fixture.keys(), ["changed"]);
}

#[test]
fn operations_after_a_deletion_by_query_come_after_it() {
    let fixture = Fixture::new();
    let writer = fixture.open(Words::new(&LABELS), chunks_of(2)).unwrap();
    for key in ["a", "b", "c"] {
        writer.add(fixture.document(key, "program")).unwrap();
    }
    let generation = writer.commit().unwrap().generation;
    assert_eq!(writer.delete_query(&AllQuery).unwrap(), 3);
    writer.add(fixture.document("b", "library")).unwrap();
    assert_eq!(writer.commit().unwrap().generation, generation + 1, "none was made in between");
    assert_eq!(fixture.keys(), ["b"]);
    assert_eq!(fixture.tags("b"), ["/role/library"]);
}

#[test]
fn a_deletion_by_query_ends_while_others_commit() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    for number in 0..300 {
        writer.add_labeled(fixture.document(&format!("old {number}"), "oven"), ["cat"]).unwrap();
    }
    writer.commit().unwrap();
    let oven = of_word(fixture.fields.texts[0], "oven");
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..10 {
                writer.add(fixture.document(&format!("new {number}"), "program")).unwrap();
                writer.commit().unwrap();
            }
        });
        writer.delete_query(&*oven).unwrap();
    });
    writer.commit().unwrap();
    assert_eq!(fixture.keys().len(), 10);
    assert_eq!(fixture.neighbor_keys(), [""; 0]);
}

#[test]
fn all_documents_are_deleted_and_new_ones_take_their_place_in_one_commit() {
    let sample = Sample::new();
    let writer = sample.writer();
    let (_, fields) = sample.index().index().unwrap();
    writer.add_labeled(document(&fields, "uncommitted", "oven"), ["cat"]).unwrap();
    writer.delete_all().unwrap();
    writer.add(document(&fields, "plain 1", "library")).unwrap();
    writer.add_labeled(document(&fields, "human 1", "oven"), ["dog"]).unwrap();
    assert_eq!(keys(&sample.index().searcher().unwrap()).len(), 39, "nothing is committed");
    writer.commit().unwrap();
    assert_eq!(keys(&sample.index().searcher().unwrap()), ["human 1", "plain 1"]);
    writer.close().unwrap();
    let report = sample.verify();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!((report.neighbors, report.training), (Some(2), 1));
    assert_eq!(neighbor_keys(&sample.index().datastore().unwrap()), ["human 1", "seed"]);
}

#[test]
fn all_is_forgotten_that_people_said_of_deleted_documents() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    writer.correct("a", &Correction::set(["cat"])).unwrap();
    writer.commit().unwrap();
    writer.correct("a", &Correction::set(["dog"])).unwrap();
    writer.delete_all().unwrap();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.tags("a"), ["/role/program"]);
    assert_eq!(fixture.neighbor_keys(), [""; 0]);
}

#[test]
fn neighbors_are_deleted_whether_they_are_in_memory_or_staged_on_disk() {
    for staged_bytes in [0, 1000, 1 << 20] {
        let fixture = Fixture::new();
        let storage = StorageOptions { staged_bytes, ..StorageOptions::default() };
        let folder = fixture.folder.path().join("spilling");
        let datastore =
            Datastore::create_with(&folder, &datastore_options(&LABELS), storage).unwrap();
        let fixture = Fixture { datastore, ..fixture };
        let writer = fixture.open(Words::new(&LABELS), chunks_of(3)).unwrap();
        for number in 0..40 {
            let document = fixture.document(&format!("{number}"), "oven");
            writer.add_labeled(document, ["cat"]).unwrap();
            if number == 20 {
                writer.commit().unwrap();
            }
        }
        writer.delete_all().unwrap();
        writer.commit().unwrap();
        assert_eq!(fixture.neighbor_keys(), [""; 0], "{staged_bytes}");
        let reader = fixture.datastore.reader().unwrap();
        assert_eq!(reader.document_keys().unwrap(), [""; 0], "{staged_bytes}");
        assert_eq!(fixture.keys(), [""; 0]);
    }
}

#[test]
fn a_deletion_that_is_not_committed_is_lost() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "oven"), ["cat"]).unwrap();
    writer.commit().unwrap();
    writer.delete_all().unwrap();
    drop(writer);
    let writer = fixture.open(Words::new(&LABELS), WriterOptions::default()).unwrap();
    writer.delete_query(&AllQuery).unwrap();
    drop(writer);
    drop(fixture.writer());
    assert_eq!((fixture.keys(), fixture.neighbor_keys()), (vec!["a".into()], vec!["a".into()]));
}

#[test]
fn a_rollback_brings_deleted_documents_back() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    writer.correct("a", &Correction::set(["cat"])).unwrap();
    writer.commit().unwrap();
    writer.delete_all().unwrap();
    writer.rollback().unwrap();
    assert_eq!(writer.delete_query(&AllQuery).unwrap(), 1);
    writer.rollback().unwrap();
    // The correction is not forgotten either.
    writer.add(fixture.document("a", "library")).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.tags("a"), ["/cat"]);
    assert_eq!(fixture.neighbor_keys(), ["a"]);
}

//! Merges of segments while documents are replaced.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tantivy::indexer::{MergePolicy, NoMergePolicy};
use tantivy::{IndexWriter, TantivyDocument, Term};
use tantivy_autotag::{Error, Problem, WriterOptions};

use crate::support::{Fixture, LABELS, Words, chunks_of, document, tagger};
use crate::verify::{Sample, flip};

/// Deletes documents as the writer does, but merges nothing, and keeps what autotag says of the
/// last commit.
fn delete_without_merging(fixture: &Fixture, keys: &[String]) {
    let payload = fixture.index.load_metas().unwrap().payload.unwrap();
    let mut plain: IndexWriter<TantivyDocument> = fixture.index.writer(15_000_000).unwrap();
    plain.set_merge_policy(Box::new(NoMergePolicy));
    for key in keys {
        plain.delete_term(Term::from_field_text(fixture.fields.key, key));
    }
    let mut prepared = plain.prepare_commit().unwrap();
    prepared.set_payload(&payload);
    prepared.commit().unwrap();
}

#[test]
fn the_first_operation_after_opening_is_no_part_of_the_commit_before() {
    let fixture = Fixture::new();
    let keys = |prefix: &str, n: usize| -> Vec<String> {
        (0..n).map(|number| format!("{prefix} {number}")).collect()
    };
    // A large segment, and a small one of which so much is deleted that both are to be merged.
    for keys in [keys("large", 9), keys("small", 6)] {
        let writer = fixture.open(Words::new(&LABELS), chunks_of(4)).unwrap();
        for key in keys {
            writer.add(fixture.document(&key, "program")).unwrap();
        }
        writer.commit().unwrap();
        writer.close().unwrap();
    }
    delete_without_merging(&fixture, &keys("small", 3));

    // Tantivy gives the first operation the last commit's number.
    let writer = fixture.open(Words::new(&LABELS), chunks_of(4)).unwrap();
    writer.add(fixture.document("small 4", "library")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let mut expected = keys("large", 9);
    expected.extend(keys("small", 6).split_off(3));
    assert_eq!(fixture.keys(), expected);
    assert_eq!(fixture.tags("small 4"), ["/role/library"]);
    assert_eq!(fixture.index.load_metas().unwrap().segments.len(), 2, "two were merged");
}

/// Returns the number of segments of the last commit.
fn n_segments(fixture: &Fixture) -> usize {
    fixture.index.searchable_segment_ids().unwrap().len()
}

#[test]
fn segments_are_merged_on_request() {
    let fixture = Fixture::new();
    let merge_policy: Option<Arc<dyn MergePolicy>> = Some(Arc::new(NoMergePolicy));
    let options = WriterOptions::new().merge_policy(merge_policy);
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    for key in ["a", "b", "c", "d"] {
        writer.add_labeled(fixture.document(key, "program"), ["cat"]).unwrap();
        writer.commit().unwrap();
    }
    let segments = fixture.index.searchable_segment_ids().unwrap();
    assert_eq!(writer.merge(&[]).unwrap(), None);
    let merged = writer.merge(&segments[..2]).unwrap().unwrap();
    let after = fixture.index.searchable_segment_ids().unwrap();
    assert!(after.contains(&merged) && after.len() == 3);
    assert!(matches!(writer.merge(&segments), Err(Error::Tantivy { .. })));

    // Uncommitted work is neither lost nor published.
    writer.delete("a").unwrap();
    writer.add(fixture.document("e", "program")).unwrap();
    writer.merge_all().unwrap();
    assert_eq!(n_segments(&fixture), 1);
    assert_eq!(fixture.keys(), ["a", "b", "c", "d"]);
    writer.commit().unwrap();
    assert_eq!(fixture.keys(), ["b", "c", "d", "e"]);
    assert_eq!(fixture.neighbor_keys(), ["b", "c", "d"]);
    // A merge of one segment takes its deleted documents away; without documents nothing is left.
    writer.delete_all().unwrap();
    writer.commit().unwrap();
    assert_eq!(writer.merge_all().unwrap(), None);
    writer.garbage_collect().unwrap();
}

#[test]
fn a_damaged_segment_is_not_merged_on_request_either() {
    let sample = Sample::new();
    let merge_policy: Option<Arc<dyn MergePolicy>> = Some(Arc::new(NoMergePolicy));
    let options = WriterOptions::new().merge_policy(merge_policy);
    let writer = sample.index().writer(tagger(Words::new(&LABELS)), options).unwrap();
    let (index, fields) = sample.index().index().unwrap();
    writer.add(document(&fields, "new", "program")).unwrap();
    writer.commit().unwrap();
    let newest = index.searchable_segment_ids().unwrap();
    for store in stores_of(&sample) {
        flip(&store, 5, 0);
    }
    assert!(matches!(writer.merge_all(), Err(Error::SegmentDamaged { .. })));
    assert_eq!(index.searchable_segment_ids().unwrap(), newest);
}

fn stores_of(sample: &Sample) -> Vec<PathBuf> {
    let is_store = |path: &PathBuf| path.extension().is_some_and(|e| e == "store");
    let files = fs::read_dir(sample.path()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(is_store).collect()
}

#[test]
fn a_segment_that_is_damaged_while_others_write_is_not_merged() {
    let sample = Sample::new();
    let (_, fields) = sample.index().index().unwrap();
    let writer = sample.writer();
    let damaged = stores_of(&sample);
    for store in &damaged {
        let length = fs::metadata(store).unwrap().len() as usize;
        flip(store, length / 3, 2);
    }
    // So many small segments would be merged with the first ones.
    for number in 0..12 {
        writer.add(document(&fields, &format!("new {number}"), "program")).unwrap();
        writer.commit().unwrap();
    }
    writer.close().unwrap();
    let problems = sample.verify().problems;
    for store in &damaged {
        let path = PathBuf::from(store.file_name().unwrap());
        assert!(problems.contains(&Problem::DamagedFile { path }), "{problems:?}");
    }
}

#[test]
fn a_damaged_segment_is_neither_read_nor_written_to() {
    let sample = Sample::new();
    let store = stores_of(&sample).remove(0);
    flip(&store, 20, 1);
    let index = sample.index();
    assert!(matches!(index.searcher(), Err(Error::SegmentDamaged { .. })));
    let opened = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default());
    let message = opened.err().unwrap().to_string();
    assert!(message.contains("autotag repair"), "{message}");
}

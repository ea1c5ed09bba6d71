//! Changes that another program makes to the index between two writers.

use autotag::{Proportion, Tagger};
use tantivy::{IndexWriter, TantivyDocument, Term};
use tantivy_autotag::{IndexFolder, OutsideChanges, Problem, TaggingWriter, WriterOptions};

use crate::support::{Fixture, LABELS, Words, document, neighbor_keys, paths, tagger};
use crate::verify::Sample;

/// Returns a tagger by which the neighbors alone decide.
fn by_neighbors() -> Tagger<Words> {
    let mut tagger = tagger(Words::new(&LABELS));
    tagger.interpolation.proportion = Proportion::new(1.0).unwrap();
    tagger
}

/// An index with two labeled documents, `cat` and `dog`, which another program deletes and replaces.
pub(crate) fn changed() -> Sample {
    let sample = Sample::new();
    let (_, fields) = sample.index().index().unwrap();
    let writer = sample.writer();
    writer.delete_all().unwrap();
    writer.add_labeled(document(&fields, "cat", "purring purring"), ["cat"]).unwrap();
    writer.add_labeled(document(&fields, "dog", "barking barking"), ["dog"]).unwrap();
    writer.add(document(&fields, "tagged", "library")).unwrap();
    writer.add(document(&fields, "gone", "program")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();

    let (index, _) = sample.index().index().unwrap();
    let mut plain: IndexWriter<TantivyDocument> = index.writer(15_000_000).unwrap();
    for key in ["cat", "dog", "gone"] {
        plain.delete_term(Term::from_field_text(fields.key, key));
    }
    plain.add_document(document(&fields, "dog", "program")).unwrap();
    plain.add_document(document(&fields, "foreign", "library")).unwrap();
    plain.add_document(TantivyDocument::new()).unwrap();
    plain.commit().unwrap();
    plain.wait_merging_threads().unwrap();
    sample
}

#[test]
fn neighbors_whose_document_is_gone_do_not_vote_from_the_opening_on() {
    let sample = changed();
    let problems = sample.verify().problems;
    assert!(problems.contains(&Problem::UnknownCommit), "{problems:?}");
    assert!(problems.contains(&Problem::NoDocument { key: "cat".into() }), "{problems:?}");

    let folder = sample.index();
    let (_, fields) = folder.index().unwrap();
    let writer = folder.writer(by_neighbors(), WriterOptions::default()).unwrap();
    let outside: &OutsideChanges = writer.outside_changes().unwrap();
    let mut untagged = outside.untagged_keys.clone();
    untagged.sort();
    assert_eq!(untagged, ["dog", "foreign"]);
    assert_eq!((outside.untagged, outside.without_key, outside.forgotten), (2, 1, 3));
    // Before any commit of the caller's.
    writer.add(document(&fields, "new", "purring purring")).unwrap();
    writer.commit().unwrap();
    assert_eq!(tags(&folder, "new"), ["/role/program"], "of the training set");
    writer.close().unwrap();
    assert_eq!(neighbor_keys(&folder.datastore().unwrap()), ["seed"]);
}

fn tags(folder: &IndexFolder, key: &str) -> Vec<String> {
    paths(&folder.searcher().unwrap().document(key).unwrap().unwrap())
}

/// The commit of an opening starts merges, whose files belong to no commit yet.
#[test]
fn merges_that_an_opening_starts_keep_their_files() {
    for _ in 0..12 {
        let sample = changed();
        let writer = sample.writer();
        writer.retag("", |_| {}).unwrap();
        writer.close().unwrap();
        let problems = sample.verify().problems;
        let is_damage = |problem: &Problem| matches!(problem, Problem::DamagedFile { .. });
        assert!(!problems.iter().any(is_damage), "{problems:?}");
    }
}

#[test]
fn what_is_mended_stays_so_without_a_commit_of_the_callers() {
    let sample = changed();
    drop(sample.writer());
    let problems = sample.verify().problems;
    let is_of_key = |problem: &Problem| match problem {
        Problem::NoKey => true,
        Problem::Count { what, .. } => *what == "keys",
        _ => false,
    };
    assert!(problems.contains(&Problem::NoKey), "what has no key stays, and is told");
    assert!(problems.iter().all(is_of_key), "{problems:?}");
    assert_eq!(sample.writer().outside_changes(), None);
    assert_eq!(neighbor_keys(&sample.index().datastore().unwrap()), ["seed"]);
}

#[test]
fn documents_that_came_without_autotag_are_tagged_by_tagging_again() {
    let sample = changed();
    let writer = sample.writer();
    writer.retag("", |_| {}).unwrap();
    writer.close().unwrap();
    let folder = sample.index();
    assert_eq!(tags(&folder, "dog"), ["/role/program"]);
    assert!(!tags(&folder, "foreign").is_empty());
}

#[test]
fn neighbors_that_never_had_a_document_are_nobodys_to_remove() {
    let fixture = Fixture::new();
    let mut own = fixture.datastore.writer().unwrap();
    let embedding = autotag::Embedding::new(vec![1.0; crate::support::DIMENSIONS]).unwrap();
    own.put("mine", &embedding, &["cat"], autotag::Source::Human).unwrap();
    own.commit().unwrap();
    drop(own);
    let mut plain: IndexWriter<TantivyDocument> = fixture.index.writer(15_000_000).unwrap();
    plain.add_document(fixture.document("plain", "program")).unwrap();
    plain.commit().unwrap();
    plain.wait_merging_threads().unwrap();
    let writer: TaggingWriter<Words> = fixture.writer();
    let outside = writer.outside_changes().unwrap();
    assert_eq!((outside.untagged, outside.forgotten), (1, 0));
    assert_eq!(fixture.neighbor_keys(), ["mine"]);
}

#[test]
fn an_index_that_only_autotag_wrote_has_no_outside_changes() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    assert_eq!(writer.outside_changes(), None, "nobody has committed yet");
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    drop(writer);
    assert_eq!(fixture.writer().outside_changes(), None);
}

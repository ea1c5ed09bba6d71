//! Moving an index to another encoder, and mending a damaged one.

use std::fs;
use std::path::{Path, PathBuf};

use autotag::{Datastore, Fingerprint, Proportion, Source};
use tantivy_autotag::{
    Correction, Error, IndexFolder, LabelChange, RepairReport, TaggingWriter, WriterOptions,
};

use crate::support::{LABELS, Words, datastore_options, document, paths, tagger};
use crate::verify::{Sample, embedding, flip};

pub(crate) const OTHER: Fingerprint = Fingerprint([9; 32]);

/// The training set of another bundle: with other labels before those that both have.
const OTHER_LABELS: [&str; 3] = ["use::new", "role::program", "use::editing"];

pub(crate) fn other_encoder() -> Words {
    Words::new(&OTHER_LABELS).with_fingerprint(9)
}

pub(crate) fn other_seed(folder: &Path) -> Datastore {
    let mut options = datastore_options(&OTHER_LABELS);
    options.encoder = OTHER;
    let seed = Datastore::create(&folder.join("other seed"), &options).unwrap();
    let mut writer = seed.writer().unwrap();
    writer.put("other seed", &embedding(), &["use::new"], Source::Training).unwrap();
    writer.commit().unwrap();
    drop(writer);
    seed
}

fn migrate(sample: &Sample) -> IndexFolder {
    let mut index = sample.index();
    let seed = other_seed(sample.path().parent().unwrap());
    let moved = index.migrate(&tagger(other_encoder()), &seed, "other bundle", |_| {}).unwrap();
    assert_eq!((moved.labeled, moved.encoded, moved.failed), (17, 17, vec![]));
    index
}

/// Tags by the model alone.
fn writer(index: &IndexFolder) -> TaggingWriter<Words> {
    let mut tagger = tagger(other_encoder());
    tagger.interpolation.proportion = Proportion::MODEL;
    index.writer(tagger, WriterOptions::default()).unwrap()
}

fn tags(index: &IndexFolder, key: &str) -> Vec<String> {
    paths(&index.searcher().unwrap().document(key).unwrap().unwrap())
}

fn folders(sample: &Sample) -> Vec<String> {
    let entries = fs::read_dir(sample.path().join("autotag")).unwrap();
    let entries = entries.map(|entry| entry.unwrap()).filter(|e| e.path().is_dir());
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn another_bundle_is_refused_with_the_command_that_moves_the_index() {
    let sample = Sample::new();
    let refused = sample.index().writer(tagger(other_encoder()), WriterOptions::default());
    let message = refused.err().unwrap().to_string();
    for part in ["autotag migrate", &"07".repeat(32), &"09".repeat(32)] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_an_earlier_move_left_is_not_taken_for_the_beginning_of_the_next() {
    let sample = Sample::new();
    let (_, fields) = sample.index().index().unwrap();
    let mut index = migrate(&sample);
    let move_back = |index: &mut IndexFolder| {
        let moved = index.migrate(&tagger(Words::new(&LABELS)), &sample.seed(), "first", |_| {});
        moved.unwrap();
    };
    move_back(&mut index);
    // Unlike `IndexFolder::writer`, this removes nothing.
    let (tantivy, _) = index.index().unwrap();
    let (store, tagger) = (index.datastore().unwrap(), tagger(Words::new(&LABELS)));
    let options = WriterOptions::default();
    let writer = TaggingWriter::open(tantivy, store, tagger, fields.clone(), options).unwrap();
    writer.add_labeled(document(&fields, "plain 1", "purring oven"), ["cat"]).unwrap();
    writer.delete("human 1").unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let seed = Datastore::open_read_only(&sample.path().with_file_name("other seed"), &OTHER);
    let other = crate::support::tagger(other_encoder());
    let moved = index.migrate(&other, &seed.unwrap(), "other bundle", |_| {}).unwrap();
    assert_eq!((moved.labeled, moved.failed.len()), (17, 0));
    assert_eq!(sample.verify().problems, []);
}

#[test]
fn an_index_is_moved_to_the_encoder_that_it_has_again_and_again() {
    let sample = Sample::new();
    let before = sample.verify();
    for _ in 0..3 {
        let mut index = sample.index();
        let moved = index.migrate(&tagger(Words::new(&LABELS)), &sample.seed(), "again", |_| {});
        assert_eq!(moved.unwrap().labeled, 17);
        let after = sample.verify();
        assert!(after.is_sound(), "{after:#?}");
        assert_eq!((after.labeled, after.neighbors), (before.labeled, before.neighbors));
    }
}

#[test]
fn a_moved_index_keeps_what_people_said() {
    let sample = Sample::new();
    let first = sample.writer();
    first.correct("plain 1", &Correction::change(["cat"], ["role::program"])).unwrap();
    let retired = LabelChange::Retire { label: "use::editing".into() };
    first.change_labels(&retired, |_| {}).unwrap();
    let renamed = LabelChange::Rename { label: "cat".into(), name: "animal::cat".into() };
    first.change_labels(&renamed, |_| {}).unwrap();
    first.correct("plain 2", &Correction::change([""; 0], ["role::program"])).unwrap();
    let (_, fields) = sample.index().index().unwrap();
    // Tagged, with a rejection.
    first.add(document(&fields, "plain 2", "program library")).unwrap();
    first.commit().unwrap();
    first.close().unwrap();

    let mut index = sample.index();
    let seed = other_seed(sample.path().parent().unwrap());
    let moved = index.migrate(&tagger(other_encoder()), &seed, "other bundle", |_| {}).unwrap();
    assert_eq!((moved.labeled, moved.failed.len()), (18, 0));
    let index = sample.index();
    assert_eq!((index.encoder(), index.bundle()), (OTHER, "other bundle"));
    let report = index.verify().unwrap();
    assert!(report.is_sound() && report.is_migrated, "{report:#?}");

    let writer = writer(&index);
    assert_eq!(folders(&sample).len(), 1, "the old datastore is gone");
    writer.retag("", |_| {}).unwrap();
    writer.add_labeled(document(&fields, "late", "reef"), ["cat", "use::editing"]).unwrap();
    writer.add(document(&fields, "later", "program editing new")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    assert_eq!(tags(&index, "plain 1"), ["/animal/cat"]);
    assert_eq!(tags(&index, "late"), ["/animal/cat"]);
    assert!(!tags(&index, "plain 2").contains(&"/role/program".to_owned()));
    let later = tags(&index, "later");
    assert!(later.contains(&"/use/new".to_owned()), "{later:?}");
    assert!(!later.contains(&"/use/editing".to_owned()), "{later:?}");
    let report = index.verify().unwrap();
    assert!(report.is_sound() && !report.is_migrated, "{report:#?}");
}

#[test]
fn a_job_that_was_interrupted_begins_anew_in_a_moved_index() {
    let sample = Sample::new();
    let first = sample.writer();
    first.retag("", |_| first.interrupt_job()).unwrap();
    assert!(first.unfinished_job().unwrap().after.is_some());
    first.close().unwrap();
    let index = migrate(&sample);
    let writer = writer(&index);
    assert_eq!(writer.unfinished_job().unwrap().after, None);
    // Also those that were tagged again before, by the other encoder.
    assert_eq!(writer.resume(|_| {}).unwrap().documents, 21);
    writer.close().unwrap();
    assert!(index.verify().unwrap().is_sound());
}

#[test]
fn moving_goes_on_where_it_was_interrupted_and_is_dropped_by_whoever_writes() {
    let sample = Sample::new();
    let description = sample.path().join("autotag/index.json");
    let before = fs::read(&description).unwrap();
    let index = migrate(&sample);
    // As if the process had died before the index was pointed to the new datastore.
    fs::write(&description, before).unwrap();
    let generation = index.verify().unwrap().generation.to_string();
    fs::write(index.datastore_path().join("begun"), generation).unwrap();
    let mut again = sample.index();
    let seed =
        Datastore::open_read_only(&sample.path().parent().unwrap().join("other seed"), &OTHER);
    let moved = again.migrate(&tagger(other_encoder()), &seed.unwrap(), "other bundle", |_| {});
    assert_eq!(moved.unwrap().encoded, 0, "all was done");
    assert_eq!(again.datastore_path(), index.datastore_path());
    assert!(again.verify().unwrap().is_sound());

    let sample = Sample::new();
    let before = fs::read(sample.path().join("autotag/index.json")).unwrap();
    migrate(&sample);
    fs::write(sample.path().join("autotag/index.json"), before).unwrap();
    drop(sample.writer());
    assert_eq!(folders(&sample), ["datastore"]);
}

#[test]
fn an_index_that_is_written_to_cannot_be_moved() {
    let sample = Sample::new();
    let writer = sample.writer();
    let seed = other_seed(sample.path().parent().unwrap());
    let mut index = sample.index();
    let refused = index.migrate(&tagger(other_encoder()), &seed, "other bundle", |_| {});
    assert!(matches!(refused, Err(Error::InUse)), "{refused:?}");
    drop(writer);
    assert_eq!(sample.index().encoder(), Fingerprint([7; 32]));
}

fn repair(sample: &Sample) -> RepairReport {
    let report =
        sample.index().repair(&tagger(Words::new(&LABELS)), &sample.seed(), |_| {}).unwrap();
    assert!(report.after.is_sound(), "{report:#?}");
    report
}

#[test]
fn a_sound_index_is_left_alone() {
    let sample = Sample::new();
    let report = repair(&sample);
    assert!(report.rebuilt.is_none() && report.set_aside.is_empty());
}

#[test]
fn a_damaged_datastore_is_made_anew() {
    let sample = Sample::new();
    let file = sample.index().datastore_path().join("data.mdb");
    let length = fs::metadata(&file).unwrap().len() as usize;
    flip(&file, length / 2, 1);
    let report = repair(&sample);
    assert!(report.forgot);
    // Of the 17 that voted, 5 have no label and cannot be told from tagged ones.
    assert_eq!((report.rebuilt.unwrap().labeled, report.after.neighbors), (12, Some(13)));
    assert_eq!((report.after.documents, report.after.labeled), (Some(39), 13));
}

#[test]
fn a_datastore_that_disagrees_is_made_to_agree() {
    let sample = Sample::new();
    let problems = sample.problems_after(|datastore| {
        datastore.put("ghost", &embedding(), &["cat"], Source::Human).unwrap();
        datastore.delete("human 1").unwrap();
    });
    assert!(!problems.is_empty());
    let report = repair(&sample);
    assert!(!report.forgot);
    assert_eq!(report.after.neighbors, Some(18));
}

#[test]
fn damaged_segments_are_set_aside_and_their_documents_named() {
    let sample = Sample::new();
    let is_store = |path: &PathBuf| path.extension().is_some_and(|e| e == "store");
    let files = fs::read_dir(sample.path()).unwrap().map(|entry| entry.unwrap().path());
    let stores: Vec<PathBuf> = files.filter(is_store).collect();
    flip(&stores[0], 20, 1);
    let report = repair(&sample);
    assert!(report.documents_lost > 0);
    // Of the one that could not be encoded the datastore knows nothing.
    assert!(report.lost.len() as u64 + 1 >= report.documents_lost, "{report:#?}");
    assert_eq!(report.after.documents, Some(39 - report.documents_lost));
    let aside = sample.path().join("autotag/damaged");
    assert!(report.set_aside.iter().all(|file| aside.join(file).is_file()));
    drop(sample.writer());
    assert!(aside.join("meta.json").is_file(), "it stays until a person removes it");
}

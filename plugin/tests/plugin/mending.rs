//! Migration to another encoder, and repair of a damaged index.

use std::fs;
use std::path::{Path, PathBuf};

use autotag::{Datastore, Fingerprint, Proportion, Source};
use tantivy_autotag::{
    BundleSource, Correction, Error, IndexFolder, LabelChange, RebuildReport, RepairReport,
    TaggingWriter, WriterOptions,
};

use crate::support::{LABELS, Words, bundle, copy, datastore_options, document, paths, tagger};
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
    let moved = move_to(&mut index, other_encoder(), &bundle("other bundle", &seed));
    assert_eq!((moved.labeled, moved.encoded, moved.failed), (17, 17, vec![]));
    index
}

/// Moves an index, and closes the writer at once.
pub(crate) fn move_to(
    index: &mut IndexFolder,
    encoder: Words,
    bundle: &BundleSource<'_>,
) -> RebuildReport {
    let moved = index.migrate(tagger(encoder), bundle, WriterOptions::default(), |_| {});
    let (writer, rebuilt) = moved.unwrap();
    writer.close().unwrap();
    rebuilt
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
    move_to(&mut index, Words::new(&LABELS), &bundle("first", &sample.seed()));
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
    let moved = move_to(&mut index, other_encoder(), &bundle("other bundle", &seed.unwrap()));
    assert_eq!((moved.labeled, moved.failed.len()), (17, 0));
    assert_eq!(sample.verify().problems, []);
}

#[test]
fn an_index_is_moved_to_the_encoder_that_it_has_again_and_again() {
    let sample = Sample::new();
    let before = sample.verify();
    for number in 0..3 {
        let mut index = sample.index();
        let seed = sample.seed();
        let fingerprint = Fingerprint([number; 32]);
        let again = BundleSource { fingerprint, ..bundle("again", &seed) };
        assert_eq!(move_to(&mut index, Words::new(&LABELS), &again).labeled, 17);
        let after = sample.verify();
        assert!(after.is_sound(), "{after:#?}");
        assert_eq!((after.labeled, after.neighbors), (before.labeled, before.neighbors));
    }
}

#[test]
fn a_corrected_document_that_the_other_encoder_cannot_read_stays_corrected() {
    let sample = Sample::new();
    let (_, fields) = sample.index().index().unwrap();
    let first = sample.writer();
    first.add(document(&fields, "plain 1", "unreadable later")).unwrap();
    first.commit().unwrap();
    first
        .correct("plain 1", &Correction::add(["cat"]).and(Correction::reject(["role::program"])))
        .unwrap();
    first.commit().unwrap();
    first.close().unwrap();
    let mut index = sample.index();
    let seed = other_seed(sample.path().parent().unwrap());
    let encoder = other_encoder().failing_on("unreadable");
    let moved = move_to(&mut index, encoder, &bundle("other bundle", &seed));
    assert_eq!(moved.failed, ["plain 1"]);
    let writer = writer(&index);
    writer.add(document(&fields, "plain 1", "a program comes again")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    assert_eq!(tags(&index, "plain 1"), ["/cat"]);
}

#[test]
fn an_encoder_that_fails_on_everything_ends_a_move_and_the_index_stays_as_it_was() {
    let sample = Sample::new();
    let (_, fields) = sample.index().index().unwrap();
    let first = sample.writer();
    for number in 0..200 {
        let document = document(&fields, &format!("more {number:03}"), "lost device");
        first.add_labeled(document, ["cat"]).unwrap();
    }
    first.commit().unwrap();
    first.close().unwrap();
    let mut index = sample.index();
    let seed = other_seed(sample.path().parent().unwrap());
    let bundle = bundle("other bundle", &seed);
    let broken = tagger(other_encoder().failing_on("lost"));
    let moved = index.migrate(broken, &bundle, WriterOptions::default(), |_| {});
    assert!(matches!(moved, Err(Error::EncoderFailed { n_texts: 128, .. })), "{moved:?}");
    let report = sample.verify();
    assert!(report.is_sound() && report.labeled == 213, "{report:#?}");
    assert_eq!(move_to(&mut sample.index(), other_encoder(), &bundle).labeled, 217);
}

#[test]
fn a_moved_index_keeps_what_people_said() {
    let sample = Sample::new();
    let first = sample.writer();
    first
        .correct("plain 1", &Correction::add(["cat"]).and(Correction::reject(["role::program"])))
        .unwrap();
    let retired = LabelChange::Retire { label: "use::editing".into() };
    first.change_labels(&retired, |_| {}).unwrap();
    let renamed = LabelChange::Rename { label: "cat".into(), name: "animal::cat".into() };
    first.change_labels(&renamed, |_| {}).unwrap();
    first.correct("plain 2", &Correction::reject(["role::program"])).unwrap();
    first.commit().unwrap();
    let (_, fields) = sample.index().index().unwrap();
    // Tagged, with a rejection.
    first.add(document(&fields, "plain 2", "program library")).unwrap();
    first.commit().unwrap();
    first.close().unwrap();

    let mut index = sample.index();
    let seed = other_seed(sample.path().parent().unwrap());
    let mut other = tagger(other_encoder());
    other.interpolation.proportion = Proportion::MODEL;
    let options = WriterOptions::default();
    let moved = index.migrate(other, &bundle("other bundle", &seed), options, |_| {});
    let (writer, moved) = moved.unwrap();
    // Those labeled, and the two that were corrected.
    assert_eq!((moved.labeled, moved.failed.len()), (19, 0));
    let index = sample.index();
    assert_eq!((index.encoder(), index.bundle()), (OTHER, Some(Path::new("other bundle"))));
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

/// An index as it is when its move dies before the index is pointed to the new datastore.
fn half_moved() -> Sample {
    let sample = Sample::new();
    let own = sample.path().join("autotag");
    let before = own.with_file_name("before");
    copy(&own, &before);
    let index = migrate(&sample);
    let generation = index.verify().unwrap().generation;
    let new = before.join(index.datastore_path().file_name().unwrap());
    copy(&index.datastore_path(), &new);
    fs::write(new.join("begun"), format!("{generation} {OTHER}")).unwrap();
    fs::remove_dir_all(&own).unwrap();
    fs::rename(before, own).unwrap();
    sample
}

fn opened_seed(sample: &Sample) -> Datastore {
    Datastore::open_read_only(&sample.path().with_file_name("other seed"), &OTHER).unwrap()
}

#[test]
fn moving_goes_on_where_it_was_interrupted() {
    let sample = half_moved();
    let seed = opened_seed(&sample);
    let mut index = sample.index();
    let moved = move_to(&mut index, other_encoder(), &bundle("other bundle", &seed));
    assert_eq!(moved.encoded, 0, "all was done");
    assert!(index.verify().unwrap().is_sound());
}

#[test]
fn what_a_move_began_is_begun_anew_where_it_is_damaged() {
    let sample = half_moved();
    let name = folders(&sample).remove(1);
    let file = sample.path().join("autotag").join(name).join("data.mdb");
    fs::write(file, "no datastore at all").unwrap();
    let seed = opened_seed(&sample);
    let moved = move_to(&mut sample.index(), other_encoder(), &bundle("other bundle", &seed));
    assert_eq!(moved.encoded, 17);
    assert!(sample.verify().is_sound());
}

#[test]
fn a_move_to_one_bundle_is_not_the_beginning_of_a_move_to_another() {
    let sample = half_moved();
    let seed = opened_seed(&sample);
    // The same encoder, and so the same name were it the encoder's.
    let fingerprint = Fingerprint([8; 32]);
    let better = BundleSource { fingerprint, ..bundle("better bundle", &seed) };
    let moved = move_to(&mut sample.index(), other_encoder(), &better);
    assert_eq!(moved.encoded, 17, "nothing is taken over");
    assert_eq!(folders(&sample).len(), 1);
    assert!(sample.verify().is_sound());
}

#[test]
fn what_a_move_began_is_removed_by_whoever_writes_and_anything_else_set_aside() {
    let sample = half_moved();
    drop(sample.writer());
    assert_eq!(folders(&sample), ["datastore"]);

    let sample = half_moved();
    let name = folders(&sample).remove(1);
    // Nobody knows what made it: it may be the only one with what people said.
    fs::remove_file(sample.path().join("autotag").join(&name).join("begun")).unwrap();
    drop(sample.writer());
    assert_eq!(folders(&sample), ["datastore", "set-aside"]);
    assert!(sample.path().join("autotag/set-aside").join(name).join("data.mdb").is_file());
    assert!(sample.verify().is_sound());
}

#[test]
fn moving_to_a_bundle_with_the_same_encoder_brings_its_neighbors() {
    let sample = Sample::new();
    let path = sample.path().with_file_name("retrained");
    let seed = Datastore::create(&path, &datastore_options(&LABELS)).unwrap();
    let mut writer = seed.writer().unwrap();
    for key in ["new seed", "another"] {
        writer.put(key, &embedding(), &["use::editing"], Source::Training).unwrap();
    }
    writer.commit().unwrap();
    drop(writer);
    let fingerprint = Fingerprint([8; 32]);
    let retrained = BundleSource { fingerprint, ..bundle("retrained", &seed) };
    let mut index = sample.index();
    let moved = move_to(&mut index, Words::new(&LABELS), &retrained);
    assert_eq!((moved.labeled, moved.encoded), (17, 0), "the same encoder said it before");
    let report = sample.verify();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!((report.training, report.neighbors), (2, Some(19)));
    assert_eq!(index.bundle(), Some(Path::new("retrained")));
    // Once more: nothing is to be done.
    let again = move_to(&mut index, Words::new(&LABELS), &retrained);
    assert_eq!(again, RebuildReport::default());
}

#[test]
fn a_damaged_datastore_is_not_forgotten_by_a_move() {
    let sample = Sample::new();
    let file = sample.index().datastore_path().join("data.mdb");
    let length = fs::metadata(&file).unwrap().len() as usize;
    flip(&file, length / 2, 1);
    let seed = other_seed(sample.path().parent().unwrap());
    let (other, options) = (bundle("other bundle", &seed), WriterOptions::default());
    let refused = sample.index().migrate(tagger(other_encoder()), &other, options, |_| {});
    let message = format!("{:#}", anyhow::Error::from(refused.err().unwrap()));
    assert!(message.contains("repair"), "{message}");
    assert_eq!(sample.index().encoder(), Fingerprint([7; 32]));
}

#[test]
fn an_index_that_is_written_to_cannot_be_moved() {
    let sample = Sample::new();
    let writer = sample.writer();
    let seed = other_seed(sample.path().parent().unwrap());
    let mut index = sample.index();
    let before = fs::read(sample.path().join("autotag/index.json")).unwrap();
    let (other, options) = (bundle("other bundle", &seed), WriterOptions::default());
    let refused = index.migrate(tagger(other_encoder()), &other, options, |_| {});
    assert!(matches!(refused, Err(Error::InUse)));
    assert_eq!(fs::read(sample.path().join("autotag/index.json")).unwrap(), before);
    drop(writer);
    assert_eq!(sample.index().encoder(), Fingerprint([7; 32]));
}

fn repair(sample: &Sample) -> RepairReport {
    let seed = sample.seed();
    let encoder = tagger(Words::new(&LABELS));
    let report = sample.index().repair(&encoder, &bundle("bundle", &seed), |_| {}).unwrap();
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

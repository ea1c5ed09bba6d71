//! Random operations, compared with a reference model.

mod reference;

use std::collections::BTreeSet;

use autotag::{
    Datastore, DatastoreReader, Embedding, Fingerprint, LabelId, Proportion, Source,
    StorageOptions, Tagger, Temperature,
};
use proptest::prelude::*;
use tantivy::Term;
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy_autotag::{
    Correction, Error, IndexFolder, LabelChange, OnFailure, TagFields, TaggingWriter, Ticket,
    WriterOptions,
};
use tempfile::TempDir;

use crate::support::{
    DIMENSIONS, LABELS, Words, bundle, chunks_of, datastore_options, document, keys, schema, tagger,
};
use reference::{Change, Others, Reference, State};

const TEXTS: [&str; 4] = ["program oven", "library", "editing program", "oven reef"];

/// Words of these texts.
const WORDS: [&str; 3] = ["oven", "program", "library"];

/// Of the model, of nobody yet, and names that labels get by being renamed.
const NAMES: [&str; 8] =
    ["role::program", "role::library", "use::editing", "cat", "dog::small", "new", "new::er", "x"];

#[derive(Clone, Debug)]
enum Step {
    Add(u8, usize),
    Label(u8, usize, Vec<usize>),
    Fail(u8),
    Delete(u8),
    /// Says exactly which labels a document has.
    Correct(u8, Vec<usize>),
    /// Gives labels and rejects labels.
    Amend(u8, Vec<usize>, Vec<usize>),
    /// Says that all tags are right.
    Confirm(u8),
    Retag,
    Rename(usize, usize),
    Merge(usize, usize),
    Retire(usize),
    Restore(usize),
    /// Deletes the documents that have a word.
    DeleteQuery(usize),
    DeleteAll,
    Commit,
    Rollback,
    /// Drops the writer without a commit, verifies the index and opens another.
    Reopen,
    /// Drops the writer without a commit, and moves the index to another encoder.
    Migrate,
}

fn step() -> impl Strategy<Value = Step> {
    let (key, text, name) = (0u8..5, 0..TEXTS.len(), 0..NAMES.len());
    let names = || prop::collection::vec(0usize..5, 0..3);
    prop_oneof![
        6 => (key.clone(), text.clone()).prop_map(|(key, text)| Step::Add(key, text)),
        4 => (key.clone(), text, names()).prop_map(|(k, text, names)| Step::Label(k, text, names)),
        1 => key.clone().prop_map(Step::Fail),
        2 => key.clone().prop_map(Step::Delete),
        2 => (key.clone(), names()).prop_map(|(key, names)| Step::Correct(key, names)),
        1 => key.clone().prop_map(Step::Confirm),
        4 => (key, names(), names()).prop_map(|(key, add, remove)| Step::Amend(key, add, remove)),
        1 => Just(Step::Retag),
        1 => (name.clone(), 4..NAMES.len()).prop_map(|(label, name)| Step::Rename(label, name)),
        1 => (name.clone(), name.clone()).prop_map(|(label, into)| Step::Merge(label, into)),
        1 => name.clone().prop_map(Step::Retire),
        1 => name.prop_map(Step::Restore),
        1 => (0..WORDS.len()).prop_map(Step::DeleteQuery),
        1 => Just(Step::DeleteAll),
        2 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        2 => Just(Step::Reopen),
        1 => Just(Step::Migrate),
    ]
}

fn names(positions: &[usize]) -> Vec<&'static str> {
    positions.iter().map(|&position| NAMES[position]).collect()
}

fn key(number: u8) -> String {
    format!("k{number}")
}

/// An index on disk whose tags are foreseeable: the model's alone, since each of so many neighbors
/// has next to no weight.
struct World {
    folder: TempDir,
    encoder: u8,
    chunk: usize,
}

/// Something that writes to it.
struct Session {
    writer: TaggingWriter<Words>,
    index: IndexFolder,
    fields: TagFields,
    datastore: Datastore,
}

impl World {
    fn new(chunk: usize) -> Self {
        // In memory where there is such a folder: this is not about the disk, and goes on for long.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let world = World { folder, encoder: 7, chunk };
        let (schema, fields, _) = schema();
        let seed = world.seed("seed");
        IndexFolder::create(&world.path(), schema, &fields, &bundle("bundle", &seed)).unwrap();
        world
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("index")
    }

    /// Makes a training set without labels.
    fn seed(&self, name: &str) -> Datastore {
        let mut options = datastore_options(&LABELS);
        options.encoder = Fingerprint([self.encoder; 32]);
        let seed = Datastore::create(&self.folder.path().join(name), &options).unwrap();
        let mut writer = seed.writer().unwrap();
        for number in 0..50u8 {
            let vector: Vec<f32> =
                (0..DIMENSIONS).map(|d| 1.0 + f32::from(number) * d as f32 / 100.0).collect();
            let embedding = Embedding::new(vector).unwrap();
            writer.put(&format!("seed {number}"), &embedding, &[], Source::Training).unwrap();
        }
        writer.commit().unwrap();
        drop(writer);
        seed
    }

    fn tagger(&self) -> Tagger<Words> {
        let mut tagger = tagger(Words::new(&LABELS).with_fingerprint(self.encoder));
        tagger.interpolation.k = 100.try_into().unwrap();
        tagger.interpolation.temperature = Temperature::new(1000.0).unwrap();
        tagger.interpolation.proportion = Proportion::MODEL;
        tagger
    }

    fn open(&self) -> Session {
        let index = IndexFolder::open(&self.path()).unwrap();
        let storage = StorageOptions { initial_map_bytes: 1, staged_bytes: 1000, indexed_from: 0 };
        let (path, encoder) = (index.datastore_path(), index.encoder());
        let datastore = Datastore::open_with(&path, &encoder, storage).unwrap();
        let (tantivy, fields) = index.index().unwrap();
        let options = chunks_of(self.chunk).on_failure(OnFailure::Skip).tantivy_memory(15_000_000);
        let (tagger, store) = (self.tagger(), datastore.clone());
        let writer = TaggingWriter::open(tantivy, store, tagger, fields.clone(), options).unwrap();
        Session { writer, index, fields, datastore }
    }

    fn verify(&self) {
        let report = IndexFolder::open(&self.path()).unwrap().verify().unwrap();
        assert!(report.is_sound(), "{report:#?}");
    }

    fn migrate(&mut self) {
        self.encoder = if self.encoder == 7 { 9 } else { 7 };
        let name = format!("seed of {} {}", self.encoder, rand::random::<u64>());
        let (seed, tagger) = (self.seed(&name), self.tagger());
        let mut index = IndexFolder::open(&self.path()).unwrap();
        let bundle = bundle("another bundle", &seed);
        let (writer, moved) =
            index.migrate(tagger, &bundle, WriterOptions::default(), |_| {}).unwrap();
        writer.close().unwrap();
        assert_eq!(moved.failed, [""; 0]);
    }
}

/// Compares both stores with what they must hold.
fn check(session: &Session, expect: &State) {
    let searcher = session.index.searcher().unwrap();
    let reader = session.datastore.reader().unwrap();
    let expected_keys: Vec<String> = expect.docs.keys().cloned().collect();
    assert_eq!(keys(&searcher), expected_keys);
    let humans: BTreeSet<String> = human_keys(&reader);
    for (key, doc) in &expect.docs {
        let found = searcher.document(key).unwrap().unwrap();
        assert_eq!(found.texts, [doc.text.as_str()], "{key}");
        let tags: BTreeSet<&str> = expect.tags(doc).iter().map(|&id| expect.name(id)).collect();
        let evidence = found.evidence.unwrap();
        let said: BTreeSet<&str> = evidence.tags.iter().map(|tag| tag.label.as_str()).collect();
        assert_eq!((said, found.tags.len()), (tags, evidence.tags.len()), "tags of {key}");

        assert_eq!(humans.contains(key), doc.given.is_some(), "whether {key} votes");
        if let Some(given) = &doc.given {
            let item = reader.get(key).unwrap().unwrap();
            let given = expect.resolve_all(given);
            let given: BTreeSet<&str> = given.iter().map(|&id| expect.name(id)).collect();
            assert_eq!(label_names(&reader, item.labels.ids()), given, "the neighbor {key}");
            // More may be undecided: labels that were restored since.
            let undecided = label_names(&reader, item.undecided.ids());
            let tags: BTreeSet<&str> =
                expect.resolve_all(&doc.tags).iter().map(|&id| expect.name(id)).collect();
            assert!(undecided.is_superset(&(&tags - &given)), "{undecided:?} of {key}: {tags:?}");
            assert!(undecided.is_disjoint(&given), "{undecided:?} of {key}: {given:?}");
        }
        let record = reader.documents(&[key]).unwrap().remove(0);
        let review = record.as_ref().map(|record| record.review).unwrap_or_default();
        assert_eq!(review, doc.review, "the review of {key}");
        let rejected = record.map(|record| record.rejected).unwrap_or_default();
        let expected: BTreeSet<&str> = doc.rejected.iter().map(|&id| expect.name(id)).collect();
        assert_eq!(label_names(&reader, rejected.ids()), expected, "rejected of {key}");
    }
    assert!(humans.iter().all(|key| expect.docs.contains_key(key)), "{humans:?}");
    for key in reader.document_keys().unwrap() {
        assert!(expect.docs.contains_key(&key), "something is kept of {key}");
    }
}

fn human_keys(reader: &DatastoreReader) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let look = |key: &str, item: autotag::StoredItem| -> autotag::Result<()> {
        if item.source == Source::Human {
            keys.insert(key.to_owned());
        }
        Ok(())
    };
    reader.for_each(look).unwrap();
    keys
}

fn label_names<'r>(reader: &'r DatastoreReader, labels: &[LabelId]) -> BTreeSet<&'r str> {
    labels.iter().map(|&label| reader.labels().name(label)).collect()
}

/// Does one step to the index and to the reference.
fn take(world: &mut World, session: Session, reference: &mut Reference, step: Step) -> Session {
    let Session { writer, fields, .. } = &session;
    match step {
        Step::Add(number, text) => {
            let key = key(number);
            let added = writer.add(document(fields, &key, TEXTS[text]));
            if is_taken(added, reference.must_wait(&key, true)) {
                reference.add(&key, TEXTS[text]);
            }
        }
        Step::Label(number, text, labels) => {
            let (key, labels) = (key(number), names(&labels));
            let added = writer.add_labeled(document(fields, &key, TEXTS[text]), &labels);
            if is_taken(added, reference.must_wait(&key, true)) {
                reference.label(&key, TEXTS[text], &labels);
            }
        }
        Step::Fail(number) => {
            let key = key(number);
            let added = writer.add(document(fields, &key, "broken"));
            if is_taken(added, reference.must_wait(&key, true)) {
                reference.fail(&key);
            }
        }
        Step::Delete(number) => {
            let key = key(number);
            if is_taken(writer.delete(&key), reference.must_wait(&key, false)) {
                reference.delete(&key);
            }
        }
        Step::DeleteQuery(word) => {
            let term = Term::from_field_text(fields.texts[0], WORDS[word]);
            let query = TermQuery::new(term, IndexRecordOption::Basic);
            let n_deleted = writer.delete_query(&query).unwrap();
            assert_eq!(n_deleted, reference.delete_query(WORDS[word]));
        }
        Step::DeleteAll => {
            writer.delete_all().unwrap();
            reference.delete_all();
        }
        Step::Correct(number, labels) => {
            let (key, labels) = (key(number), names(&labels));
            let outcome = writer.correct(&key, &Correction::set(labels.clone()));
            if let Some(is_done) = corrected(outcome, reference.is_changed(&key)) {
                let expected = reference.correct(&key, &labels, &[], Others::Rejected);
                assert_eq!(is_done, expected, "{key}");
            }
        }
        Step::Confirm(number) => {
            let key = key(number);
            let outcome = writer.correct(&key, &Correction::confirm());
            if let Some(is_done) = corrected(outcome, reference.is_changed(&key)) {
                let expected = reference.correct(&key, &[], &[], Others::Confirmed);
                assert_eq!(is_done, expected, "{key}");
            }
        }
        Step::Amend(number, add, remove) => {
            let (key, add, remove) = (key(number), names(&add), names(&remove));
            let change = Correction::add(add.clone()).and(Correction::reject(remove.clone()));
            let outcome = writer.correct(&key, &change);
            if let Some(is_done) = corrected(outcome, reference.is_changed(&key)) {
                let expected = reference.correct(&key, &add, &remove, Others::Kept);
                assert_eq!(is_done, expected, "{key}");
            }
        }
        Step::Retag => {
            writer.retag("", |_| {}).unwrap();
            reference.retag();
            check(&session, &reference.committed);
        }
        Step::Rename(label, name) => {
            let (label, name) = (NAMES[label].to_owned(), NAMES[name].to_owned());
            relabel(&session, reference, &Change::Rename(label, name));
        }
        Step::Merge(label, into) => {
            let (label, into) = (NAMES[label].to_owned(), NAMES[into].to_owned());
            relabel(&session, reference, &Change::Merge(label, into));
        }
        Step::Retire(label) => relabel(&session, reference, &Change::Retire(NAMES[label].into())),
        Step::Restore(label) => relabel(&session, reference, &Change::Restore(NAMES[label].into())),
        Step::Commit => {
            writer.commit().unwrap();
            reference.commit();
            check(&session, &reference.committed);
        }
        Step::Rollback => {
            writer.rollback().unwrap();
            reference.reopen();
            check(&session, &reference.committed);
        }
        Step::Reopen => {
            drop(session);
            world.verify();
            reference.reopen();
            let session = world.open();
            check(&session, &reference.committed);
            return session;
        }
        Step::Migrate => {
            drop(session);
            world.migrate();
            reference.migrate();
            world.verify();
            let session = world.open();
            check(&session, &reference.committed);
            return session;
        }
    }
    session
}

/// Tells whether an operation was taken, which it must be unless it must wait.
fn is_taken(outcome: Result<Ticket, Error>, must_wait: bool) -> bool {
    match outcome {
        Ok(_) => assert!(!must_wait, "it did not wait"),
        Err(Error::NotCommitted { key, .. }) => assert!(must_wait, "{key} need not wait"),
        Err(error) => panic!("{error}"),
    }
    !must_wait
}

/// Tells whether a correction was done, and not refused; `None` where it must wait.
fn corrected(outcome: Result<Ticket, Error>, must_wait: bool) -> Option<bool> {
    match outcome {
        Err(Error::NoSuchDocument { .. } | Error::Label { .. }) => {
            assert!(!must_wait, "it did not wait");
            Some(false)
        }
        outcome => is_taken(outcome, must_wait).then_some(true),
    }
}

fn relabel(session: &Session, reference: &mut Reference, change: &Change) {
    let asked = match change.clone() {
        Change::Rename(label, name) => LabelChange::Rename { label, name },
        Change::Merge(label, into) => LabelChange::Merge { label, into },
        Change::Retire(label) => LabelChange::Retire { label },
        Change::Restore(label) => LabelChange::Restore { label },
    };
    let is_done = match session.writer.change_labels(&asked, |_| {}) {
        Ok(_) => true,
        Err(Error::Datastore(_)) => false,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(is_done, reference.change(change), "{change:?}");
    if is_done {
        check(session, &reference.committed);
    }
}

proptest! {
    // Each case takes as long as many usual ones; `PROPTEST_CASES` counts these.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(8),
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_stores_hold_what_maps_hold(
        steps in prop::collection::vec(step(), 1..50),
        chunk in 1usize..9,
    ) {
        let (mut world, mut reference) = (World::new(chunk), Reference::new());
        let mut session = world.open();
        for step in steps {
            session = take(&mut world, session, &mut reference, step);
        }
        session.writer.commit().unwrap();
        reference.commit();
        check(&session, &reference.committed);
        drop(session);
        world.verify();
    }
}

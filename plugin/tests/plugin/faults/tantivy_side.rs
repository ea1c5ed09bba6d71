//! Every change of Tantivy's files fails once.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration as Time;

use autotag::{Datastore, Encoder, Origin};
use tantivy::directory::RamDirectory;
use tantivy::{Index, IndexSettings};
use tantivy_autotag::{Error, TagFields, TagSearcher, TaggingWriter};
use tempfile::TempDir;

use super::directory::{Duration, Fault, FaultyDirectory, Kind};
use crate::support::{
    LABELS, Words, chunks_of, datastore_options, document, keys, neighbor_keys, schema, tagger,
};

/// No session takes longer, or it hangs.
const PATIENCE: Time = Time::from_secs(60);

/// A document's text, and whether people labeled it.
type State = BTreeMap<&'static str, (&'static str, bool)>;

/// An operation of a session: `Some` text to add, by a person or not, `None` to delete.
type Batch = &'static [(&'static str, Option<(&'static str, bool)>)];

const BATCHES: [Batch; 3] = [
    &[
        ("old", Some(("program oven", true))),
        ("gone", Some(("library", true))),
        ("turned", Some(("editing", true))),
        ("plain", Some(("program", false))),
    ],
    &[
        ("gone", None),
        ("turned", Some(("library reef", false))),
        ("new", Some(("reef oven", true))),
        ("plain", Some(("oven", false))),
    ],
    &[("new", None), ("old", Some(("program reef", true))), ("last", Some(("reef", true)))],
];

/// The states before the first batch, and after each.
fn states() -> Vec<State> {
    let mut states = vec![State::new()];
    for batch in BATCHES {
        let mut state = states.last().unwrap().clone();
        for &(key, content) in batch {
            match content {
                Some(content) => drop(state.insert(key, content)),
                None => drop(state.remove(key)),
            }
        }
        states.push(state);
    }
    states
}

fn open(index: Index, folder: &Path, fields: &TagFields) -> Result<TaggingWriter<Words>, Error> {
    let encoder = Words::new(&LABELS);
    let datastore = Datastore::open(folder, &encoder.fingerprint()).unwrap();
    let options = chunks_of(2).tantivy_memory(15_000_000);
    TaggingWriter::open(index, datastore, tagger(encoder), fields.clone(), options)
}

fn write(writer: &TaggingWriter<Words>, fields: &TagFields, batch: Batch) -> Result<(), Error> {
    for &(key, content) in batch {
        match content {
            Some((text, true)) => writer.add_labeled(document(fields, key, text), ["cat"])?,
            Some((text, false)) => writer.add(document(fields, key, text))?,
            None => writer.delete(key)?,
        };
    }
    writer.commit().map(drop)
}

/// The progress of a session: batches acknowledged, and the error that ended it.
struct Outcome {
    n_acknowledged: usize,
    error: Option<Error>,
    /// Whether the writer still takes work after that error.
    works_on: bool,
}

/// Writes the batches that are missing; stops at the first error.
fn session(directory: FaultyDirectory, folder: &Path, fields: &TagFields) -> Outcome {
    let mut outcome = Outcome { n_acknowledged: 1, error: None, works_on: false };
    let opened = Index::open(directory).map_err(|error| error.to_string());
    let writer = match open(opened.unwrap(), folder, fields) {
        Ok(writer) => writer,
        Err(error) => return Outcome { error: Some(error), ..outcome },
    };
    for batch in &BATCHES[1..] {
        if let Err(error) = write(&writer, fields, batch) {
            let after = writer.delete("nobody").and_then(|_| writer.commit());
            outcome.works_on = after.is_ok();
            outcome.error = Some(error);
            return outcome;
        }
        outcome.n_acknowledged += 1;
    }
    // A merge that failed loses nothing.
    let _ = writer.close();
    outcome
}

/// Checks that an error says what happened, to the bottom.
fn check_error(error: &Error, fault: Fault) {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    assert!(!said.contains("panicked;"), "{fault:?}: {said}");
    let names_cause = ["os error", "worker thread encountered an error", "code: 28", "code: 5"];
    assert!(names_cause.iter().any(|part| said.contains(part)), "{fault:?}: {said}");
}

/// Reads both stores, which must agree, with a writer that settles them first.
fn check_state(index: &Index, folder: &Path, fields: &TagFields, expect: &[&State]) {
    let writer = open(index.clone(), folder, fields).unwrap();
    let found = TagSearcher::new(index, fields.clone()).unwrap();
    let mut state = BTreeMap::new();
    for key in keys(&found) {
        let document = found.document(&key).unwrap().unwrap();
        let tags = document.evidence.unwrap().tags;
        let is_given = tags.iter().any(|tag| tag.origin == Origin::Human);
        state.insert(key, (document.texts[0].clone(), is_given));
    }
    drop(writer);
    let datastore = Datastore::open(folder, &Words::new(&LABELS).fingerprint()).unwrap();
    assert_eq!(datastore.verify().unwrap().problems, []);
    let human: Vec<String> =
        state.iter().filter(|(_, (_, is_given))| *is_given).map(|(key, _)| key.clone()).collect();
    assert_eq!(neighbor_keys(&datastore), human, "the stores disagree");
    let expect: Vec<BTreeMap<String, (String, bool)>> = expect
        .iter()
        .map(|state| state.iter().map(|(k, (t, g))| (k.to_string(), (t.to_string(), *g))).collect())
        .collect();
    assert!(expect.contains(&state), "{state:#?}\nis none of\n{expect:#?}");
}

/// Lets a session fail, and looks at what it left. Tells whether anything failed.
fn survive(fault: Fault) -> bool {
    // In memory where there is such a folder: the faults are in Tantivy's directory.
    let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    let store = folder.path().join("datastore");
    drop(Datastore::create(&store, &datastore_options(&LABELS)).unwrap());
    let (schema, fields, _) = schema();
    let files = RamDirectory::create();
    let healthy = Index::create(files.clone(), schema, IndexSettings::default()).unwrap();
    let writer = open(healthy, &store, &fields).unwrap();
    write(&writer, &fields, BATCHES[0]).unwrap();
    writer.close().unwrap();

    let directory = FaultyDirectory::new(files.clone());
    directory.arm(fault);
    let (sender, receiver) = mpsc::channel();
    let child = {
        let (directory, store, fields) = (directory.clone(), store.clone(), fields.clone());
        thread::spawn(move || drop(sender.send(session(directory, &store, &fields))))
    };
    let outcome = receiver.recv_timeout(PATIENCE);
    let outcome = outcome.unwrap_or_else(|error| panic!("{fault:?}: it hangs or panics: {error}"));
    child.join().unwrap();

    let states = states();
    let acknowledged = &states[outcome.n_acknowledged];
    let mut expect = vec![acknowledged];
    if let Some(error) = &outcome.error {
        assert!(directory.n_failed() > 0, "{fault:?}: {error}");
        check_error(error, fault);
        let has_stopped = matches!(error, Error::Stopped { .. } | Error::Tantivy { .. });
        assert!(has_stopped && !outcome.works_on, "{fault:?}: {error:?}");
        // The disk may also fail right after the instant that counts.
        expect.extend(states.get(outcome.n_acknowledged + 1));
    } else {
        assert_eq!(outcome.n_acknowledged, BATCHES.len());
    }
    let index = Index::open(files).unwrap();
    check_state(&index, &store, &fields, &expect);
    // The index is as good as ever.
    let writer = open(index.clone(), &store, &fields).unwrap();
    writer.add(document(&fields, "after", "oven")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    directory.n_failed() > 0
}

/// Lets every so many-th change fail, until a session comes through.
fn survive_all(kind: Kind, duration: Duration, step: usize) {
    for at in (1..).step_by(step) {
        if !survive(Fault { kind, duration, at }) {
            assert!(at > 50, "a session makes more changes than {at}");
            return;
        }
    }
}

#[test]
fn a_disk_that_is_full_from_any_change_on_loses_nothing() {
    survive_all(Kind::NoSpace, Duration::Forever, 1);
}

#[test]
fn a_disk_that_breaks_at_any_change_loses_nothing() {
    survive_all(Kind::Broken, Duration::Once, 1);
}

#[test]
fn a_file_that_is_cut_by_a_full_disk_loses_nothing() {
    survive_all(Kind::Short, Duration::Once, 2);
}

#[test]
fn a_change_that_is_done_and_reported_as_failed_loses_nothing() {
    survive_all(Kind::Done, Duration::Once, 1);
}

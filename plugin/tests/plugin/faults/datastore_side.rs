//! LMDB's file cannot grow: its map is full, or the disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use autotag::{Datastore, Fingerprint, Source, StorageOptions};
use tantivy_autotag::{IndexFolder, TaggingWriter, WriterOptions};

use crate::support::{
    Fixture, LABELS, Words, bundle, chunks_of, copy, datastore_options, document, keys, schema,
    tagger,
};

/// The documents of a batch.
const BATCH: usize = 150;

/// The batches that a child writes after the first, which is there already.
const BATCHES: usize = 3;

/// Names the index that a child writes to.
const TASK: &str = "AUTOTAG_TEST_FULL";

fn key(batch: usize, number: usize) -> String {
    format!("{batch} {number:03}")
}

/// Returns the keys of the first batches, in their order.
fn keys_of(n_batches: usize) -> Vec<String> {
    let mut keys: Vec<String> =
        (0..n_batches).flat_map(|batch| (0..BATCH).map(move |n| key(batch, n))).collect();
    keys.sort();
    keys
}

fn human_keys(datastore: &Datastore) -> Vec<String> {
    let mut keys = BTreeSet::new();
    let look = |key: &str, item: autotag::StoredItem| -> autotag::Result<()> {
        assert_eq!((item.source, item.labels.len()), (Source::Human, 1));
        keys.insert(key.to_owned());
        Ok(())
    };
    datastore.reader().unwrap().for_each(look).unwrap();
    keys.into_iter().collect()
}

#[test]
fn a_map_that_is_full_in_the_middle_of_a_batch_grows_and_loses_nothing() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("tiny");
    let storage = StorageOptions { initial_map_bytes: 1, staged_bytes: 4096, indexed_from: 0 };
    let options = datastore_options(&LABELS);
    let datastore = Datastore::create_with(&folder, &options, storage).unwrap();
    let fixture = Fixture { datastore, ..fixture };
    let writer = fixture.open(Words::new(&LABELS), chunks_of(16)).unwrap();
    for batch in 0..BATCHES {
        for number in 0..BATCH {
            let text = format!("program {number} {batch}");
            let document = fixture.document(&key(batch, number), &text);
            writer.add_labeled(document, [format!("label {number}")]).unwrap();
        }
        let summary = writer.commit().unwrap();
        assert_eq!((summary.labeled, summary.failed), (BATCH as u64, 0));
        assert_eq!(fixture.keys(), keys_of(batch + 1));
        assert_eq!(human_keys(&fixture.datastore), keys_of(batch + 1));
    }
    let length = fs::metadata(folder.join("data.mdb")).unwrap().len();
    assert!(length > 4 * 64 * 1024, "the map of 64 KiB never grew: {length}");
    assert_eq!(fixture.datastore.verify().unwrap().problems, []);
}

fn open(folder: &IndexFolder) -> TaggingWriter<Words> {
    folder.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap()
}

fn write(writer: &TaggingWriter<Words>, folder: &IndexFolder, batch: usize) -> Result<(), String> {
    let (_, fields) = folder.index().unwrap();
    let say = |error: tantivy_autotag::Error| {
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            said += &format!(": {error}");
            cause = error.source();
        }
        said
    };
    for number in 0..BATCH {
        let document = document(&fields, &key(batch, number), "program oven reef");
        writer.add_labeled(document, ["cat"]).map_err(say)?;
    }
    writer.commit().map(drop).map_err(say)
}

/// Makes an index with one batch.
fn make(path: &Path) {
    let seed = path.with_extension("seed");
    let seed = Datastore::create(&seed, &datastore_options(&LABELS)).unwrap();
    let (schema, fields, _) = schema();
    let folder = IndexFolder::create(path, schema, &fields, &bundle("bundle", &seed)).unwrap();
    let writer = open(&folder);
    write(&writer, &folder, 0).unwrap();
    writer.close().unwrap();
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn fill_the_disk() {
    let Some(path) = std::env::var_os(TASK) else { return };
    let path = Path::new(&path);
    let mut log = File::create(path.with_extension("log")).unwrap();
    let folder = IndexFolder::open(path).unwrap();
    let writer = open(&folder);
    for batch in 1..=BATCHES {
        if let Err(said) = write(&writer, &folder, batch) {
            let stopped = writer.commit().unwrap_err();
            assert!(matches!(stopped, tantivy_autotag::Error::Stopped { .. }), "{stopped}");
            return log.write_all(said.as_bytes()).unwrap();
        }
        log.write_all(b"committed\n").unwrap();
    }
}

/// The outcome of a process under a limit on the size of its files.
#[derive(Debug)]
struct Fate {
    n_acknowledged: usize,
    /// The error that it ended with.
    said: String,
    /// The batches that are there after it.
    n_there: usize,
}

fn write_within(bytes: u64, original: &Path) -> Fate {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    copy(original, &path);
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "faults::datastore_side::fill_the_disk", "--ignored"]);
    let output = command.env(TASK, &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let log = fs::read_to_string(path.with_extension("log")).unwrap();
    let n_acknowledged = 1 + log.matches("committed\n").count();
    let said = log.replace("committed\n", "");

    let index = IndexFolder::open(&path).unwrap();
    let report = index.verify().unwrap();
    assert!(report.is_sound(), "{bytes}: {said}: {report:#?}");
    open(&index).close().unwrap();
    let n_there = keys(&index.searcher().unwrap()).len() / BATCH;
    assert_eq!(keys(&index.searcher().unwrap()), keys_of(n_there), "{bytes}: {said}");
    let datastore = Datastore::open(&index.datastore_path(), &Fingerprint([7; 32])).unwrap();
    assert_eq!(human_keys(&datastore), keys_of(n_there), "{bytes}: {said}");
    drop(datastore);
    assert!(index.verify().unwrap().is_sound());
    Fate { n_acknowledged, said, n_there }
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_at_any_page_of_the_datastore_leaves_whole_batches() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("index");
    make(&original);
    let length = fs::metadata(original.join("autotag/datastore/data.mdb")).unwrap().len();
    let (mut n_before, mut n_after) = (0, 0);
    for bytes in (length..).step_by(3 * 4096) {
        let fate = write_within(bytes, &original);
        let Fate { n_acknowledged, said, n_there } = &fate;
        if said.is_empty() {
            assert_eq!((*n_acknowledged, *n_there), (BATCHES + 1, BATCHES + 1));
            // Both sides of the instant that counts were seen.
            assert!(n_before > 0 && n_after > 0, "{n_before} before, {n_after} after");
            return;
        }
        let is_named = said.contains("File too large") || said.contains("Input/output error");
        assert!(is_named && said.contains("has stopped"), "{fate:?}");
        match n_there - n_acknowledged {
            0 => n_before += 1,
            1 => n_after += 1,
            _ => panic!("{fate:?}"),
        }
    }
}

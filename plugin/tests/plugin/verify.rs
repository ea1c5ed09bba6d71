//! The integrity check finds all damage, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use autotag::{Datastore, Embedding, Fingerprint, Source};
use tantivy_autotag::{
    Error, IndexFolder, IndexPart, OnFailure, Problem, TaggingWriter, VerifyReport, WriterOptions,
};
use tempfile::TempDir;

use crate::support::{
    DIMENSIONS, LABELS, Words, bundle, datastore_options, document, schema, tagger,
};

const ENCODER: Fingerprint = Fingerprint([7; 32]);

/// An index with tagged and labeled documents, of several commits.
pub(crate) struct Sample {
    folder: TempDir,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let seed = Datastore::create(&folder.path().join("seed"), &datastore_options(&LABELS));
        let seed = seed.unwrap();
        let mut writer = seed.writer().unwrap();
        writer.put("seed", &embedding(), &["role::program"], Source::Training).unwrap();
        writer.commit().unwrap();
        let (schema, fields, _) = schema();
        let path = folder.path().join("index");
        IndexFolder::create(&path, schema, &fields, &bundle("bundle", &seed)).unwrap();
        let sample = Sample { folder };
        let writer = sample.writer();
        for number in 0..20 {
            let (plain, human) = (format!("plain {number}"), format!("human {number}"));
            writer.add(document(&fields, &plain, "program oven")).unwrap();
            let labels: &[&str] = if number % 4 == 0 { &[] } else { &["cat", "use::editing"] };
            writer.add_labeled(document(&fields, &human, "purring reef"), labels).unwrap();
            if number % 7 == 6 {
                writer.commit().unwrap();
            }
        }
        writer.delete("human 3").unwrap();
        writer.add(document(&fields, "human 5", "library")).unwrap();
        // Its labels stay, and do not vote.
        writer.add_labeled(document(&fields, "human 6", "broken"), ["dog"]).unwrap();
        writer.commit().unwrap();
        writer.close().unwrap();
        sample
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    pub(crate) fn index(&self) -> IndexFolder {
        IndexFolder::open(&self.path()).unwrap()
    }

    pub(crate) fn writer(&self) -> TaggingWriter<Words> {
        let options = WriterOptions::new().on_failure(OnFailure::IndexUntagged);
        self.index().writer(tagger(Words::new(&LABELS)), options).unwrap()
    }

    pub(crate) fn verify(&self) -> VerifyReport {
        self.index().verify().unwrap()
    }

    /// Returns the training set that the index began with.
    pub(crate) fn seed(&self) -> Datastore {
        Datastore::open_read_only(&self.folder.path().join("seed"), &ENCODER).unwrap()
    }

    /// Changes the datastore alone, and returns the problems.
    pub(crate) fn problems_after(
        &self,
        change: impl FnOnce(&mut autotag::DatastoreWriter),
    ) -> Vec<Problem> {
        let datastore = self.index().datastore().unwrap();
        let mut writer = datastore.writer().unwrap();
        change(&mut writer);
        writer.commit().unwrap();
        drop((writer, datastore));
        self.verify().problems
    }
}

pub(crate) fn embedding() -> Embedding {
    Embedding::new(vec![1.0; DIMENSIONS]).unwrap()
}

pub(crate) fn flip(file: &Path, byte: usize, bit: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[byte] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_whole_index_is_sound_and_counted() {
    let report = Sample::new().verify();
    assert!(report.is_sound(), "{report:#?}");
    // Of 20 labeled: 5 without any label, one deleted, one tagged anew.
    assert_eq!((report.documents, report.labeled), (Some(39), 13));
    assert_eq!((report.neighbors, report.training), (Some(18), 1));
    assert_eq!((report.interrupted, report.unused_files.len()), (None, 0));
}

#[test]
fn an_index_that_is_open_for_writing_is_not_at_rest() {
    let sample = Sample::new();
    let writer = sample.writer();
    assert!(matches!(sample.index().verify(), Err(Error::InUse)));
    drop(writer);
    let _datastore = sample.index().datastore().unwrap();
    assert!(matches!(sample.index().verify(), Err(Error::InUse)));
}

#[test]
fn stores_that_disagree_are_told_key_by_key() {
    let sample = Sample::new();
    let problems = sample.problems_after(|datastore| datastore.delete("human 1").unwrap());
    assert!(problems.contains(&Problem::NoNeighbor { key: "human 1".into() }), "{problems:?}");
    assert!(matches!(problems[0], Problem::DatastoreAhead { .. }), "{problems:?}");

    let problems = sample.problems_after(|datastore| {
        datastore.put("ghost", &embedding(), &["cat"], Source::Human).unwrap();
        datastore.put("human 2", &embedding(), &["cat"], Source::Human).unwrap();
        datastore.put("plain 2", &embedding(), &["cat"], Source::Human).unwrap();
    });
    let differing = |key: &str| {
        problems.iter().any(|problem| matches!(problem, Problem::Labels { key: k, .. } if k == key))
    };
    assert!(problems.contains(&Problem::NoDocument { key: "ghost".into() }), "{problems:?}");
    assert!(differing("human 2") && differing("plain 2"), "{problems:?}");
    assert_eq!(problems.len(), 5, "{problems:?}");
}

#[test]
fn a_key_that_is_there_twice_is_told() {
    let sample = Sample::new();
    let (index, fields) = sample.index().index().unwrap();
    let mut plain: tantivy::IndexWriter = index.writer(15_000_000).unwrap();
    plain.add_document(document(&fields, "plain 1", "oven")).unwrap();
    plain.commit().unwrap();
    plain.wait_merging_threads().unwrap();
    let problems = sample.verify().problems;
    // That commit has no payload.
    assert_eq!(problems, [Problem::UnknownCommit, Problem::Twice { key: "plain 1".into() }]);
}

/// All files that hold something; locks hold nothing.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if !name.contains("lock") {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_flipped_bit_in_any_file_is_found() {
    let sample = Sample::new();
    let files = files(&sample.path());
    assert!(files.len() >= 9, "{files:?}");
    for path in files {
        let length = fs::metadata(&path).unwrap().len() as usize;
        let n_flips = if path.extension().is_some_and(|e| e == "json") { length } else { 16 };
        for flip_number in 0..n_flips.min(length) {
            let (byte, bit) = (flip_number * length / n_flips, flip_number % 8);
            flip(&path, byte, bit as u8);
            let what = format!("bit {bit} of byte {byte} in {}", path.display());
            // The end of a segment's file only says who wrote it, and its checksum.
            check_noticed(&sample, &what, byte + 150 < length || path.ends_with("data.mdb"));
            flip(&path, byte, bit as u8);
        }
    }
    assert!(sample.verify().is_sound());
}

/// Checks that a change is told, or makes no difference.
fn check_noticed(sample: &Sample, change: &str, is_content: bool) {
    let report = match IndexFolder::open(&sample.path()) {
        Ok(index) => index.verify().unwrap(),
        Err(_) => return,
    };
    // Numbers in `meta.json` that Tantivy only counts up, and the case of hexadecimal digits.
    let is_same = report.documents == Some(39) && report.labeled == 13;
    assert!(!report.is_sound() || is_same, "{change}: {report:#?}");
    let must_be_told = is_content && !change.ends_with(".json");
    assert!(!(must_be_told && report.is_sound()), "{change}: {report:#?}");
}

#[test]
fn damage_to_an_unsealed_datastore_is_found() {
    let sample = Sample::new();
    let folder = sample.index().datastore_path();
    let file = folder.join("data.mdb");
    // As if its last writer had been killed.
    fs::remove_file(folder.join("data.seal")).unwrap();
    assert!(sample.verify().is_sound());
    let original = fs::read(&file).unwrap();
    let vector: Vec<u8> = [1.0f32; DIMENSIONS].iter().flat_map(|v| v.to_le_bytes()).collect();
    let places: Vec<usize> = (0..original.len() - vector.len())
        .filter(|&at| original[at..].starts_with(&vector))
        .collect();
    // Pages that are free now may have it as well.
    let mut n_found = 0;
    for place in places {
        flip(&file, place + 4, 2);
        n_found += usize::from(!sample.verify().is_sound());
        flip(&file, place + 4, 2);
    }
    assert!(n_found >= 1, "{n_found}");
    fs::write(&file, &original[..original.len() / 2]).unwrap();
    let report = sample.verify();
    assert!(matches!(report.problems[0], Problem::Unreadable { .. }), "{report:#?}");
    fs::remove_file(&file).unwrap();
    assert!(!sample.verify().is_sound());
}

#[test]
fn a_changed_description_or_a_broken_meta_file_is_told() {
    let sample = Sample::new();
    let description = sample.path().join("autotag/index.json");
    let json = fs::read_to_string(&description).unwrap();
    fs::write(&description, json.replace(&"07".repeat(32), &"09".repeat(32))).unwrap();
    let opened = IndexFolder::open(&sample.path());
    assert!(matches!(opened, Err(Error::DescriptionChanged { .. })), "{opened:?}");
    fs::write(&description, json).unwrap();
    fs::write(sample.path().join("meta.json"), "{").unwrap();
    let problems = sample.verify().problems;
    assert!(
        matches!(&problems[0], Problem::Unreadable { part: IndexPart::Index, .. }),
        "{problems:?}"
    );
}

#[test]
fn files_that_killed_processes_left_are_listed_and_removed() {
    let sample = Sample::new();
    let left = [
        ".tmpAb12Cd",
        "0123456789abcdef0123456789abcdef.store",
        "autotag/datastore/data.mdb.partial",
        "autotag/index.4711.new",
        "autotag/index.copy.4711.new",
        "autotag/meta.copy.4711.new",
    ];
    for name in left {
        fs::write(sample.path().join(name), "x").unwrap();
    }
    fs::write(sample.path().join("notes.txt"), "mine").unwrap();
    let report = sample.verify();
    assert!(report.is_sound());
    assert_eq!(report.unused_files, left.map(PathBuf::from));
    drop(sample.writer());
    assert!(sample.verify().unused_files.is_empty());
    assert!(sample.path().join("notes.txt").is_file());
}

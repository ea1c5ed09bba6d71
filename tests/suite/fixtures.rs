//! Files of earlier versions stay readable: the bundle and the index in `tests/fixtures`.
//!
//! LMDB's files depend on the machine: these are of 64 bits, little-endian, with pages of 4 KiB. Apple's
//! own processors have larger pages.
#![cfg(all(
    target_pointer_width = "64",
    target_endian = "little",
    not(all(target_vendor = "apple", target_arch = "aarch64"))
))]

mod make;

use std::fs;
use std::path::{Path, PathBuf};

use autotag::{Encoded, Encoder, LabelFate};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use serde_json::Value;
use tantivy::doc;
use tantivy_autotag::{
    FoundDocument, IndexFolder, SearchRequest, VerifyReport, WriterOptions, parse_tag, tag_path,
};
use tempfile::TempDir;

use crate::tiny;

/// A copy of the fixtures: opening an index leaves locks in it.
struct Fixtures {
    folder: TempDir,
}

impl Fixtures {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&self::folder(), folder.path());
        Fixtures { folder }
    }

    fn bundle(&self) -> ModelBundle {
        ModelBundle::open(&self.folder.path().join("bundle")).unwrap()
    }

    fn index(&self) -> IndexFolder {
        IndexFolder::open(&self.folder.path().join("index")).unwrap()
    }

    fn verify(&self) -> VerifyReport {
        let report = self.index().verify().unwrap();
        assert!(report.is_sound(), "{report:#?}");
        report
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn check_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-5, "{found} for {expected}");
    }
}

fn tags(found: &FoundDocument) -> Vec<String> {
    found.tags.iter().map(tag_path).collect()
}

#[test]
fn the_committed_bundle_opens_and_answers_as_it_did() {
    let fixtures = Fixtures::new();
    let bundle = fixtures.bundle();
    ModelBundle::verify(bundle.path(), &OnnxOptions::default()).unwrap();
    assert_eq!(bundle.labels().len(), tiny::TOPICS.len());
    assert_eq!(bundle.datastore().unwrap().reader().unwrap().len(), 50);
    let encoder = OnnxEncoder::open(&bundle, &OnnxOptions::default()).unwrap();
    let answers = fs::read(fixtures.folder.path().join("answers.json")).unwrap();
    let answers: Vec<Value> = serde_json::from_slice(&answers).unwrap();
    assert_eq!(answers.len(), tiny::TOPICS.len());
    for answer in answers {
        let tokens = encoder.tokenize(answer["text"].as_str().unwrap()).unwrap();
        let Encoded { embedding, scores } = encoder.encode(&[tokens]).row(0).unwrap();
        check_near(embedding.values(), &numbers(&answer["embedding"]));
        check_near(scores.unwrap().values(), &numbers(&answer["scores"]));
    }
}

#[test]
fn the_committed_index_opens_is_sound_and_is_found_by_its_tags() {
    let fixtures = Fixtures::new();
    let report = fixtures.verify();
    assert_eq!((report.documents, report.labeled), (Some(14), 7));
    assert_eq!((report.neighbors, report.training), (Some(57), 50));
    let index = fixtures.index();
    assert_eq!(index.bundle(), Some(Path::new("../bundle")));
    let searcher = index.searcher().unwrap();
    let tagged = |tag: &str| {
        let found = searcher.search(&SearchRequest::new().tags([parse_tag(tag).unwrap()]));
        let found = found.unwrap().documents;
        found.into_iter().map(|document| document.key).collect::<Vec<_>>()
    };
    assert_eq!(tagged("/arts/theater"), ["plain-1"]);
    assert_eq!(tagged("/press"), ["plain-2"]);
    assert_eq!(tagged("/sport"), [""; 0], "that label is retired");
    let space = tagged("/science/space");
    assert!(space.contains(&"human-0".to_owned()), "{space:?}");
    let corrected = searcher.document("plain-2").unwrap().unwrap();
    assert!(!tags(&corrected).contains(&"/arts/music".to_owned()));
    assert!(searcher.document("plain-9").unwrap().is_none());

    let datastore = index.datastore().unwrap();
    let reader = datastore.reader().unwrap();
    let labels = reader.labels();
    assert_eq!(labels.resolve_name("news"), Some("press::news"));
    assert_eq!(labels.fate(labels.id(tiny::TOPICS[3].0).unwrap()), LabelFate::Retired);
    let record = reader.documents(&["plain-2"]).unwrap().remove(0).unwrap();
    let music = labels.id(tiny::TOPICS[2].0).unwrap();
    assert!(!record.review.is_none() && record.rejected.contains(music));
}

#[test]
fn the_committed_index_is_written_on() {
    let fixtures = Fixtures::new();
    let bundle = fixtures.bundle();
    let index = fixtures.index();
    let (_, fields) = index.index().unwrap();
    let tagger = bundle.tagger(&OnnxOptions::default()).unwrap();
    let writer = index.writer(tagger, WriterOptions::default()).unwrap();
    let (key, text) = (fields.key, fields.texts[0]);
    writer.add(doc!(key => "new", text => tiny::text(&[2], 5))).unwrap();
    let labeled = doc!(key => "labelled", text => tiny::text(&[0], 6));
    writer.add_labeled(labeled, ["science::new"]).unwrap();
    writer.commit().unwrap();
    assert_eq!(writer.retag("", |_| {}).unwrap().documents, 8);
    writer.close().unwrap();
    let report = fixtures.verify();
    assert_eq!((report.documents, report.labeled), (Some(16), 8));
    let found = index.searcher().unwrap().document("new").unwrap().unwrap();
    assert_eq!(tags(&found), ["/arts/music"]);
}

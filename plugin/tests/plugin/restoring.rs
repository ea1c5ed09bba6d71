//! Redundant files are rebuilt from their copies, and unknown datastores are tried first.

use std::fs;
use std::path::{Path, PathBuf};

use autotag::Fingerprint;
use tantivy_autotag::{
    BundleSource, Correction, Error, IndexFolder, Problem, RepairReport, Result, TaggingWriter,
    WriterOptions,
};

use crate::support::{LABELS, Words, bundle, copy, document, paths, tagger};
use crate::verify::{Sample, flip};

fn tags(sample: &Sample, key: &str) -> Vec<String> {
    paths(&sample.index().searcher().unwrap().document(key).unwrap().unwrap())
}

/// Does what `autotag repair` does.
fn repair(sample: &Sample) -> Result<RepairReport> {
    let seed = sample.seed();
    let bundle = bundle("bundle", &seed);
    let mut index = IndexFolder::recover(&sample.path(), &bundle)?;
    index.repair(&tagger(Words::new(&LABELS)), &bundle, |_| {})
}

pub(crate) fn repaired(sample: &Sample) -> RepairReport {
    let report = repair(sample).unwrap();
    assert!(report.after.is_sound(), "{report:#?}");
    report
}

/// Removes a file, or writes something else into it.
fn spoil(file: &Path, content: Option<&str>) {
    match content {
        Some(content) => fs::write(file, content).unwrap(),
        None => fs::remove_file(file).unwrap(),
    }
}

#[test]
fn the_description_is_made_anew_from_its_copy_or_from_the_rest() {
    let copied = |sample: &Sample| sample.path().join("autotag/index.copy.json");
    for content in [None, Some("{"), Some("{\"version\": 3}"), Some("")] {
        for has_copy in [true, false] {
            let sample = Sample::new();
            let before = sample.index();
            spoil(&sample.path().join("autotag/index.json"), content);
            if !has_copy {
                spoil(&copied(&sample), content);
            }
            assert!(IndexFolder::open(&sample.path()).is_err());
            repaired(&sample);
            let index = sample.index();
            assert_eq!(index.names(), before.names());
            assert_eq!(index.datastore_path(), before.datastore_path());
            assert_eq!((index.encoder(), index.bundle()), (before.encoder(), before.bundle()));
            assert_eq!(sample.verify().neighbors, Some(18));
        }
    }
}

#[test]
fn the_newest_datastore_is_the_indexs_where_nothing_says_which() {
    let sample = Sample::new();
    let own = sample.path().join("autotag");
    copy(&own.join("datastore"), &own.join("datastore-older"));
    let writer = TaggingWriter::open(
        sample.index().index().unwrap().0,
        sample.index().datastore().unwrap(),
        tagger(Words::new(&LABELS)),
        sample.index().index().unwrap().1,
        WriterOptions::default(),
    );
    let writer = writer.unwrap();
    writer.correct("plain 1", &Correction::set(["cat"])).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    for name in ["index.json", "index.copy.json"] {
        fs::remove_file(own.join(name)).unwrap();
    }
    let report = repaired(&sample);
    assert!(report.rebuilt.is_none(), "{report:#?}");
    assert_eq!(sample.index().datastore_path(), own.join("datastore"));
    assert_eq!(tags(&sample, "plain 1"), ["/cat"]);
}

#[test]
fn a_folder_that_is_no_index_is_not_made_one() {
    let sample = Sample::new();
    let path = sample.path().with_file_name("other");
    fs::create_dir_all(path.join("autotag")).unwrap();
    let seed = sample.seed();
    let recovered = IndexFolder::recover(&path, &bundle("bundle", &seed));
    assert!(matches!(recovered, Err(Error::NoIndex { .. })), "{recovered:?}");
    assert!(!path.join("autotag/index.json").exists());
}

#[test]
fn tantivys_list_of_files_is_made_anew() {
    for content in [None, Some("{"), Some("[\"half"), Some("3")] {
        let sample = Sample::new();
        spoil(&sample.path().join(".managed.json"), content);
        let report = repaired(&sample);
        assert_eq!(report.restored, [PathBuf::from(".managed.json")]);
        // What is listed is removed once a merge makes it superfluous.
        let writer = sample.writer();
        for _ in 0..20 {
            let (_, fields) = sample.index().index().unwrap();
            writer.add(document(&fields, "more", "program")).unwrap();
            writer.commit().unwrap();
        }
        writer.close().unwrap();
        assert!(sample.verify().is_sound());
    }
}

#[test]
fn the_list_of_segments_is_restored_from_its_copy() {
    for content in [None, Some("{"), Some("{}")] {
        let sample = Sample::new();
        let meta = sample.path().join("meta.json");
        let before = fs::read(&meta).unwrap();
        spoil(&meta, content);
        let report = repair(&sample);
        if content == Some("{}") {
            // JSON without a checksum may be another program's.
            assert!(report.is_err() || !report.unwrap().after.is_sound());
            continue;
        }
        assert_eq!(report.unwrap().restored, [PathBuf::from("meta.json")]);
        assert_eq!(fs::read(&meta).unwrap(), before);
        assert!(sample.verify().is_sound());
    }
}

#[test]
fn a_segment_list_that_hides_documents_is_told_by_every_opening_and_restored() {
    let sample = Sample::new();
    let meta = sample.path().join("meta.json");
    let json = fs::read_to_string(&meta).unwrap();
    let position = json.find("\"max_doc\": ").unwrap() + "\"max_doc\": ".len();
    let mut changed = json.clone().into_bytes();
    changed[position] = b'1';
    assert_ne!(changed, json.as_bytes());
    fs::write(&meta, &changed).unwrap();
    assert!(!sample.verify().is_sound());
    let index = sample.index();
    assert!(matches!(index.searcher(), Err(Error::CommitChanged)));
    let opened = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default());
    assert!(matches!(opened, Err(Error::CommitChanged)));
    assert_eq!(fs::read(&meta).unwrap(), changed, "opening changed it");
    repaired(&sample);
    assert_eq!(sample.verify().documents, Some(39));
}

#[test]
fn every_changed_byte_of_the_segment_list_is_told_or_changes_no_answer() {
    let sample = Sample::new();
    let meta = sample.path().join("meta.json");
    let original = fs::read(&meta).unwrap();
    for position in 0..original.len() {
        for value in [original[position] ^ 1, b'0', b' ', b'"'] {
            let mut changed = original.clone();
            changed[position] = value;
            if changed == original {
                continue;
            }
            fs::write(&meta, &changed).unwrap();
            // Opening says so: what is not opened cannot answer wrongly.
            let Ok(searcher) = sample.index().searcher() else { continue };
            assert_eq!(searcher.n_documents(), 39, "byte {position} as {value}");
            let report = sample.verify();
            let is_same = report.documents == Some(39) && report.labeled == 13;
            assert!(!report.is_sound() || is_same, "byte {position} as {value}");
        }
    }
}

#[test]
fn a_segment_list_without_a_checksum_is_compared_with_what_the_segments_hold() {
    let sample = Sample::new();
    let meta = sample.path().join("meta.json");
    let json = fs::read_to_string(&meta).unwrap();
    // As an earlier version wrote it.
    let mut plain: serde_json::Value = serde_json::from_str(&json).unwrap();
    plain.as_object_mut().unwrap().remove("autotag_checksum").unwrap();
    let write = |value: &serde_json::Value| fs::write(&meta, value.to_string()).unwrap();
    write(&plain);
    assert!(sample.verify().is_sound());

    let mut fewer = plain.clone();
    let max_doc = fewer["segments"][0]["max_doc"].as_u64().unwrap();
    fewer["segments"][0]["max_doc"] = (max_doc - 1).into();
    write(&fewer);
    let problems = sample.verify().problems;
    let is_counted =
        |problem: &Problem| matches!(problem, Problem::Count { .. } | Problem::Unreadable { .. });
    assert!(problems.iter().any(is_counted), "{problems:?}");

    let mut no_payload = plain.clone();
    no_payload.as_object_mut().unwrap().remove("payload").unwrap();
    write(&no_payload);
    let problems = sample.verify().problems;
    assert!(problems.contains(&Problem::UnknownCommit), "{problems:?}");
    // The commit of a repair says whose it is.
    repaired(&sample);
}

#[test]
fn a_datastore_that_was_set_aside_is_found_again_before_one_is_made_anew() {
    let sample = Sample::new();
    let writer = sample.writer();
    writer
        .correct("plain 1", &Correction::add(["cat"]).and(Correction::reject(["role::program"])))
        .unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let own = sample.path().join("autotag");
    // As if the description had been restored from a backup made before a move.
    fs::create_dir_all(own.join("set-aside")).unwrap();
    fs::rename(own.join("datastore"), own.join("set-aside/datastore")).unwrap();
    assert!(!sample.verify().is_sound());
    let report = repaired(&sample);
    assert_eq!(report.found, Some(PathBuf::from("autotag/set-aside/datastore")));
    assert!(report.rebuilt.is_none() && !report.forgot);
    let record = sample.index().datastore().unwrap().reader().unwrap();
    let record = record.documents(&["plain 1"]).unwrap().remove(0).unwrap();
    assert!(!record.review.is_none() && !record.rejected.is_empty());
}

#[test]
fn a_damaged_datastore_is_set_aside_and_its_older_copy_asked_for_what_people_said() {
    let sample = Sample::new();
    let writer = sample.writer();
    writer
        .correct("plain 1", &Correction::add(["cat"]).and(Correction::reject(["role::program"])))
        .unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let own = sample.path().join("autotag");
    copy(&own.join("datastore"), &own.join("set-aside/datastore"));
    let writer = sample.writer();
    let (_, fields) = sample.index().index().unwrap();
    writer.add_labeled(document(&fields, "late", "reef"), ["cat"]).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let file = own.join("datastore/data.mdb");
    let length = fs::metadata(&file).unwrap().len() as usize;
    flip(&file, length / 2, 1);
    let report = repaired(&sample);
    assert!(report.rebuilt.is_some() && !report.forgot, "{report:#?}");
    let reader = sample.index().datastore().unwrap().reader().unwrap();
    assert!(reader.get("late").unwrap().is_some(), "the document has its labels");
    let record = reader.documents(&["plain 1"]).unwrap().remove(0).unwrap();
    assert!(!record.rejected.is_empty(), "the older one knew of the rejection");
    assert!(own.join("set-aside/datastore-2/data.mdb").is_file(), "nothing is deleted");
}

#[test]
fn a_description_that_leads_out_of_the_folder_is_refused() {
    let sample = Sample::new();
    let file = sample.path().join("autotag/index.json");
    let json = fs::read_to_string(&file).unwrap();
    for name in ["../../other", "/tmp", "set-aside/datastore", ""] {
        let changed =
            json.replace("\"datastore\": \"datastore\"", &format!("\"datastore\": {name:?}"));
        assert_ne!(changed, json);
        // Whoever writes that can write a checksum too.
        let unsealed = {
            let from = changed.rfind("\"checksum\": ").unwrap() + "\"checksum\": ".len();
            format!("{}0\n}}", &changed[..from])
        };
        let sealed = unsealed.replace(
            "\"checksum\": 0",
            &format!("\"checksum\": {}", crc32fast::hash(unsealed.as_bytes())),
        );
        fs::write(&file, sealed).unwrap();
        let opened = IndexFolder::open(&sample.path());
        assert!(matches!(opened, Err(Error::DescriptionChanged { .. })), "{name}: {opened:?}");
    }
}

#[test]
fn readers_that_opened_the_folder_before_a_move_get_the_datastore_of_now() {
    let sample = Sample::new();
    let before = sample.index();
    let seed = sample.seed();
    let fingerprint = Fingerprint([8; 32]);
    let retrained = BundleSource { fingerprint, ..bundle("retrained", &seed) };
    let options = WriterOptions::default();
    let moved = sample.index().migrate(tagger(Words::new(&LABELS)), &retrained, options, |_| {});
    moved.unwrap().0.close().unwrap();
    assert_ne!(before.datastore_path(), sample.index().datastore_path());
    assert_eq!(before.datastore().unwrap().reader().unwrap().len(), 18);
    let (now, datastore) = IndexFolder::open_with_datastore(&sample.path()).unwrap();
    assert_eq!(now.datastore_path(), sample.index().datastore_path());
    assert_eq!(datastore.reader().unwrap().len(), 18);
}

//! The index folder.

use std::fs;
use std::path::Path;

use autotag::{Datastore, Embedding, Encoder, Fingerprint, Source};
use tantivy_autotag::{Error, FieldNames, IndexFolder, WriterOptions};
use tempfile::TempDir;

use crate::support::{
    DIMENSIONS, LABELS, Words, bundle, datastore_options, document, keys, neighbor_keys, schema,
    tagger,
};

/// A bundle's datastore with one item, read-only as a bundle's is.
fn seed(folder: &Path) -> Datastore {
    let path = folder.join("seed");
    let datastore = Datastore::create(&path, &datastore_options(&LABELS)).unwrap();
    let mut writer = datastore.writer().unwrap();
    let embedding = Embedding::new(vec![1.0; DIMENSIONS]).unwrap();
    writer.put("seed", &embedding, &["role::program"], Source::Training).unwrap();
    writer.commit().unwrap();
    drop((writer, datastore));
    Datastore::open_read_only(&path, &Fingerprint([7; 32])).unwrap()
}

fn create(folder: &Path, seed: &Datastore) -> Result<IndexFolder, Error> {
    let (schema, fields, _) = schema();
    IndexFolder::create(folder, schema, &fields, &bundle("../bundle", seed))
}

#[test]
fn an_index_is_made_filled_and_opened_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    assert!(!IndexFolder::exists(&path));
    create(&path, &seed(folder.path())).unwrap();
    assert!(IndexFolder::exists(&path));

    let index = IndexFolder::open(&path).unwrap();
    assert_eq!(index.bundle(), Some(Path::new("../bundle")));
    assert_eq!(index.names(), &FieldNames::default());
    assert_eq!(index.encoder(), Words::new(&LABELS).fingerprint());
    let (_, fields) = index.index().unwrap();
    let writer = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap();
    writer.add(document(&fields, "a", "program")).unwrap();
    writer.add_labeled(document(&fields, "b", "purring"), ["cat"]).unwrap();
    writer.commit().unwrap();
    writer.add(document(&fields, "lost", "program")).unwrap();
    drop(writer);

    let index = IndexFolder::open(&path).unwrap();
    assert_eq!(keys(&index.searcher().unwrap()), ["a", "b"]);
    assert_eq!(neighbor_keys(&index.datastore().unwrap()), ["b", "seed"]);
}

#[test]
fn a_folder_is_open_for_writing_once_and_with_its_encoder_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let index = create(&path, &seed(folder.path())).unwrap();
    let first = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap();
    let second = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default());
    assert!(matches!(second, Err(Error::InUse)));
    drop(first);
    let other = Words::new(&LABELS).with_fingerprint(9);
    let opened = index.writer(tagger(other), WriterOptions::default());
    assert!(matches!(opened, Err(Error::EncoderMismatch { .. })));
}

#[test]
fn what_is_no_index_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let seed = seed(folder.path());
    assert!(matches!(IndexFolder::open(&path), Err(Error::NoIndex { .. })));
    create(&path, &seed).unwrap();
    assert!(matches!(create(&path, &seed), Err(Error::IndexExists { .. })));

    let description = path.join("autotag/index.json");
    let json = fs::read_to_string(&description).unwrap();
    fs::write(&description, json.replace("\"version\": 4", "\"version\": 5")).unwrap();
    let newer = IndexFolder::open(&path).unwrap_err();
    assert!(matches!(newer, Error::IndexVersion { found: 5, supported: 4, .. }));
    fs::write(&description, &json[..json.len() / 2]).unwrap();
    assert!(matches!(IndexFolder::open(&path), Err(Error::DescriptionDamaged { .. })));
}

#[test]
fn an_interrupted_creation_is_told_and_made_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let seed = seed(folder.path());
    create(&path, &seed).unwrap();
    // As if the process had died before the description was in place.
    fs::remove_file(path.join("autotag/index.json")).unwrap();
    fs::write(path.join("autotag/unfinished"), "").unwrap();
    fs::write(path.join("autotag/index.123.new"), "{").unwrap();
    assert!(matches!(IndexFolder::open(&path), Err(Error::IndexUnfinished { .. })));

    create(&path, &seed).unwrap();
    let index = IndexFolder::open(&path).unwrap();
    assert_eq!(neighbor_keys(&index.datastore().unwrap()), ["seed"]);
}

#[test]
fn files_of_somebody_elses_are_never_touched() {
    let folder = TempDir::new().unwrap();
    let seed = seed(folder.path());
    for name in ["meta.json", "autotag/README.md", "autotag/datastore/mine", "notes.txt"] {
        let path = folder.path().join(name.replace('/', "-"));
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        let refused = create(&path, &seed);
        assert!(matches!(refused, Err(Error::FolderNotEmpty { .. })), "{name}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}

#[test]
fn files_that_a_killed_process_left_are_removed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let index = create(&path, &seed(folder.path())).unwrap();
    let (_, fields) = index.index().unwrap();
    let segment_files = || {
        fs::read_dir(&path)
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                matches!(
                    Path::new(&name).extension().and_then(|e| e.to_str()),
                    Some("idx" | "term" | "store" | "pos" | "fast" | "fieldnorm")
                )
            })
            .count()
    };
    // A writer that is prepared but never commits leaves its segments, as a killed one does.
    let (tantivy, _) = index.index().unwrap();
    let mut plain: tantivy::IndexWriter = tantivy.writer(15_000_000).unwrap();
    plain.add_document(document(&fields, "orphan", "program")).unwrap();
    drop(plain.prepare_commit().unwrap());
    drop(plain);
    assert!(segment_files() > 0);
    let writer = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap();
    assert_eq!(segment_files(), 0);
    writer.close().unwrap();
}

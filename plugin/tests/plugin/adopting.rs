//! Adoption of indexes that autotag did not make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use autotag::{Datastore, Encoder};
use tantivy::schema::{
    FAST, FacetOptions, INDEXED, STORED, STRING, Schema, SchemaBuilder, TEXT, Value,
};
use tantivy::{Index, IndexWriter, TantivyDocument, Term};
use tantivy_autotag::{
    AdoptOptions, AdoptReport, Correction, Error, FieldNames, IndexFolder, WriterOptions,
};
use tempfile::TempDir;

use crate::support::{LABELS, Words, bundle, datastore_options, keys, paths, tagger};

/// A folder with a plain index and a training set.
pub(crate) struct Plain {
    path: PathBuf,
    seed: Datastore,
    /// Removes the folder in the end.
    _folder: Option<TempDir>,
}

fn names() -> FieldNames {
    FieldNames::new().key("sku").texts(["title", "body"]).suggestions("suggestions")
}

fn add_fields(schema: &mut SchemaBuilder) {
    schema.add_u64_field("year", FAST | INDEXED);
    schema.add_text_field("body", TEXT | STORED);
    schema.add_text_field("sku", STRING | STORED);
    schema.add_text_field("title", TEXT | STORED);
    schema.add_facet_field("place", FacetOptions::default());
}

/// The number of documents that are not deleted.
pub(crate) const N_ALIVE: usize = 28;

impl Plain {
    /// Makes an index of 30 documents in three segments, of which two documents are deleted.
    pub(crate) fn new() -> Self {
        let plain = Plain::of(add_fields);
        let mut writer = plain.writer();
        let schema = writer.index().schema();
        for number in 0..30 {
            let text = ["program", "library", "editing program"][number % 3];
            writer.add_document(entry(&schema, &format!("sku {number}"), text)).unwrap();
            if number % 10 == 9 {
                writer.commit().unwrap();
            }
        }
        let sku = schema.get_field("sku").unwrap();
        for number in [3, 14] {
            writer.delete_term(Term::from_field_text(sku, &format!("sku {number}")));
        }
        writer.commit().unwrap();
        writer.wait_merging_threads().unwrap();
        plain
    }

    fn of(build: impl FnOnce(&mut SchemaBuilder)) -> Self {
        let folder = TempDir::new().unwrap();
        let seed = Datastore::create(&folder.path().join("seed"), &datastore_options(&LABELS));
        let seed = seed.unwrap();
        let plain = Plain { path: folder.path().to_owned(), seed, _folder: Some(folder) };
        let mut schema = Schema::builder();
        build(&mut schema);
        fs::create_dir(plain.original()).unwrap();
        Index::create_in_dir(plain.original(), schema.build()).unwrap();
        plain
    }

    /// Returns one that another process made.
    pub(crate) fn at(path: PathBuf) -> Self {
        let encoder = Words::new(&LABELS).fingerprint();
        let seed = Datastore::open_read_only(&path.join("seed"), &encoder).unwrap();
        Plain { path, seed, _folder: None }
    }

    fn writer(&self) -> IndexWriter {
        Index::open_in_dir(self.original()).unwrap().writer_with_num_threads(1, 15_000_000).unwrap()
    }

    fn original(&self) -> PathBuf {
        self.path.join("original")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.path.join("adopted")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn adopt(&self) -> Result<(IndexFolder, AdoptReport), Error> {
        self.adopt_as(names())
    }

    fn adopt_as(&self, fields: FieldNames) -> Result<(IndexFolder, AdoptReport), Error> {
        let job_documents = 8.try_into().unwrap();
        let writer = WriterOptions::new().job_documents(job_documents);
        let options = AdoptOptions::default().fields(fields).writer(writer);
        let (bundle, tagger) = (bundle("bundle", &self.seed), tagger(Words::new(&LABELS)));
        IndexFolder::adopt(&self.original(), &self.target(), &bundle, tagger, &options, |_| {})
    }

    /// Returns the content of the original's files.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.original()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect()
    }
}

fn entry(schema: &Schema, key: &str, text: &str) -> TantivyDocument {
    let field = |name| schema.get_field(name).unwrap();
    let mut entry = TantivyDocument::new();
    entry.add_text(field("sku"), key);
    entry.add_text(field("title"), text);
    entry.add_text(field("body"), "oven");
    entry.add_u64(field("year"), 1990 + key.len() as u64);
    entry.add_facet(field("place"), "/europe");
    entry
}

/// Checks that the new index has every document of the original, tagged, with all of its values.
pub(crate) fn check_adopted(folder: &IndexFolder) {
    let report = folder.verify().unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.documents, Some(N_ALIVE as u64));
    let searcher = folder.searcher().unwrap();
    let mut expected: Vec<String> =
        (0..30).filter(|n| ![3, 14].contains(n)).map(|n| format!("sku {n}")).collect();
    expected.sort();
    assert_eq!(keys(&searcher), expected);
    let tags = |key| paths(&searcher.document(key).unwrap().unwrap());
    assert_eq!(tags("sku 0"), ["/role/program"]);
    assert_eq!(tags("sku 1"), ["/role/library"]);

    let (index, _) = folder.index().unwrap();
    let searcher = index.reader().unwrap().searcher();
    let schema = index.schema();
    for segment in searcher.segment_readers() {
        let store = segment.get_store_reader(1).unwrap();
        for id in segment.doc_ids_alive() {
            let stored: TantivyDocument = store.get(id).unwrap();
            let text = |name| {
                let value = stored.get_first(schema.get_field(name).unwrap()).unwrap();
                value.as_str().unwrap().to_owned()
            };
            let years = segment.fast_fields().u64("year").unwrap();
            assert_eq!(years.first(id), Some(1990 + text("sku").len() as u64));
            assert_eq!(text("body"), "oven");
            assert!(!text("title").is_empty());
            let places = segment.facet_reader("place").unwrap();
            assert_eq!(places.facet_ords(id).count(), 1);
        }
    }
}

#[test]
fn a_plain_index_is_adopted_whole_and_stays_as_it_was() {
    let plain = Plain::new();
    let before = plain.files();
    let (folder, report) = plain.adopt().unwrap();
    assert_eq!(plain.files(), before);
    let AdoptReport { documents, resumed, tagged, failed, .. } = report;
    assert_eq!((documents, resumed, tagged, failed), (28, 0, 28, 0));
    check_adopted(&folder);
    assert!(matches!(plain.adopt(), Err(Error::IndexExists { .. })));

    // From then on it is an index like any other.
    let folder = IndexFolder::open(&plain.target()).unwrap();
    let writer = folder.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap();
    writer.correct("sku 0", &Correction::set(["cat"])).unwrap();
    writer.commit().unwrap();
    writer.retag("", |_| {}).unwrap();
    writer.close().unwrap();
    let report = folder.verify().unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!((report.labeled, report.neighbors), (1, Some(1)));
}

#[test]
fn documents_that_cannot_be_tagged_are_kept_and_told() {
    let plain = Plain::of(add_fields);
    let mut writer = plain.writer();
    let schema = writer.index().schema();
    writer.add_document(entry(&schema, "good", "program")).unwrap();
    writer.add_document(entry(&schema, "bad", "broken")).unwrap();
    writer.commit().unwrap();
    drop(writer);
    let (folder, report) = plain.adopt().unwrap();
    assert_eq!((report.tagged, report.failed), (1, 1));
    assert_eq!(report.failures[0].key, "bad");
    assert_eq!(keys(&folder.searcher().unwrap()), ["bad", "good"]);
}

#[test]
fn an_empty_index_is_adopted_too() {
    let plain = Plain::of(add_fields);
    let (folder, report) = plain.adopt().unwrap();
    assert_eq!(report.documents, 0);
    assert!(folder.verify().unwrap().is_sound());
}

#[test]
fn an_unfinished_adoption_cannot_be_opened_and_goes_on_only_from_the_same_index() {
    let plain = Plain::new();
    let (folder, _) = plain.adopt().unwrap();
    drop(folder);
    // As if the process had died before the end: the mark is still there.
    let mark = plain.target().join("autotag/adopting.json");
    fs::write(&mark, "{\"meta\": \"another state\"}").unwrap();
    let opened = IndexFolder::open(&plain.target());
    assert!(matches!(opened, Err(Error::AdoptionUnfinished { .. })));
    assert!(matches!(plain.adopt(), Err(Error::AdoptionChanged { .. })));
    fs::remove_file(&mark).unwrap();
    check_adopted(&IndexFolder::open(&plain.target()).unwrap());
}

#[test]
fn an_index_that_is_being_written_is_not_adopted() {
    let plain = Plain::new();
    let writer = plain.writer();
    assert!(matches!(plain.adopt(), Err(Error::InUse)));
    assert!(!plain.target().exists());
    drop(writer);
    plain.adopt().unwrap();
}

/// Adopts an index with such a schema, which must fail before anything is made.
fn refused(build: impl FnOnce(&mut SchemaBuilder), names: FieldNames) -> Error {
    let plain = Plain::of(build);
    let error = plain.adopt_as(names).err().unwrap();
    assert!(!plain.target().exists());
    error
}

#[test]
fn a_schema_that_does_not_fit_is_refused_before_anything_is_made() {
    let lost = |schema: &mut SchemaBuilder| {
        add_fields(schema);
        schema.add_text_field("summary", TEXT);
    };
    let error = refused(lost, names());
    assert!(matches!(error, Error::NotStored { fields } if fields == ["summary"]));

    let missing = names().texts(["none"]);
    let error = refused(add_fields, missing);
    assert!(matches!(error, Error::FieldMissing { name, .. } if name == "none"));

    let taken = names().tags("place");
    let error = refused(add_fields, taken);
    assert!(matches!(error, Error::FieldTaken { name } if name == "place"));

    let words = names().key("title").texts(["body"]);
    let error = refused(add_fields, words);
    assert!(matches!(error, Error::FieldType { name, .. } if name == "title"));

    let tokenized = |schema: &mut SchemaBuilder| {
        add_fields(schema);
        let indexing = tantivy::schema::TextFieldIndexing::default().set_tokenizer("mine");
        let options = tantivy::schema::TextOptions::default().set_stored();
        schema.add_text_field("name", options.set_indexing_options(indexing));
    };
    let error = refused(tokenized, names());
    assert!(matches!(error, Error::TokenizerMissing { field, .. } if field == "name"));
}

/// Adopts an index with documents of these keys, which must fail before anything is made.
fn refused_keys(documents: &[&[&str]]) -> Error {
    let plain = Plain::of(add_fields);
    let mut writer = plain.writer();
    let sku = writer.index().schema().get_field("sku").unwrap();
    for keys in documents {
        let mut document = TantivyDocument::new();
        for key in *keys {
            document.add_text(sku, key);
        }
        writer.add_document(document).unwrap();
        writer.commit().unwrap();
    }
    drop(writer);
    let error = plain.adopt().err().unwrap();
    assert!(!plain.target().exists());
    error
}

#[test]
fn documents_without_one_key_of_their_own_are_refused() {
    let error = refused_keys(&[&["a"], &[], &["b", "c"], &[]]);
    assert!(matches!(error, Error::KeysUnfit { missing: 2, several: 1, .. }), "{error}");
    let error = refused_keys(&[&["a"], &["b"], &["a"]]);
    assert!(matches!(error, Error::KeysShared { key, count: 1, .. } if key == "a"));
    let long = "x".repeat(600);
    let error = refused_keys(&[&[&long]]);
    assert!(matches!(error, Error::KeyLength { length: 600, .. }), "{error}");
}

#[test]
fn what_is_no_plain_index_is_refused() {
    let plain = Plain::new();
    plain.adopt().unwrap();
    let (bundle, tagger) = (bundle("bundle", &plain.seed), || tagger(Words::new(&LABELS)));
    let options = AdoptOptions::default();
    let adopt = |original: &Path, target: &Path| {
        IndexFolder::adopt(original, target, &bundle, tagger(), &options, |_| {}).err().unwrap()
    };
    let target = plain.path().join("other");
    assert!(matches!(adopt(&plain.target(), &target), Error::IndexExists { .. }));
    assert!(matches!(adopt(plain.path(), &target), Error::NoTantivyIndex { .. }));
    assert!(matches!(adopt(&target, &target), Error::NoTantivyIndex { .. }));
    let options = AdoptOptions::default().fields(names());
    let onto_itself = IndexFolder::adopt(
        &plain.original(),
        &plain.original(),
        &bundle,
        tagger(),
        &options,
        |_| {},
    );
    assert!(matches!(onto_itself, Err(Error::FolderNotEmpty { .. })));
}

#[test]
fn a_damaged_index_is_not_adopted() {
    let plain = Plain::new();
    let store =
        plain.files().into_keys().find(|path| path.extension().is_some_and(|e| e == "store"));
    let store = store.unwrap();
    let mut bytes = fs::read(&store).unwrap();
    bytes[5] ^= 1;
    fs::write(&store, bytes).unwrap();
    assert!(matches!(plain.adopt(), Err(Error::SegmentDamaged { .. })));
    assert!(!plain.target().exists());
}

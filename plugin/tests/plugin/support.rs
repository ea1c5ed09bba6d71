//! An encoder without a model, and indexes to test it on.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use autotag::datastore::DatastoreOptions;
use autotag::{
    Datastore, Embedding, EncodeError, Encoded, EncodedBatch, Encoder, Fingerprint,
    LabelVocabulary, Scores, SearchMode, Tagger,
};
use tantivy::schema::{Field, STORED, STRING, Schema};
use tantivy::{Index, TantivyDocument};
use tantivy_autotag::{
    BundleSource, Error, FieldNames, FoundDocument, InitialNeighbors, SearchRequest, TagFields,
    TagSearcher, TaggingWriter, WriterOptions, tag_path,
};
use tempfile::TempDir;

pub(crate) const DIMENSIONS: usize = 16;

/// Encodes texts as counts of hashed words; a label scores high where its last segment is a word.
///
/// The word `broken`, or another one given, makes encoding fail, `panic` makes it panic, `slow` makes it
/// take a while.
pub(crate) struct Words {
    labels: LabelVocabulary,
    fingerprint: Fingerprint,
    /// The time that each text takes.
    delay: Duration,
    broken: &'static str,
    pub(crate) n_encoded: AtomicUsize,
}

impl Words {
    pub(crate) fn new(labels: &[&str]) -> Self {
        Words {
            labels: LabelVocabulary::new(labels).unwrap(),
            fingerprint: Fingerprint([7; 32]),
            delay: Duration::ZERO,
            broken: "broken",
            n_encoded: AtomicUsize::new(0),
        }
    }

    pub(crate) fn with_fingerprint(self, byte: u8) -> Self {
        Words { fingerprint: Fingerprint([byte; 32]), ..self }
    }

    pub(crate) fn failing_on(self, broken: &'static str) -> Self {
        Words { broken, ..self }
    }

    pub(crate) fn with_delay(self, delay: Duration) -> Self {
        Words { delay, ..self }
    }
}

impl Encoder for Words {
    type Tokens = Vec<String>;

    fn labels(&self) -> &LabelVocabulary {
        &self.labels
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn tokenize(&self, text: &str) -> Result<Vec<String>, EncodeError> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() { Err(EncodeError::EmptyText) } else { Ok(words) }
    }

    fn token_count(tokens: &Vec<String>) -> usize {
        tokens.len()
    }

    fn encode(&self, batch: &[Vec<String>]) -> EncodedBatch {
        EncodedBatch::from_outcomes(DIMENSIONS, batch.iter().map(|words| self.encode_one(words)))
    }
}

impl Words {
    fn encode_one(&self, words: &[String]) -> Result<Encoded, EncodeError> {
        thread::sleep(self.delay);
        self.n_encoded.fetch_add(1, Ordering::SeqCst);
        let has = |word: &str| words.iter().any(|w| w == word);
        assert!(!has("panic"), "asked to panic");
        if has("slow") {
            thread::sleep(Duration::from_millis(30));
        }
        if has(self.broken) {
            return Err(EncodeError::Run(Arc::new(std::io::Error::other("asked to fail"))));
        }
        let mut vector = vec![0.0; DIMENSIONS];
        for word in words {
            let hash = word.bytes().fold(17usize, |h, b| h.wrapping_mul(31) ^ usize::from(b));
            vector[hash % DIMENSIONS] += 1.0;
        }
        let score = |label: &str| {
            let word = label.rsplit("::").next().unwrap_or(label);
            if has(word) { 0.9 } else { 0.05 }
        };
        let scores: Vec<f32> = self.labels.names().map(score).collect();
        Ok(Encoded {
            embedding: Embedding::new(vector).unwrap(),
            scores: Some(Scores::new(scores).unwrap()),
        })
    }
}

pub(crate) const LABELS: [&str; 3] = ["role::program", "role::library", "use::editing"];

/// Describes a bundle by its path and its training set: it has the encoder's fingerprint.
pub(crate) fn bundle<'b>(path: &'b str, training_set: &'b Datastore) -> BundleSource<'b> {
    let (path, fingerprint) = (Path::new(path), training_set.encoder());
    BundleSource { path, fingerprint, neighbors: InitialNeighbors::TrainingSet(training_set) }
}

/// An index in memory with a field of the caller's own, and a datastore on disk.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) index: Index,
    pub(crate) fields: TagFields,
    /// Not autotag's.
    pub(crate) extra: Field,
    pub(crate) datastore: Datastore,
}

pub(crate) fn schema() -> (Schema, TagFields, Field) {
    let mut schema = Schema::builder();
    let extra = schema.add_text_field("extra", STRING | STORED);
    let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
    (schema.build(), fields, extra)
}

pub(crate) fn datastore_options(labels: &[&str]) -> DatastoreOptions {
    DatastoreOptions::new(
        NonZeroUsize::new(DIMENSIONS).unwrap(),
        Fingerprint([7; 32]),
        LabelVocabulary::new(labels).unwrap(),
    )
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let (schema, fields, extra) = schema();
        let folder = TempDir::new().unwrap();
        let options = datastore_options(&LABELS);
        let datastore = Datastore::create(&folder.path().join("datastore"), &options).unwrap();
        Fixture { folder, index: Index::create_in_ram(schema), fields, extra, datastore }
    }

    pub(crate) fn open(
        &self,
        encoder: Words,
        options: WriterOptions,
    ) -> Result<TaggingWriter<Words>, Error> {
        let (index, datastore) = (self.index.clone(), self.datastore.clone());
        TaggingWriter::open(index, datastore, tagger(encoder), self.fields.clone(), options)
    }

    pub(crate) fn writer(&self) -> TaggingWriter<Words> {
        self.open(Words::new(&LABELS), WriterOptions::default()).unwrap()
    }

    pub(crate) fn document(&self, key: &str, text: &str) -> TantivyDocument {
        document(&self.fields, key, text)
    }

    pub(crate) fn searcher(&self) -> TagSearcher {
        TagSearcher::new(&self.index, self.fields.clone()).unwrap()
    }

    pub(crate) fn found(&self, key: &str) -> Option<FoundDocument> {
        self.searcher().document(key).unwrap()
    }

    pub(crate) fn tags(&self, key: &str) -> Vec<String> {
        paths(&self.found(key).unwrap())
    }

    /// Returns the keys in the index, sorted; a key that stands twice is there twice.
    pub(crate) fn keys(&self) -> Vec<String> {
        keys(&self.searcher())
    }

    /// Returns the keys in the datastore, sorted.
    pub(crate) fn neighbor_keys(&self) -> Vec<String> {
        neighbor_keys(&self.datastore)
    }
}

pub(crate) fn tagger(encoder: Words) -> Tagger<Words> {
    let mut tagger = Tagger::new(Arc::new(encoder));
    tagger.search = SearchMode::Exact;
    tagger
}

pub(crate) fn document(fields: &TagFields, key: &str, text: &str) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_text(fields.key, key);
    document.add_text(fields.texts[0], text);
    document
}

pub(crate) fn paths(found: &FoundDocument) -> Vec<String> {
    found.tags.iter().map(tag_path).collect()
}

pub(crate) fn keys(searcher: &TagSearcher) -> Vec<String> {
    let request = SearchRequest::new().limit(usize::MAX);
    let found = searcher.search(&request).unwrap();
    assert_eq!(found.total, found.documents.len());
    let mut keys: Vec<String> = found.documents.into_iter().map(|found| found.key).collect();
    keys.sort();
    keys
}

pub(crate) fn neighbor_keys(datastore: &Datastore) -> Vec<String> {
    let mut keys: Vec<String> =
        datastore.reader().unwrap().keys().map(|(_, key)| key.to_owned()).collect();
    keys.sort();
    keys
}

/// Returns options with one thread and chunks of at most so many operations.
pub(crate) fn chunks_of(operations: usize) -> WriterOptions {
    WriterOptions::new()
        .threads(NonZeroUsize::new(1))
        .chunk_operations(NonZeroUsize::new(operations).unwrap())
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
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

//! Encoders of the caller's own, without a bundle and without first neighbors.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use autotag::ndarray::Array2;
use autotag::{
    DatastoreOptions, EmbedError, Embedder, Encoder, Interpolation, LabelVocabulary, Tagger,
};
use tantivy::tokenizer::TokenizerManager;
use tantivy_autotag::{
    BundleSource, Error, IndexFolder, OnFailure, TagFields, TaggingWriter, TokenHashEncoder,
    WriterOptions,
};
use tempfile::TempDir;

use crate::support::{document, keys, neighbor_keys, paths, schema};

fn create<E: Encoder>(folder: &Path, encoder: &E) -> IndexFolder {
    let (schema, fields, _) = schema();
    let options = DatastoreOptions::of(encoder).unwrap();
    let bundle = BundleSource::without_bundle(&options);
    IndexFolder::create(folder, schema, &fields, &bundle).unwrap()
}

fn tagger<E: Encoder>(encoder: E) -> Tagger<E> {
    let mut tagger = Tagger::new(Arc::new(encoder));
    tagger.interpolation =
        Interpolation { k: NonZeroUsize::new(3).unwrap(), ..tagger.interpolation };
    tagger
}

fn open<E: Encoder + 'static>(index: &IndexFolder, encoder: E) -> TaggingWriter<E> {
    index.writer(tagger(encoder), WriterOptions::default()).unwrap()
}

/// Adds labeled documents about three topics and commits them.
fn label<E: Encoder>(writer: &TaggingWriter<E>, fields: &TagFields) {
    let labeled = [
        ("a1", "the rocket left for orbit around the moon", "science::space"),
        ("a2", "a telescope saw the moon and a galaxy in orbit", "science::space"),
        ("a3", "rocket launch into orbit", "science::space"),
        ("b1", "simmer garlic and butter in the oven", "food"),
        ("b2", "a recipe with flour, butter and garlic", "food"),
        ("b3", "the oven bakes garlic bread with butter", "food"),
        ("c1", "the striker missed the goal in the league", "sport"),
        ("c2", "a penalty for the keeper of the league", "sport"),
        ("c3", "a goal in the match of the league", "sport"),
    ];
    for (key, text, label) in labeled {
        writer.add_labeled(document(fields, key, text), [label]).unwrap();
    }
    writer.commit().unwrap();
}

fn tags(index: &IndexFolder, key: &str) -> Vec<String> {
    paths(&index.searcher().unwrap().document(key).unwrap().unwrap())
}

#[test]
fn documents_are_tagged_by_shared_words_without_a_model() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let index = create(&path, &TokenHashEncoder::default());
    assert_eq!(index.bundle(), None);
    assert!(neighbor_keys(&index.datastore().unwrap()).is_empty());
    let (_, fields) = index.index().unwrap();

    let writer = open(&index, TokenHashEncoder::default());
    writer.add(document(&fields, "early", "a rocket in orbit")).unwrap();
    label(&writer, &fields);
    writer.add(document(&fields, "late", "the next rocket flies into orbit")).unwrap();
    writer.add(document(&fields, "dish", "garlic with butter")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();

    // The first came before anything was labeled.
    assert!(tags(&index, "early").is_empty());
    assert_eq!(tags(&index, "late"), ["/science/space"]);
    assert_eq!(tags(&index, "dish"), ["/food"]);

    let again = IndexFolder::open(&path).unwrap();
    let writer = open(&again, TokenHashEncoder::default());
    writer.add(document(&fields, "match", "the goal of the match")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    assert_eq!(tags(&again, "match"), ["/sport"]);
}

#[test]
fn another_tokenizer_cannot_open_the_index() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let index = create(&path, &TokenHashEncoder::default());
    let stemmed = TokenHashEncoder::new(
        &TokenizerManager::default(),
        "en_stem",
        TokenHashEncoder::DEFAULT_DIMENSIONS,
    );
    let refused = index.writer(tagger(stemmed.unwrap()), WriterOptions::default());
    assert!(matches!(refused, Err(Error::EncoderMismatch { .. })));
}

#[test]
fn an_index_without_a_bundle_is_repaired_and_migrated_without_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("index");
    let mut index = create(&path, &TokenHashEncoder::default());
    let (_, fields) = index.index().unwrap();
    let writer = open(&index, TokenHashEncoder::default());
    label(&writer, &fields);
    writer.close().unwrap();
    let labeled = keys(&index.searcher().unwrap());

    // Repair rebuilds the neighbors from the documents.
    std::fs::write(index.datastore_path().join("data.mdb"), "damage").unwrap();
    let encoder = TokenHashEncoder::default();
    let options = DatastoreOptions::of(&encoder).unwrap();
    let bundle = BundleSource::without_bundle(&options);
    index.repair(&tagger(encoder), &bundle, |_| {}).unwrap();
    assert_eq!(neighbor_keys(&index.datastore().unwrap()), labeled);

    // Another encoder of one's own, of other dimensions.
    let larger = || {
        let dimensions = NonZeroUsize::new(1024).unwrap();
        TokenHashEncoder::new(&TokenizerManager::default(), "en_stem", dimensions).unwrap()
    };
    let options = DatastoreOptions::of(&larger()).unwrap();
    let bundle = BundleSource::without_bundle(&options);
    let moved = index.migrate(tagger(larger()), &bundle, WriterOptions::default(), |_| {});
    let (writer, report) = moved.unwrap();
    assert_eq!(report.encoded, 9);
    writer.add(document(&fields, "late", "rockets in orbits")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    assert_eq!(tags(&index, "late"), ["/science/space"]);
}

/// Counts letters: the least that an embedder can be.
struct Letters;

impl Embedder for Letters {
    fn id(&self) -> &str {
        "letters"
    }

    fn dimensions(&self) -> usize {
        26
    }

    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, EmbedError> {
        let mut counts = Array2::zeros((texts.len(), 26));
        for (row, text) in texts.iter().enumerate() {
            if text.contains("poison") {
                return Err("no letters of poison".into());
            }
            for letter in text.bytes().filter(u8::is_ascii_lowercase) {
                counts[[row, usize::from(letter - b'a')]] += 1.0;
            }
        }
        Ok(counts)
    }
}

#[test]
fn an_embedder_chosen_at_run_time_tags() {
    let boxed: Box<dyn Embedder> = Box::new(Letters);
    let shared: Arc<dyn Embedder> = Arc::new(Letters);
    let folder = TempDir::new().unwrap();
    let index = create(&folder.path().join("index"), &Letters);
    let (_, fields) = index.index().unwrap();
    let writer = open(&index, boxed);
    writer.add_labeled(document(&fields, "a", "aaa aab"), ["a"]).unwrap();
    writer.add_labeled(document(&fields, "b", "zzz zzy"), ["z"]).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let mut tagger = tagger(shared);
    tagger.interpolation.k = NonZeroUsize::MIN;
    let options = WriterOptions::new().on_failure(OnFailure::Skip);
    let writer = index.writer(tagger, options).unwrap();
    writer.add(document(&fields, "c", "aa a baa")).unwrap();
    writer.add(document(&fields, "d", "some poison")).unwrap();
    writer.add(document(&fields, "e", "zz")).unwrap();
    let failures = writer.commit().unwrap().failures;
    writer.close().unwrap();
    assert_eq!(failures.iter().map(|failed| failed.key.as_str()).collect::<Vec<_>>(), ["d"]);
    assert_eq!(
        (tags(&index, "c"), tags(&index, "e")),
        (vec!["/a".to_owned()], vec!["/z".to_owned()])
    );
}

#[test]
fn labels_of_an_embedder_begin_the_vocabulary() {
    struct Scored(LabelVocabulary);
    impl Embedder for Scored {
        fn id(&self) -> &str {
            "scored"
        }
        fn dimensions(&self) -> usize {
            2
        }
        fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, EmbedError> {
            Ok(Array2::ones((texts.len(), 2)))
        }
        fn labels(&self) -> &LabelVocabulary {
            &self.0
        }
        fn embed_and_score(
            &self,
            texts: &[&str],
        ) -> Result<autotag::embedder::EmbeddedTexts, EmbedError> {
            let embeddings = self.embed(texts)?;
            let scores = Array2::from_shape_fn((texts.len(), 2), |(row, label)| {
                if texts[row].contains(["spam", "ham"][label]) { 0.9 } else { 0.1 }
            });
            Ok(autotag::embedder::EmbeddedTexts { embeddings, scores: Some(scores) })
        }
    }
    let scored = || Scored(LabelVocabulary::new(["spam", "ham"]).unwrap());
    let folder = TempDir::new().unwrap();
    let index = create(&folder.path().join("index"), &scored());
    let reader = index.datastore().unwrap().reader().unwrap();
    assert_eq!(reader.labels().names().collect::<Vec<_>>(), ["spam", "ham"]);
    drop(reader);
    let (_, fields) = index.index().unwrap();
    let writer = open(&index, scored());
    writer.add(document(&fields, "a", "much ham")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    assert_eq!(tags(&index, "a"), ["/ham"]);
}

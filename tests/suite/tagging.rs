//! Texts in, tags out, with a trained bundle.

use std::num::NonZeroUsize;

use autotag::datastore::DatastoreOptions;
use autotag::tagger::StageTimes;
use autotag::{Datastore, Embedding, Encoder, SearchMode, Source, Tagging};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};

use crate::tiny;

struct Trained {
    _folder: tempfile::TempDir,
    bundle: ModelBundle,
}

fn trained() -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(&folder.path().join("bundle")).unwrap();
    Trained { _folder: folder, bundle }
}

fn tag(bundle: &ModelBundle, datastore: &Datastore, text: &str) -> Tagging {
    let tagger = bundle.tagger(&OnnxOptions::default()).unwrap();
    let reader = datastore.reader().unwrap();
    let mut outcomes = tagger.tag(&[text], &reader, &mut StageTimes::default()).unwrap();
    outcomes.remove(0).unwrap()
}

fn names(datastore: &Datastore, tagging: &Tagging) -> Vec<String> {
    let reader = datastore.reader().unwrap();
    let mut names: Vec<String> =
        tagging.tags.iter().map(|tag| reader.labels().name(tag.label).to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_trained_bundle_tags_texts_about_several_topics() {
    let Trained { bundle, _folder } = trained();
    let datastore = bundle.datastore().unwrap();
    let tagging = tag(&bundle, &datastore, &tiny::text(&[0], 1234));
    assert_eq!(names(&datastore, &tagging), ["science::space"]);
    let tagging = tag(&bundle, &datastore, &tiny::text(&[2, 4], 1234));
    assert_eq!(names(&datastore, &tagging), ["arts::music", "food::cooking"]);
    let weight: f32 = tagging.neighbors.iter().map(|vote| vote.weight).sum();
    assert!((weight - 1.0).abs() < 1e-5, "{weight}");
}

#[test]
fn with_an_empty_datastore_the_model_alone_answers() {
    let Trained { bundle, _folder } = trained();
    let datastore = empty_datastore(&bundle, &_folder.path().join("empty"));
    let tagging = tag(&bundle, &datastore, &tiny::text(&[3], 77));
    let best = datastore.reader().unwrap().labels().name(tagging.tags[0].label).to_owned();
    assert_eq!(best, "sport::football");
    assert!(tagging.neighbors.is_empty());
    assert_eq!(tagging.tags[0].model, Some(tagging.tags[0].score));
}

#[test]
fn with_k_larger_than_the_datastore_all_of_it_votes() {
    let Trained { bundle, _folder } = trained();
    let datastore = empty_datastore(&bundle, &_folder.path().join("small"));
    put(&bundle, &datastore, "one", &tiny::text(&[0], 1), &["brand::new"]);
    let mut tagger = bundle.tagger(&OnnxOptions::default()).unwrap();
    tagger.interpolation.k = NonZeroUsize::new(1000).unwrap();
    for mode in [SearchMode::Auto, SearchMode::Exact, SearchMode::Arroy] {
        tagger.search = mode;
        let reader = datastore.reader().unwrap();
        let text = tiny::text(&[0], 2);
        let outcomes = tagger.tag(&[&text], &reader, &mut StageTimes::default()).unwrap();
        let tagging = outcomes[0].as_ref().unwrap();
        assert_eq!(tagging.neighbors.len(), 1, "{mode:?}");
        // A label that the model never saw has its neighbors' score.
        assert!(names(&datastore, tagging).contains(&"brand::new".to_owned()), "{mode:?}");
    }
}

#[test]
fn a_text_that_cannot_be_tagged_spares_the_others() {
    let Trained { bundle, _folder } = trained();
    let datastore = bundle.datastore().unwrap();
    let tagger = bundle.tagger(&OnnxOptions::default()).unwrap();
    let huge = "rocket orbit moon ".repeat(50_000_000 / 18);
    let nul = format!("rocket\0 {}", tiny::text(&[0], 3));
    let texts = ["", &huge, " \n\t", &nul];
    let started = std::time::Instant::now();
    let reader = datastore.reader().unwrap();
    let outcomes = tagger.tag(&texts, &reader, &mut StageTimes::default()).unwrap();
    assert!(started.elapsed().as_secs() < 10, "a text's cost is bounded");
    assert_eq!(
        outcomes[0].as_ref().unwrap_err().to_string(),
        "the text is empty: give it at least one word"
    );
    assert!(outcomes[2].is_err());
    for outcome in [&outcomes[1], &outcomes[3]] {
        assert_eq!(names(&datastore, outcome.as_ref().unwrap()), ["science::space"]);
    }
}

fn empty_datastore(bundle: &ModelBundle, folder: &std::path::Path) -> Datastore {
    let dimensions = bundle.config().dimensions;
    let options =
        DatastoreOptions::new(dimensions, bundle.encoder_fingerprint(), bundle.labels().clone());
    Datastore::create(folder, &options).unwrap()
}

fn put(bundle: &ModelBundle, datastore: &Datastore, key: &str, text: &str, labels: &[&str]) {
    let encoder = OnnxEncoder::open(bundle, &OnnxOptions::default()).unwrap();
    let tokens = encoder.tokenize(text).unwrap();
    let encoded = encoder.encode(&[tokens]).row(0).unwrap();
    let embedding: &Embedding = &encoded.embedding;
    let mut writer = datastore.writer().unwrap();
    writer.put(key, embedding, labels, Source::Human).unwrap();
    writer.commit().unwrap();
}

//! The wide model from labeled texts to answers.

use std::path::Path;

use autotag::{EncodeError, Encoded, Encoder};
use autotag_onnx::bundle::InputKind;
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use autotag_train::models::cnn::CnnConfig;
use autotag_train::models::wide::WideConfig;
use autotag_train::{
    ContrastiveConfig, ContrastiveTemperature, Dataset, Init, LabeledText, Member, ModelSpec,
    Preset, TrainConfig, TrainError, TrainReport, TrainingRun, Unreadable,
};

use crate::tiny;

fn preset(change: impl Fn(&mut WideConfig)) -> Preset {
    let Preset { mut spec, config } = "wide".parse().unwrap();
    let ModelSpec::Wide(wide) = &mut spec else { panic!("{spec:?}") };
    wide.hidden = 24;
    change(wide);
    Preset { spec, config: TrainConfig { batch_size: 16, epochs: 6, ..config } }
}

fn short() -> Preset {
    let Preset { spec, config } = preset(|_| {});
    Preset { spec, config: TrainConfig { epochs: 2, ..config } }
}

/// Returns a wide model with a CNN, and the CNN's number of filters.
fn ensemble(lexical: usize) -> (Preset, usize) {
    let Preset { spec: wide, config } = preset(|wide| wide.lexical = lexical);
    let ModelSpec::Cnn(cnn) = tiny::preset().unwrap().spec else { panic!("{wide:?}") };
    let cnn = CnnConfig { normalize: true, ..cnn };
    let n_filters = cnn.n_filters();
    // Shares count in proportion to each other.
    let members = [(3.0, wide), (7.0, ModelSpec::Cnn(cnn))];
    let members = members.into_iter().map(|(share, model)| Member { share, model });
    (Preset { spec: ModelSpec::Ensemble(members.collect()), config }, n_filters)
}

fn train(
    train: Vec<LabeledText>,
    dev: Vec<LabeledText>,
    Preset { spec, config }: &Preset,
    out: &Path,
) -> Result<(ModelBundle, TrainReport), TrainError> {
    let train = Dataset::new(train)?;
    let dev = Dataset::with_vocabulary(dev, train.vocabulary())?;
    TrainingRun::new(&train, &dev, config, out, &OnnxOptions::default()).train(
        spec,
        Init::Random,
        None,
        &mut |_| {},
    )
}

fn trained(folder: &Path, preset: &Preset) -> (ModelBundle, TrainReport) {
    let (data, dev) = (tiny::documents("train", 240), tiny::documents("dev", 60));
    train(data, dev, preset, &folder.join("bundle")).unwrap()
}

fn encode(encoder: &OnnxEncoder, texts: &[String]) -> Vec<Result<Encoded, EncodeError>> {
    let inputs: Vec<_> = texts.iter().map(|text| encoder.tokenize(text).unwrap()).collect();
    encoder.encode(&inputs).outcomes().collect()
}

#[test]
fn it_learns_and_its_export_says_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    for normalize in [true, false] {
        let preset = preset(|wide| {
            (wide.normalize, wide.lexical) = (normalize, if normalize { 20 } else { 0 });
        });
        let (bundle, report) = trained(folder.path(), &preset);
        assert!(report.dev_micro_f1 > 0.9, "{report:?}");
        assert!(report.export_difference < 1e-4, "{}", report.export_difference);
        assert_eq!(bundle.config().input, InputKind::Ngrams);
        assert_eq!(bundle.config().normalized, normalize);
        assert_eq!(bundle.datastore().unwrap().reader().unwrap().len(), 240);
        let told: TrainReport = serde_json::from_value(bundle.config().training.clone()).unwrap();
        // Not the figures too: reading JSON may lose their last bit.
        assert_eq!((told.spec, told.config), (report.spec, report.config));
        assert_eq!((told.n_train, told.fit.best_epoch), (240, report.fit.best_epoch));
    }
}

#[test]
fn an_ensemble_of_two_answers_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let train = Dataset::new(tiny::documents("train", 240)).unwrap();
    let dev = Dataset::with_vocabulary(tiny::documents("dev", 60), train.vocabulary()).unwrap();
    let out = folder.path().join("bundle");
    let options = OnnxOptions::default();
    for lexical in [0, 20] {
        let (Preset { spec, config }, n_filters) = ensemble(lexical);
        let run = TrainingRun::new(&train, &dev, &config, &out, &options);
        let (bundle, report) = run.train(&spec, Init::Random, None, &mut |_| {}).unwrap();
        assert!(report.dev_micro_f1 > 0.9 && report.export_difference < 1e-4, "{report:?}");
        assert_eq!(bundle.config().input, InputKind::TokensAndNgrams);
        assert_eq!(bundle.config().dimensions.get(), 24 + lexical + n_filters);
        let encoder = OnnxEncoder::open(&bundle, &options).unwrap();
        for encoded in encode(&encoder, &dev.texts()[..5]) {
            let length: f32 = encoded.unwrap().embedding.values().iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-3, "{length}");
        }
    }
}

#[test]
fn a_seed_fixes_the_model_whatever_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let contrastive = ContrastiveConfig {
        gamma: 1.0,
        temperature: ContrastiveTemperature::Relative { factor: 0.5 },
        ..ContrastiveConfig::default()
    };
    for Preset { spec, config } in [short(), ensemble(8).0] {
        let model = |seed, threads| {
            let config = TrainConfig { epochs: 2, contrastive, seed, threads, ..config.clone() };
            let preset = Preset { spec: spec.clone(), config };
            let (bundle, report) = trained(folder.path(), &preset);
            let mut epochs = report.fit.epochs;
            epochs.iter_mut().for_each(|epoch| epoch.texts_per_second = 0.0);
            (bundle.encoder_fingerprint(), epochs)
        };
        let first = model(1, 1);
        assert_eq!(first, model(1, 1));
        for threads in [2, 3] {
            assert_eq!(first, model(1, threads));
        }
        assert_ne!(first, model(2, 1));
    }
}

#[test]
fn a_text_has_the_same_answer_alone_and_in_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, _) = trained(folder.path(), &short());
    let encoder = OnnxEncoder::open(&bundle, &OnnxOptions::default()).unwrap();
    let words = tiny::text(&[0, 1, 2, 3], 5);
    let words: Vec<&str> = words.split(' ').collect();
    let texts: Vec<String> = [1, 2, 3, 5, 8, 13, 30].map(|n| words[..n].join(" ")).to_vec();
    for (text, together) in texts.iter().zip(encode(&encoder, &texts)) {
        let alone = encode(&encoder, std::slice::from_ref(text)).remove(0).unwrap();
        let together = together.unwrap();
        let values = |encoded: &Encoded| {
            let scores = encoded.scores.as_ref().unwrap().values().to_vec();
            [encoded.embedding.values().to_vec(), scores].concat()
        };
        for (a, b) in values(&alone).iter().zip(values(&together)) {
            assert!((a - b).abs() < 1e-5, "{text}: {a} {b}");
        }
    }
}

#[test]
fn a_training_text_without_a_known_ngram_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = tiny::documents("train", 60);
    data[7].text = "zyx wvu".to_owned();
    let out = folder.path().join("bundle");
    let (bundle, report) = train(data, tiny::documents("dev", 20), &short(), &out).unwrap();
    assert_eq!((report.n_train, report.skipped.train), (59, 1));
    assert_eq!(bundle.datastore().unwrap().reader().unwrap().len(), 59);
    let encoder = OnnxEncoder::open(&bundle, &OnnxOptions::default()).unwrap();
    let outcome = encode(&encoder, &["zyx wvu".to_owned()]).remove(0);
    assert!(matches!(outcome, Err(EncodeError::Answer(_))), "{outcome:?}");
}

#[test]
fn texts_that_repeat_no_word_are_an_error_and_an_older_bundle_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (older, _) = trained(folder.path(), &short());
    let mut data = tiny::documents("train", 20);
    for (number, document) in data.iter_mut().enumerate() {
        document.text = format!("only{number}");
    }
    let out = folder.path().join("bundle");
    let error = train(data, tiny::documents("dev", 20), &short(), &out).unwrap_err();
    assert!(matches!(error, TrainError::NoNgrams { n_texts: 20, min_documents: 2 }), "{error}");
    assert_eq!(ModelBundle::open(&out).unwrap().fingerprint(), older.fingerprint());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_text_without_words_is_named_where_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = tiny::documents("train", 60);
    data[7].text = " ?! ".to_owned();
    let data = Dataset::new(data).unwrap();
    let (out, options) = (folder.path().join("bundle"), OnnxOptions::default());
    let Preset { spec, config } = short();
    let error = TrainingRun::new(&data, &data, &config, &out, &options)
        .unreadable(Unreadable::Refuse)
        .train(&spec, Init::Random, None, &mut |_| {})
        .unwrap_err();
    assert!(matches!(&error, TrainError::Text { key, .. } if key == "train-7"), "{error}");
    assert!(!out.exists());
}

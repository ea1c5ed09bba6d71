//! Texts of every length, for every model: the export says what the trainer says.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

use autotag::{EncodeError, Encoded, Encoder, LabelId, LabelSet};
use autotag_onnx::{Device, ModelInput, OnnxEncoder};

use super::*;
use crate::bert::tests::{N_TOKENS, tiny_config, words};
use crate::bert::{BertFolder, BertWeights};
use crate::model::{Answer, Predicted, StepLoss};
use crate::models::cnn::{CnnConfig, GraphForm};
use crate::optimizer::AdamConfig;
use crate::rows::row_major;
use crate::state::{State, StateError};
use crate::{LabeledText, Preset, Pretrained, Skipped};

/// The tokens that the models read at most.
const MAX_LENGTH: usize = 12;

/// Words that stand for padding, a text's ends and what is unknown.
const SPECIAL: [&str; 3] = ["[PAD]", "w5 [PAD] [UNK] w6", "[SEP] [PAD]"];

/// Makes up two texts of each length from 1 token to beyond what the models read, and texts with special
/// tokens of their own.
fn documents() -> Vec<LabeledText> {
    let text = |number: usize| {
        let n_words = 1 + number / 2;
        let word = |at: usize| format!("w{}", 4 + (number * 7 + at * at) % (N_TOKENS - 4));
        (0..n_words).map(word).collect::<Vec<_>>().join(" ")
    };
    let texts = (0..2 * (MAX_LENGTH + 3)).map(text).chain(SPECIAL.map(str::to_owned));
    let labeled = |(number, text): (usize, String)| LabeledText {
        key: number.to_string(),
        text,
        labels: vec![format!("label {}", number % 3)],
    };
    texts.enumerate().map(labeled).collect()
}

/// Returns a small model of a kind, and a short training; it ends far enough from the start that no
/// bias is zero any more.
fn preset(name: &str) -> Preset {
    let mut preset: Preset = name.parse().unwrap();
    preset.config = TrainConfig {
        batch_size: 8,
        epochs: 3,
        max_length: MAX_LENGTH,
        threads: 1,
        ..Preset::from_str("cnn").unwrap().config
    };
    for model in preset.spec.members_mut() {
        let adam = match model {
            ModelSpec::Cnn(cnn) => {
                (cnn.filters, cnn.normalize) = (6, true);
                &mut cnn.adam
            }
            ModelSpec::Wide(wide) => {
                (wide.hidden, wide.lexical) = (8, 6);
                continue;
            }
            ModelSpec::Adapter(adapter) => {
                (adapter.hidden, adapter.normalize) = (8, true);
                &mut adapter.adam
            }
            ModelSpec::Ldgn(ldgn) => {
                (ldgn.lstm, ldgn.graph) = (4, 4);
                &mut ldgn.adam
            }
            ModelSpec::Bert(bert) => {
                bert.normalize = true;
                &mut bert.adam
            }
            ModelSpec::Ensemble(_) => unreachable!("members are no ensembles"),
        };
        *adam = AdamConfig { learning_rate: 0.05, ..AdamConfig::default() };
    }
    preset
}

/// Changes the CNN's settings.
fn with_cnn(mut preset: Preset, change: impl Fn(&mut CnnConfig)) -> Preset {
    for model in preset.spec.members_mut() {
        if let ModelSpec::Cnn(cnn) = model {
            change(cnn);
        }
    }
    preset
}

fn options() -> OnnxOptions {
    let mut options = OnnxOptions::default();
    options.device = Device::Cpu;
    options.sessions = NonZeroUsize::MIN;
    options
}

fn encoder() -> Init {
    let config = tiny_config();
    let weights = BertWeights::random(&config, 7);
    let tokenizer = words(N_TOKENS);
    Init::Encoder(Arc::new(BertFolder { tokenizer, config, weights, pooling: None }))
}

/// A tokenizer of one token for each word, with random vectors.
fn tokens() -> Init {
    let values = (0..N_TOKENS * 8).map(|n| ((n * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let token_table = row_major(N_TOKENS, 8, values);
    Init::Tokens(Box::new(Pretrained { tokenizer: words(N_TOKENS), token_table }))
}

fn run(
    preset: &Preset,
    init: Init,
    texts: &Dataset,
    unreadable: Unreadable,
) -> Result<(tempfile::TempDir, ModelBundle, TrainReport)> {
    let folder = tempfile::tempdir().unwrap();
    let (out, options) = (folder.path().join("bundle"), options());
    let run = TrainingRun::new(texts, texts, &preset.config, &out, &options);
    let trained = run.unreadable(unreadable).train(&preset.spec, init, None, &mut |_| {});
    trained.map(|(bundle, report)| (folder, bundle, report))
}

/// Trains on texts of every length, which are dev too: the run itself compares trainer and export on
/// them, in batches of different lengths; here the export's answers alone and in pairs are added.
fn check(preset: &Preset, init: Init) {
    let texts = Dataset::new(documents()).unwrap();
    let (_folder, bundle, report) = run(preset, init, &texts, Unreadable::Skip).unwrap();
    let difference = report.export_difference;
    assert!(difference < 1e-5, "{:?}: {difference}", preset.spec);
    let encoder = OnnxEncoder::open(&bundle, &options()).unwrap();
    let texts = texts.texts().iter();
    let inputs: Vec<ModelInput> = texts.map(|text| encoder.tokenize(text).unwrap()).collect();
    let together = encoder.encode(&inputs);
    let longest = &inputs[2 * MAX_LENGTH];
    for (input, together) in inputs.iter().zip(together.outcomes()) {
        let alone = encoder.encode(std::slice::from_ref(input)).row(0);
        let beside = encoder.encode(&[longest.clone(), input.clone()]).row(1);
        assert_same(&together, &alone);
        assert_same(&together, &beside);
    }
}

fn assert_same(a: &Result<Encoded, EncodeError>, b: &Result<Encoded, EncodeError>) {
    let (Ok(a), Ok(b)) = (a, b) else {
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        return;
    };
    let values = |encoded: &Encoded| {
        let scores = encoded.scores.as_ref().unwrap().values().to_vec();
        [encoded.embedding.values(), &scores].concat()
    };
    for (a, b) in values(a).iter().zip(values(b)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// Windows of one width and of several, with and without a narrow one.
const WIDTHS: [&[usize]; 5] = [&[3, 4, 5], &[1, 2, 3, 4, 5], &[1], &[5], &[7, 2]];

#[test]
fn a_cnn_and_its_exports_agree_on_texts_of_every_length() {
    for widths in WIDTHS {
        for form in [GraphForm::Folded, GraphForm::Plain] {
            for normalize in [true, false] {
                let change = |cnn: &mut CnnConfig| {
                    (cnn.widths, cnn.form, cnn.normalize) = (widths.to_vec(), form, normalize);
                };
                check(&with_cnn(preset("cnn"), change), tokens());
            }
        }
    }
}

#[test]
fn an_ensemble_with_a_cnn_and_its_exports_agree_on_texts_of_every_length() {
    for form in [GraphForm::Folded, GraphForm::Plain] {
        check(&with_cnn(preset("wide-cnn"), |cnn| cnn.form = form), tokens());
        check(&with_cnn(preset("wide-cnn-adapter"), |cnn| cnn.form = form), encoder());
        check(&with_cnn(preset("cnn+adapter"), |cnn| cnn.form = form), encoder());
    }
}

/// The export is compared with the trained model, projection included.
#[test]
fn projected_representations_have_the_dimensions_asked_for() {
    let texts = Dataset::new(documents()).unwrap();
    let dimensions = |projection: usize| {
        let mut preset = preset("wide-cnn");
        preset.config.projection = projection;
        let (_folder, bundle, _) = run(&preset, tokens(), &texts, Unreadable::Skip).unwrap();
        let datastore = bundle.datastore().unwrap().reader().unwrap();
        assert_eq!(datastore.dimensions(), bundle.config().dimensions.get());
        assert_eq!(bundle.config().normalized, !(1..20).contains(&projection));
        datastore.dimensions()
    };
    let all = dimensions(0);
    assert_eq!(dimensions(5), 5);
    assert_eq!(dimensions(all), all);
    let mut projected = preset("wide-cnn");
    projected.config.projection = 5;
    check(&projected, tokens());
}

/// The export is compared with the trained model, linear classifiers included.
#[test]
fn a_model_stacked_with_linear_classifiers_finds_labels_that_it_did_not_learn() {
    let text = |number: usize| LabeledText {
        key: number.to_string(),
        text: format!("w{} w{} w{}", number % 10, 10 + number % 7, 20 + number % 3),
        labels: vec![format!("label {}", number % 10)],
    };
    let texts = Dataset::new((0..200).map(text)).unwrap();
    let n_right = |linear: usize| {
        let mut preset = preset("wide-cnn");
        preset.config.epochs = 1;
        for model in preset.spec.members_mut() {
            if let ModelSpec::Wide(wide) = model {
                (wide.linear, wide.adam.learning_rate) = (linear, 1e-4);
            }
        }
        let (_folder, bundle, report) = run(&preset, tokens(), &texts, Unreadable::Skip).unwrap();
        assert_eq!(report.fit.stacking.is_some(), linear > 0);
        let encoder = OnnxEncoder::open(&bundle, &options()).unwrap();
        let inputs: Vec<ModelInput> =
            texts.texts().iter().map(|text| encoder.tokenize(text).unwrap()).collect();
        let encoded = encoder.encode(&inputs);
        let found = encoded.outcomes().zip(texts.labels()).filter(|(outcome, labels)| {
            let scores = outcome.as_ref().unwrap().scores.as_ref().unwrap().values();
            (0..).zip(scores).all(|(l, &score)| (score > 0.5) == labels.contains(LabelId(l)))
        });
        found.count()
    };
    assert!(n_right(0) < 100, "{}", n_right(0));
    assert_eq!(n_right(1000), 200);
}

#[test]
fn models_without_windows_and_their_exports_agree_on_texts_of_every_length() {
    for normalize in [true, false] {
        let mut wide = preset("wide");
        if let ModelSpec::Wide(wide) = &mut wide.spec {
            (wide.normalize, wide.lexical) = (normalize, if normalize { 6 } else { 0 });
        }
        check(&wide, Init::Random);
        let mut adapter = preset("adapter");
        if let ModelSpec::Adapter(adapter) = &mut adapter.spec {
            adapter.normalize = normalize;
        }
        check(&adapter, encoder());
    }
}

#[cfg(feature = "burn")]
#[test]
fn models_by_automatic_differentiation_agree_with_their_exports_on_texts_of_every_length() {
    check(&preset("ldgn"), tokens());
    check(&preset("bert"), encoder());
    check(&preset("wide+ldgn"), Init::Random);
    // Both write constants of the same names.
    check(&preset("adapter+bert"), encoder());
    check(&with_cnn(preset("cnn+ldgn"), |cnn| cnn.form = GraphForm::Plain), tokens());
    for form in [GraphForm::Folded, GraphForm::Plain] {
        let mut three = with_cnn(preset("wide-cnn-bert"), |cnn| cnn.form = form);
        three.config.epochs = 2;
        check(&three, encoder());
    }
}

#[test]
fn a_model_without_what_it_is_made_of_is_told() {
    let texts = Dataset::new(documents()).unwrap();
    for init in [Init::Random, tokens()] {
        let error = run_error("adapter", init, &texts, Unreadable::Skip);
        assert!(matches!(error, TrainError::NoEncoder { .. }), "{error}");
    }
    let mut preset = preset("cnn+ldgn");
    let features = preset.spec.check_features();
    assert_eq!(features.is_ok(), cfg!(feature = "burn"));
    if let ModelSpec::Ldgn(ldgn) = &mut preset.spec.members_mut()[1] {
        ldgn.vocabulary_size = 100;
    }
    if features.is_ok() {
        let outcome = run(&preset, Init::Random, &texts, Unreadable::Skip).map(|_| ());
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("the same for all models of an ensemble"), "{error}");
    }
}

#[test]
fn texts_that_cannot_be_read_are_left_out_and_counted() {
    let mut documents = documents();
    for (row, text) in [(3, "  "), (8, ""), (20, "\n")] {
        documents[row].text = text.to_owned();
    }
    let texts = Dataset::new(documents.clone()).unwrap();
    let skipped = Skipped { train: 3, dev: 3 };
    let random = || Init::Random;
    let inits: [fn() -> Init; 4] = [tokens, random, encoder, encoder];
    for (name, init) in ["cnn", "wide", "adapter", "wide-cnn-adapter"].into_iter().zip(inits) {
        let (_folder, bundle, report) =
            run(&preset(name), init(), &texts, Unreadable::Skip).unwrap();
        assert_eq!((report.skipped, report.n_train, report.n_dev), (skipped, 30, 30));
        assert!(bundle.datastore().unwrap().reader().unwrap().len() <= 30);
        let card = std::fs::read_to_string(bundle.path().join("card.md")).unwrap();
        assert!(card.contains("3 training texts and 3 dev texts"), "{card}");
        let error = run_error(name, init(), &texts, Unreadable::Refuse);
        assert!(matches!(&error, TrainError::Text { key, .. } if key == "3"), "{error}");
    }
    documents.iter_mut().for_each(|document| document.text = " ".to_owned());
    let nothing = Dataset::new(documents).unwrap();
    let error = run_error("cnn", tokens(), &nothing, Unreadable::Skip);
    let expected = matches!(error, TrainError::NoReadableText { part: "training", n_texts: 33 });
    assert!(expected, "{error}");
}

fn run_error(name: &str, init: Init, texts: &Dataset, unreadable: Unreadable) -> TrainError {
    run(&preset(name), init, texts, unreadable).map(|_| ()).unwrap_err()
}

#[test]
fn a_text_in_which_the_wide_model_knows_nothing_is_left_out() {
    let mut documents = documents();
    documents[9].text = "unheard of".to_owned();
    let texts = Dataset::new(documents).unwrap();
    let report = |name, init| run(&preset(name), init, &texts, Unreadable::Skip).unwrap().2;
    assert_eq!(report("wide", Init::Random).skipped, Skipped { train: 1, dev: 1 });
    // The CNN reads its tokens, known or not.
    assert_eq!(report("wide-cnn", tokens()).skipped, Skipped::default());
}

/// A model whose export scores texts otherwise than it does itself.
struct Crooked<M: ?Sized>(Box<M>);

impl Model for Crooked<dyn Model> {
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        self.0.step(texts, labels, rate)
    }

    fn snapshot(&mut self, rate: f32) -> Box<dyn Predict> {
        Box::new(Crooked(self.0.snapshot(rate)))
    }

    fn state(&self) -> State<'_> {
        self.0.state()
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.0.restore(state)
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Box<dyn Predict>, StateError> {
        Ok(Box::new(Crooked(self.0.restore_snapshot(state)?)))
    }
}

impl Predict for Crooked<dyn Predict> {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        let mut predicted = self.0.predict(texts);
        predicted.scores *= 0.99;
        predicted
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        self.0.write(graph)
    }

    fn state(&self) -> State<'_> {
        self.0.state()
    }
}

#[test]
fn an_export_that_differs_is_found_before_the_first_epoch() {
    let texts = Dataset::new(documents()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (out, checkpoints) = (folder.path().join("bundle"), folder.path().join("run"));
    let (options, Preset { spec, config }) = (options(), preset("cnn"));
    let run = TrainingRun::new(&texts, &texts, &config, &out, &options)
        .checkpoints(&checkpoints, Start::Anew);
    let mut told = Vec::new();
    let outcome = run.on_threads(&spec, |claim| {
        let mut prepared = run.prepare(&spec, tokens())?;
        prepared.model = Box::new(Crooked(prepared.model));
        run.train_prepared(prepared, claim, None, &mut |progress| told.push(progress))
    });
    let error = outcome.map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::ExportDiffers { .. }), "{error}");
    assert!(matches!(told[..], [Progress::Stage("check the export")]), "{told:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

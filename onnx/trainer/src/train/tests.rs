//! Texts of every length, for every model: the export says what the trainer says.

use std::num::NonZeroUsize;

use autotag::{EncodeError, Encoded, Encoder, LabelSet};
use autotag_onnx::{Device, OnnxEncoder};

use super::*;
use crate::bert::tests::{N_TOKENS, tiny_config, words};
use crate::bert::{BertFolder, BertWeights};
use crate::cnn::GraphForm;
use crate::model::Answer;
use crate::model::{Predicted, StepLoss};
use crate::rows::row_major;
use crate::state::{State, StateError};
use crate::{LabeledText, Pretrained};

/// How a run trains the model under test.
type Train<'a> = &'a dyn Fn(&TrainingRun<'_>) -> Result<(ModelBundle, TrainReport)>;

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

fn config() -> TrainConfig {
    let mut config = TrainConfig {
        batch_size: 8,
        epochs: 3,
        max_length: MAX_LENGTH,
        threads: 1,
        ..TrainConfig::default()
    };
    config.cnn.filters = 6;
    config.cnn.normalize = true;
    (config.wide.hidden, config.wide.lexical) = (8, 6);
    (config.adapter.hidden, config.adapter.normalize) = (8, true);
    config.bert.normalize = true;
    // Far enough from the start that no bias is zero any more.
    config.adam.learning_rate = 0.05;
    config
}

fn options() -> OnnxOptions {
    let mut options = OnnxOptions::default();
    options.device = Device::Cpu;
    options.sessions = NonZeroUsize::MIN;
    options
}

fn encoder() -> BertFolder {
    let config = tiny_config();
    let weights = BertWeights::random(&config, 7);
    BertFolder { tokenizer: words(N_TOKENS), config, weights, pooling: None }
}

/// A tokenizer of one token for each word, with random vectors.
fn tokens() -> Option<Pretrained> {
    let values = (0..N_TOKENS * 8).map(|n| ((n * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let token_table = row_major(N_TOKENS, 8, values);
    Some(Pretrained { tokenizer: words(N_TOKENS), token_table })
}

fn run(
    config: &TrainConfig,
    train: Train<'_>,
    texts: &Dataset,
) -> Result<(tempfile::TempDir, ModelBundle, TrainReport)> {
    let folder = tempfile::tempdir().unwrap();
    let (out, options) = (folder.path().join("bundle"), options());
    let (bundle, report) = train(&TrainingRun::new(texts, texts, config, &out, &options))?;
    Ok((folder, bundle, report))
}

/// Trains on texts of every length, which are dev too: the run itself compares trainer and export on
/// them, in batches of different lengths; here the export's answers alone and in pairs are added.
fn check(config: &TrainConfig, train: Train<'_>) {
    let texts = Dataset::new(documents()).unwrap();
    let (_folder, bundle, report) = run(config, train, &texts).unwrap();
    let difference = report.export_difference;
    assert!(difference < 1e-5, "{} {:?}: {difference}", bundle.config().architecture, config.cnn);
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
                let mut config = TrainConfig { form, ..config() };
                (config.cnn.widths, config.cnn.normalize) = (widths.to_vec(), normalize);
                check(&config, &|run| run.train_cnn(tokens(), &mut |_| {}));
            }
        }
    }
}

#[test]
fn an_ensemble_with_a_cnn_and_its_exports_agree_on_texts_of_every_length() {
    for form in [GraphForm::Folded, GraphForm::Plain] {
        let config = TrainConfig { form, ..config() };
        check(&config, &|run| run.train_wide_cnn(tokens(), &mut |_| {}));
        check(&config, &|run| run.train_wide_cnn_adapter(encoder(), None, &mut |_| {}));
    }
}

#[test]
fn models_without_windows_and_their_exports_agree_on_texts_of_every_length() {
    for normalize in [true, false] {
        let mut config = config();
        (config.wide.normalize, config.adapter.normalize) = (normalize, normalize);
        config.wide.lexical = if normalize { 6 } else { 0 };
        check(&config, &|run| run.train_wide(&mut |_| {}));
        check(&config, &|run| run.train_adapter(encoder(), None, &mut |_| {}));
    }
}

#[cfg(feature = "burn")]
#[test]
fn models_by_automatic_differentiation_agree_with_their_exports_on_texts_of_every_length() {
    let mut config = config();
    (config.ldgn.lstm, config.ldgn.graph) = (4, 4);
    check(&config, &|run| run.train_ldgn(tokens(), &mut |_| {}));
    check(&config, &|run| run.train_bert(encoder(), &mut |_| {}));
    for form in [GraphForm::Folded, GraphForm::Plain] {
        let config = TrainConfig { form, epochs: 2, ..config.clone() };
        check(&config, &|run| run.train_wide_cnn_bert(encoder(), &mut |_| {}));
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
    let trainers: [Train<'_>; 4] = [
        &|run| run.train_cnn(tokens(), &mut |_| {}),
        &|run| run.train_wide(&mut |_| {}),
        &|run| run.train_adapter(encoder(), None, &mut |_| {}),
        &|run| run.train_wide_cnn_adapter(encoder(), None, &mut |_| {}),
    ];
    for train in trainers {
        let (_folder, bundle, report) = run(&config(), train, &texts).unwrap();
        assert_eq!((report.skipped, report.n_train, report.n_dev), (skipped, 30, 30));
        assert!(bundle.datastore().unwrap().reader().unwrap().len() <= 30);
        let card = std::fs::read_to_string(bundle.path().join("card.md")).unwrap();
        assert!(card.contains("3 training texts and 3 dev texts"), "{card}");
        let strict = |run: &TrainingRun<'_>| train(&run.unreadable(Unreadable::Refuse));
        let error = run_error(&strict, &texts);
        assert!(matches!(&error, TrainError::Text { key, .. } if key == "3"), "{error}");
    }
    documents.iter_mut().for_each(|document| document.text = " ".to_owned());
    let nothing = Dataset::new(documents).unwrap();
    let error = run_error(trainers[0], &nothing);
    let expected = matches!(error, TrainError::NoReadableText { part: "training", n_texts: 33 });
    assert!(expected, "{error}");
}

fn run_error(train: Train<'_>, texts: &Dataset) -> TrainError {
    run(&config(), train, texts).map(|_| ()).unwrap_err()
}

#[test]
fn a_text_in_which_the_wide_model_knows_nothing_is_left_out() {
    let mut documents = documents();
    documents[9].text = "unheard of".to_owned();
    let texts = Dataset::new(documents).unwrap();
    let mut config = config();
    config.wide.min_documents = 2;
    let wide = |run: &TrainingRun<'_>| run.train_wide(&mut |_| {});
    let report = run(&config, &wide, &texts).unwrap().2;
    assert_eq!(report.skipped, Skipped { train: 1, dev: 1 });
    // The CNN reads its tokens, known or not.
    let both = |run: &TrainingRun<'_>| run.train_wide_cnn(tokens(), &mut |_| {});
    assert_eq!(run(&config, &both, &texts).unwrap().2.skipped, Skipped::default());
}

/// A model whose export scores texts otherwise than it does itself.
struct Crooked<M>(M);

impl<M: Model> Model for Crooked<M> {
    type Input = M::Input;
    type Snapshot = Crooked<M::Snapshot>;

    fn step(&mut self, texts: &[&M::Input], labels: &[&LabelSet], rate: f32) -> StepLoss {
        self.0.step(texts, labels, rate)
    }

    fn snapshot(&mut self, rate: f32) -> Self::Snapshot {
        Crooked(self.0.snapshot(rate))
    }

    fn state(&self) -> State<'_> {
        self.0.state()
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.0.restore(state)
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Self::Snapshot, StateError> {
        Ok(Crooked(self.0.restore_snapshot(state)?))
    }
}

impl<P: Predict> Predict for Crooked<P> {
    type Input = P::Input;

    fn predict(&self, texts: &[&P::Input]) -> Predicted {
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
    let (options, config) = (options(), config());
    let run = TrainingRun::new(&texts, &texts, &config, &out, &options)
        .checkpoints(&checkpoints, Start::Anew);
    let mut told = Vec::new();
    let outcome = run.on_threads(|claim| {
        let tokens = run.tokens(tokens())?;
        let shape = Shape {
            architecture: "crooked",
            input: InputKind::TokenIds,
            special_tokens: false,
            dimensions: config.cnn.n_filters(),
            normalized: config.cnn.normalize,
            pretrained: None,
        };
        let lexicon = (&tokens.tokenizer).into();
        let make = |_: &[ModelInput]| Crooked(run.make_cnn(tokens));
        run.train_texts(lexicon, shape, make, claim, &mut |progress| told.push(progress))
    });
    let error = outcome.map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::ExportDiffers { .. }), "{error}");
    assert!(matches!(told[..], [Progress::Stage("check the export")]), "{told:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

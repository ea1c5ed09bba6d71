//! From labelled texts to a published bundle.

use std::num::NonZeroUsize;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use autotag::datastore::DatastoreOptions;
use autotag::tune::{self, Method, Tuned};
use autotag::{
    Datastore, EncodeError, Encoded, Encoder, Interpolation, LabelSet, Selection, Source,
};
use autotag_onnx::{
    BundleConfig, BundleDraft, ModelBundle, OnnxEncoder, OnnxOptions, TextTokenizer,
};

use crate::cnn::{Cnn, Network, Predicted, StepLoss};
use crate::fit::{FitReport, Model, Predict, Progress, TokenizedTexts, fit, predict_dev};
use crate::matrix::Matrix;
use crate::{Dataset, Pretrained, Result, TrainConfig, TrainError, vocabulary};

/// What a training run did and reached; it is written into the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The settings.
    pub config: TrainConfig,
    /// The number of training texts.
    pub n_train: usize,
    /// The number of dev texts.
    pub n_dev: usize,
    /// The epochs.
    pub fit: FitReport,
    /// k, tau, lambda and the threshold tuned on dev, which the bundle uses.
    pub interpolation: Interpolation,
    /// The threshold tuned on dev.
    pub threshold: autotag::Threshold,
    /// The micro-F1 on dev with them.
    pub dev_micro_f1: f64,
    /// The largest difference between the exported model's and the trainer's scores on dev.
    pub export_difference: f32,
}

/// Trains a CNN, exports it, and publishes the bundle at `out`.
///
/// With `pretrained`, its tokenizer is used and its token table starts the embedding; without, a
/// vocabulary is learned from the training texts and the embedding starts at random. k, tau, lambda
/// and the threshold that are best on dev become the bundle's. An older bundle at `out` is
/// replaced once the new one is complete.
///
/// # Errors
///
/// [`TrainError`] says what in the data or the settings cannot be used, or what failed; `out` is
/// left as it was then.
pub fn train_cnn(
    train: &Dataset,
    dev: &Dataset,
    pretrained: Option<Pretrained>,
    config: &TrainConfig,
    out: &Path,
    options: &OnnxOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(ModelBundle, TrainReport)> {
    config.check()?;
    // Found out before hours of training rather than after.
    autotag_onnx::runtime::load(None)?;
    options.check_device()?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(config.threads);
    let threads = threads
        .build()
        .map_err(|source| TrainError::Threads { threads: config.threads, source })?;
    threads
        .install(|| train_on_these_threads(train, dev, pretrained, config, out, options, progress))
}

fn train_on_these_threads(
    train: &Dataset,
    dev: &Dataset,
    pretrained: Option<Pretrained>,
    config: &TrainConfig,
    out: &Path,
    options: &OnnxOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(ModelBundle, TrainReport)> {
    progress(Progress::Stage("tokenize"));
    let Input { tokenizer, token_table, bundle_config, train_texts, dev_texts } =
        prepare(train, dev, pretrained, config)?;

    let n_labels = train.vocabulary().len();
    let n_tokens = tokenizer.get_vocab_size(true);
    let cnn = Cnn::new(config.cnn.clone(), n_tokens, n_labels, token_table, config.seed);
    let mut model = CnnModel { cnn, config, average: None, n_epochs: 0 };
    let (network, fit_report) =
        fit(&mut model, &train_texts, &dev_texts, dev.vocabulary().len(), config, progress)?;

    progress(Progress::Stage("tune"));
    drop(model);
    let predictions = predict_dev(&network, &train_texts, &dev_texts);
    let tuned = tune::tune(&predictions, Method::Interpolated);

    progress(Progress::Stage("export"));
    let model_file = network.to_onnx(config.form);
    let mut draft =
        BundleDraft::create(out, bundle_config, train.vocabulary(), &tokenizer, model_file)?;
    let encoder = draft.encoder(options)?;
    let export_difference = compare(&network, &encoder, dev, &dev_texts)?;

    progress(Progress::Stage("datastore"));
    fill_datastore(&draft, &encoder, train)?;
    drop(encoder);
    let Tuned { interpolation, threshold, score } = tuned;
    let report = TrainReport {
        config: config.clone(),
        n_train: train.len(),
        n_dev: dev.len(),
        fit: fit_report,
        interpolation,
        threshold,
        dev_micro_f1: score,
        export_difference,
    };
    draft.set_interpolation(interpolation);
    draft.set_selection(Selection::at(threshold));
    draft.set_training(as_json(&report));
    Ok((draft.publish_replacing()?, report))
}

/// What a model is trained on.
struct Input {
    tokenizer: Tokenizer,
    token_table: Option<Matrix>,
    bundle_config: BundleConfig,
    train_texts: TokenizedTexts,
    dev_texts: TokenizedTexts,
}

fn prepare(
    train: &Dataset,
    dev: &Dataset,
    pretrained: Option<Pretrained>,
    config: &TrainConfig,
) -> Result<Input> {
    let (tokenizer, token_table) = match pretrained {
        Some(Pretrained { tokenizer, token_table }) => (tokenizer, Some(token_table)),
        None => (vocabulary::learn(train.texts(), config.vocabulary_size)?, None),
    };
    let bundle_config = bundle_config(train, config);
    let text_tokenizer = TextTokenizer::new(tokenizer.clone(), &bundle_config)
        .map_err(|source| TrainError::Tokenizer { action: "was set up", source })?;
    let train_texts = tokenize(&text_tokenizer, train)?;
    let dev_texts = tokenize(&text_tokenizer, dev)?;
    Ok(Input { tokenizer, token_table, bundle_config, train_texts, dev_texts })
}

/// Writes a report as JSON by way of text, which keeps single-precision figures as short as they are.
fn as_json(report: &TrainReport) -> serde_json::Value {
    let text = serde_json::to_string(report).expect("a report is plain data");
    serde_json::from_str(&text).expect("what was just written is JSON")
}

fn bundle_config(train: &Dataset, config: &TrainConfig) -> BundleConfig {
    let positive = |n: usize| NonZeroUsize::new(n).expect("the configuration was checked");
    BundleConfig {
        format_version: autotag_onnx::bundle::FORMAT_VERSION,
        architecture: "cnn".to_owned(),
        input: autotag_onnx::bundle::InputKind::TokenIds,
        special_tokens: false,
        max_length: positive(config.max_length),
        dimensions: positive(config.cnn.n_filters()),
        n_labels: train.vocabulary().len(),
        normalized: config.cnn.normalize,
        interpolation: config.interpolation,
        selection: Selection::default(),
        training: serde_json::Value::Null,
    }
}

/// Tokenizes a data set on all threads.
///
/// # Errors
///
/// [`TrainError::Text`] naming a document whose text has no token.
fn tokenize(tokenizer: &TextTokenizer, dataset: &Dataset) -> Result<TokenizedTexts> {
    let documents = dataset.keys().par_iter().zip(dataset.texts());
    let texts: Result<Vec<Vec<u32>>> = documents
        .map(|(key, text)| {
            let fail = |source: EncodeError| TrainError::Text { key: key.clone(), source };
            tokenizer.ids(text).map_err(fail)
        })
        .collect();
    Ok(TokenizedTexts { texts: texts?, labels: dataset.labels().to_vec() })
}

/// The CNN as [`fit`] trains it.
struct CnnModel<'a> {
    cnn: Cnn,
    config: &'a TrainConfig,
    /// The average over epochs.
    average: Option<Network>,
    n_epochs: usize,
}

impl Model for CnnModel<'_> {
    type Snapshot = Network;

    fn step(&mut self, texts: &[&[u32]], labels: &[&LabelSet]) -> StepLoss {
        self.cnn.step(texts, labels, &self.config.contrastive, &self.config.adam)
    }

    /// Averages the epochs: all of them alike at first, the later ones more once there are many.
    fn snapshot(&mut self) -> Network {
        self.cnn.settle(&self.config.adam);
        self.n_epochs += 1;
        let share = (1.0 - self.config.averaging).max(1.0 / self.n_epochs as f32);
        let network = self.cnn.network();
        let average = self.average.get_or_insert_with(|| network.clone());
        average.average_in(network, share);
        average.clone()
    }
}

impl Predict for Network {
    fn predict(&self, texts: &[&[u32]]) -> Predicted {
        self.fold().predict(texts)
    }
}

/// The largest difference that an export may have from the model that was trained.
const TOLERANCE: f32 = 1e-4;

/// The dev texts that the export is compared on.
const COMPARED: usize = 256;

/// The texts given to the exported model at once, of different lengths.
const ENCODE_BATCH: usize = 32;

/// Runs dev texts through the exported model, in batches of different lengths, and compares its
/// answers with the trainer's; returns the largest difference.
fn compare(
    network: &Network,
    encoder: &OnnxEncoder,
    dev: &Dataset,
    dev_texts: &TokenizedTexts,
) -> Result<f32> {
    let n = dev.len().min(COMPARED);
    let texts: Vec<&[u32]> = dev_texts.texts[..n].iter().map(Vec::as_slice).collect();
    let expected = network.fold().predict(&texts);
    let mut largest = 0f32;
    let rows: Vec<usize> = (0..n).collect();
    for rows in rows.chunks(ENCODE_BATCH) {
        for (&row, encoded) in rows.iter().zip(encode(encoder, dev, rows)) {
            let Encoded { embedding, scores } = match encoded {
                Err(error) if is_nothing(expected.embeddings.row(row)) && says_nothing(&error) => {
                    continue;
                }
                encoded => encoded?,
            };
            let scores = scores.as_ref().map_or(&[][..], |scores| scores.values());
            for (what, found, expected) in [
                ("the representation", embedding.values(), expected.embeddings.row(row)),
                ("the scores", scores, expected.scores.row(row)),
            ] {
                let difference = largest_difference(found, expected);
                largest = largest.max(difference);
                if difference > TOLERANCE || found.len() != expected.len() {
                    let (key, tolerance) = (dev.keys()[row].clone(), TOLERANCE);
                    return Err(TrainError::ExportDiffers { what, difference, tolerance, key });
                }
            }
        }
    }
    Ok(largest)
}

/// Tells whether no filter of the trained model is active on a text.
fn is_nothing(representation: &[f32]) -> bool {
    representation.iter().all(|value| value.abs() <= TOLERANCE)
}

/// Tells whether the exported model's representation of a text was refused, as an all-zero one is.
fn says_nothing(error: &TrainError) -> bool {
    let TrainError::Text { source: EncodeError::Answer(cause), .. } = error else { return false };
    matches!(**cause, autotag::Error::Embedding { .. })
}

/// Returns the largest difference between values, relative to those greater than 1.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
}

/// The training texts encoded at once.
const ENCODED_AT_ONCE: usize = 1024;

/// Stores the training set's {(h_i, y_i)}, as the exported model represents it.
///
/// A text on which no filter is active has no representation and is nobody's neighbor.
fn fill_datastore(draft: &BundleDraft, encoder: &OnnxEncoder, train: &Dataset) -> Result<()> {
    let options = DatastoreOptions::new(
        draft.config().dimensions,
        draft.encoder_fingerprint(),
        train.vocabulary().clone(),
    );
    let datastore = Datastore::create(&draft.datastore_folder(), &options)?;
    let mut writer = datastore.writer()?;
    let mut left_out = 0;
    let rows: Vec<usize> = (0..train.len()).collect();
    for rows in rows.chunks(ENCODED_AT_ONCE) {
        // In parallel: each thread's texts go through a session of their own.
        let encoded: Vec<Result<Encoded>> = rows
            .par_chunks(ENCODE_BATCH)
            .flat_map_iter(|rows| encode(encoder, train, rows))
            .collect();
        for (&row, encoded) in rows.iter().zip(encoded) {
            let labels: Vec<&str> = train.labels()[row]
                .ids()
                .iter()
                .map(|&label| train.vocabulary().name(label))
                .collect();
            let embedding = match encoded {
                Err(error) if says_nothing(&error) => {
                    left_out += 1;
                    continue;
                }
                encoded => encoded?.embedding,
            };
            writer.put(&train.keys()[row], &embedding, &labels, Source::Training)?;
        }
    }
    if left_out > 0 {
        tracing::warn!(left_out, "texts on which no filter is active are nobody's neighbors");
    }
    Ok(writer.commit()?)
}

/// Encodes some of a data set's texts.
fn encode(encoder: &OnnxEncoder, dataset: &Dataset, rows: &[usize]) -> Vec<Result<Encoded>> {
    let mut tokens = Vec::with_capacity(rows.len());
    for &row in rows {
        match encoder.tokenize(&dataset.texts()[row]) {
            Ok(ids) => tokens.push(ids),
            Err(source) => {
                let key = dataset.keys()[row].clone();
                return vec![Err(TrainError::Text { key, source })];
            }
        }
    }
    let outcomes = encoder.encode(&tokens).into_iter().zip(rows);
    outcomes
        .map(|(outcome, &row)| {
            outcome.map_err(|source| TrainError::Text { key: dataset.keys()[row].clone(), source })
        })
        .collect()
}

//! From labelled texts to a published bundle.

mod adapter;
#[cfg(feature = "burn")]
mod by_autodiff;
mod by_hand;
mod digest;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use autotag::tune::{self, Method, Tuned};
use autotag::{EncodeError, Encoded, Encoder, Interpolation, Selection};
use autotag_onnx::bundle::{FORMAT_VERSION, InputKind};
use autotag_onnx::graph::GraphBuilder;
use autotag_onnx::{
    BundleConfig, BundleDraft, Lexicon, ModelBundle, ModelInput, OnnxEncoder, OnnxOptions,
    TextReader,
};

use crate::card::card;
use crate::checkpoint::{Identity, RunFolder, Start};
use crate::first_neighbors::store;
use crate::fit::{Escort, FitReport, Fitted, Model, Predict, Progress, TokenizedTexts, fit};
use crate::layers::finish;
use crate::matrix::Matrix;
use crate::{Dataset, Result, TrainConfig, TrainError};
use digest::Digest;

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

/// Goes from labelled texts to a published bundle, for any of the models.
///
/// k, tau, lambda and the threshold that are best on dev become the bundle's. An older bundle at `out`
/// is replaced once the new one is complete, and is left as it was when training fails.
#[derive(Clone, Copy, Debug)]
pub struct TrainingRun<'a> {
    train: &'a Dataset,
    dev: &'a Dataset,
    config: &'a TrainConfig,
    out: &'a Path,
    options: &'a OnnxOptions,
    checkpoints: Option<(&'a Path, Start)>,
    stop: &'a AtomicBool,
}

/// The flag of a run that nothing stops.
static NEVER: AtomicBool = AtomicBool::new(false);

impl<'a> TrainingRun<'a> {
    /// Takes what every run needs; `dev` must have been made with the vocabulary of `train`.
    pub fn new(
        train: &'a Dataset,
        dev: &'a Dataset,
        config: &'a TrainConfig,
        out: &'a Path,
        options: &'a OnnxOptions,
    ) -> Self {
        TrainingRun { train, dev, config, out, options, checkpoints: None, stop: &NEVER }
    }

    /// Keeps a checkpoint in a folder of the run's own, at the end of each epoch and when it is stopped,
    /// and beside it `metrics.jsonl`, one line per epoch.
    ///
    /// The checkpoint is removed once the bundle is published.
    pub fn checkpoints(self, folder: &'a Path, start: Start) -> Self {
        TrainingRun { checkpoints: Some((folder, start)), ..self }
    }

    /// Stops with [`TrainError::Stopped`] after the batch in which the flag is raised.
    pub fn stopped_by(self, stop: &'a AtomicBool) -> Self {
        TrainingRun { stop, ..self }
    }
}

/// What a bundle's configuration says of a model.
struct Shape {
    architecture: &'static str,
    input: InputKind,
    special_tokens: bool,
    dimensions: usize,
    normalized: bool,
    /// The digest of what the model starts with, where not all of that is drawn at random. That of an
    /// adapter's encoder is in the encoder's card.
    pretrained: Option<String>,
}

impl TrainingRun<'_> {
    /// Checks what can be checked at once, and works on as many threads as the settings say.
    fn on_threads<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.config.check()?;
        // Found out before hours of training rather than after.
        autotag_onnx::runtime::load(None)?;
        self.options.check_device()?;
        let n_threads = self.config.threads;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
        threads.map_err(|source| TrainError::Threads { threads: n_threads, source })?.install(work)
    }

    /// Trains a model that reads texts through a lexicon, and publishes it.
    fn train_texts<M: Model<Input: From<ModelInput>>>(
        &self,
        lexicon: Lexicon,
        shape: Shape,
        make: impl FnOnce(&[M::Input]) -> M,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ModelBundle, TrainReport)> {
        let bundle_config = self.bundle_config(shape);
        let reader = TextReader::new(lexicon.clone(), &bundle_config)
            .map_err(|source| TrainError::Tokenizer { action: "was set up", source })?;
        let texts = Inputs { train: read(&reader, self.train)?, dev: read(&reader, self.dev)? };
        self.train(lexicon, bundle_config, texts, FirstNeighbors::Exported, make, progress)
    }

    /// Trains a model and publishes it.
    ///
    /// What the configuration tells of the training beforehand is a part of what training is resumed
    /// with, and stays in the bundle beside the report.
    fn train<M: Model>(
        &self,
        lexicon: Lexicon,
        bundle_config: BundleConfig,
        inputs: Inputs<M::Input>,
        first_neighbors: FirstNeighbors,
        make: impl FnOnce(&[M::Input]) -> M,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ModelBundle, TrainReport)> {
        let &TrainingRun { train, dev, config, out, options, .. } = self;
        let Inputs { train: train_texts, dev: dev_texts } = inputs;
        let folder = self.run_folder(&bundle_config, &lexicon)?;
        let mut model = make(&train_texts.texts);
        let n_labels = dev.vocabulary().len();
        let mut escort = Escort { progress, stop: self.stop, folder: folder.as_ref() };
        let Fitted { network, predictions, report: fit_report } =
            fit(&mut model, &train_texts, &dev_texts, n_labels, config, &mut escort)?;

        progress(Progress::Stage("tune"));
        drop(model);
        let tuned = tune::tune(&predictions, Method::Interpolated);

        progress(Progress::Stage("export"));
        let mut graph = GraphBuilder::new(&bundle_config.architecture);
        let answer = network.write(&mut graph);
        let n_dimensions = bundle_config.dimensions.get();
        let model_file = finish(graph, &answer, n_dimensions, bundle_config.n_labels);
        let known_before = bundle_config.training.clone();
        let mut draft =
            BundleDraft::create(out, bundle_config, train.vocabulary(), lexicon, model_file)?;
        let encoder = draft.encoder(options)?;
        let export_difference = compare(&network, &encoder, dev, &dev_texts)?;

        progress(Progress::Stage("datastore"));
        let embeddings = match first_neighbors {
            FirstNeighbors::Exported => exported(&encoder, train)?,
            FirstNeighbors::Trained => {
                let texts: Vec<&M::Input> = train_texts.texts.iter().collect();
                network.predict(&texts).embeddings
            }
        };
        drop(encoder);
        store(&draft, train, &embeddings)?;
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
        draft.set_card(card(draft.config(), &report, train));
        draft.set_training(joined(known_before, as_json(&report)));
        let bundle = draft.publish_replacing()?;
        folder.map_or(Ok(()), RunFolder::clear)?;
        Ok((bundle, report))
    }

    /// Takes the folder for checkpoints, where they are wanted.
    fn run_folder(&self, bundle: &BundleConfig, lexicon: &Lexicon) -> Result<Option<RunFolder>> {
        let Some((folder, start)) = self.checkpoints else { return Ok(None) };
        let identity = Identity { settings: self.settings(bundle), data: self.digest(lexicon) };
        Ok(Some(RunFolder::take(folder, start, identity)?))
    }

    /// Returns the settings that the result depends on; the number of threads is none of them.
    fn settings(&self, bundle: &BundleConfig) -> serde_json::Value {
        let config = TrainConfig { threads: 0, ..self.config.clone() };
        let mut settings = as_json(&config);
        settings["architecture"] = bundle.architecture.clone().into();
        joined(bundle.training.clone(), settings)
    }

    /// Digests what is learned from: keys, texts, labels, and the tokenizer.
    fn digest(&self, lexicon: &Lexicon) -> String {
        let mut digest = Digest::default();
        for dataset in [self.train, self.dev] {
            digest.add(&(dataset.len() as u64).to_le_bytes());
            for ((key, text), labels) in
                dataset.keys().iter().zip(dataset.texts()).zip(dataset.labels())
            {
                digest.add(key.as_bytes());
                digest.add(text.as_bytes());
                for &label in labels.ids() {
                    digest.add(dataset.vocabulary().name(label).as_bytes());
                }
            }
        }
        if let Some(tokenizer) = &lexicon.tokenizer {
            digest.add(tokenizer.to_string(false).unwrap_or_default().as_bytes());
        }
        digest.into_hex()
    }

    fn bundle_config(&self, shape: Shape) -> BundleConfig {
        let positive = |n: usize| NonZeroUsize::new(n).expect("the configuration was checked");
        BundleConfig {
            format_version: FORMAT_VERSION,
            architecture: shape.architecture.to_owned(),
            input: shape.input,
            special_tokens: shape.special_tokens,
            max_length: positive(self.config.max_length),
            dimensions: positive(shape.dimensions),
            n_labels: self.train.vocabulary().len(),
            normalized: shape.normalized,
            interpolation: self.config.interpolation,
            selection: Selection::default(),
            training: shape.pretrained.map_or(
                serde_json::Value::Null,
                |digest| serde_json::json!({ "pretrained": digest }),
            ),
        }
    }
}

/// What a model reads of both data sets.
struct Inputs<I> {
    train: TokenizedTexts<I>,
    dev: TokenizedTexts<I>,
}

/// Whose representations of the training texts become the first neighbors'.
enum FirstNeighbors {
    /// The exported model's.
    Exported,
    /// The trainer's, where running the exported model would take long; both were compared.
    Trained,
}

/// Joins the fields of two JSON objects; `null` is one without fields.
fn joined(mut first: serde_json::Value, second: serde_json::Value) -> serde_json::Value {
    match (first.as_object_mut(), second) {
        (Some(fields), serde_json::Value::Object(more)) => fields.extend(more),
        (_, second) => return second,
    }
    first
}

/// Writes a report as JSON by way of text, which keeps single-precision figures as short as they are.
fn as_json(report: &impl Serialize) -> serde_json::Value {
    let text = serde_json::to_string(report).expect("a report is plain data");
    serde_json::from_str(&text).expect("what was just written is JSON")
}

/// Reads a data set's texts on all threads.
///
/// # Errors
///
/// [`TrainError::Text`] naming a document whose text has no token or word.
fn read<I: From<ModelInput> + Send>(
    reader: &TextReader,
    dataset: &Dataset,
) -> Result<TokenizedTexts<I>> {
    let documents = dataset.keys().par_iter().zip(dataset.texts());
    let texts: Result<Vec<I>> = documents
        .map(|(key, text)| {
            let fail = |source: EncodeError| TrainError::Text { key: key.clone(), source };
            reader.read(text).map(I::from).map_err(fail)
        })
        .collect();
    Ok(TokenizedTexts { texts: texts?, labels: dataset.labels().to_vec() })
}

/// The largest difference that an export may have from the model that was trained.
const TOLERANCE: f32 = 1e-4;

/// The dev texts that the export is compared on.
const COMPARED: usize = 256;

/// The texts given to the exported model at once, of different lengths.
const ENCODE_BATCH: usize = 32;

/// Runs dev texts through the exported model, in batches of different lengths, and compares its
/// answers with the trainer's; returns the largest difference.
fn compare<P: Predict>(
    network: &P,
    encoder: &OnnxEncoder,
    dev: &Dataset,
    dev_texts: &TokenizedTexts<P::Input>,
) -> Result<f32> {
    let n = dev.len().min(COMPARED);
    let texts: Vec<&P::Input> = dev_texts.texts[..n].iter().collect();
    let expected = network.predict(&texts);
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
                let is_close = difference <= TOLERANCE && found.len() == expected.len();
                if !is_close {
                    let (key, tolerance) = (dev.keys()[row].clone(), TOLERANCE);
                    return Err(TrainError::ExportDiffers { what, difference, tolerance, key });
                }
            }
        }
    }
    Ok(largest)
}

/// Tells whether nothing in the trained model's representation is active on a text.
fn is_nothing(representation: &[f32]) -> bool {
    representation.iter().all(|value| value.abs() <= TOLERANCE)
}

/// Tells whether the exported model's representation of a text was refused, as an all-zero one is.
fn says_nothing(error: &TrainError) -> bool {
    let TrainError::Text { source: EncodeError::Answer(cause), .. } = error else { return false };
    matches!(**cause, autotag::Error::Embedding { .. })
}

/// Returns the largest difference between values, relative to those greater than 1; not a number where
/// one of them is none.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    differences
        .fold(0.0, |largest, next| if next > largest || next.is_nan() { next } else { largest })
}

/// Represents a data set's texts as the exported model does: [texts, D].
///
/// A text on which nothing is active has a row of zeros.
fn exported(encoder: &OnnxEncoder, dataset: &Dataset) -> Result<Matrix> {
    let mut embeddings = Matrix::zeros(dataset.len(), encoder.dimensions());
    let rows: Vec<usize> = (0..dataset.len()).collect();
    // In parallel: each thread's texts go through a session of their own.
    embeddings
        .values_mut()
        .par_chunks_mut(ENCODE_BATCH * encoder.dimensions())
        .zip(rows.par_chunks(ENCODE_BATCH))
        .try_for_each(|(embeddings, rows)| -> Result<()> {
            let embeddings = embeddings.chunks_mut(encoder.dimensions());
            for (embedding, encoded) in embeddings.zip(encode(encoder, dataset, rows)) {
                match encoded {
                    Err(error) if says_nothing(&error) => {}
                    encoded => embedding.copy_from_slice(encoded?.embedding.values()),
                }
            }
            Ok(())
        })?;
    Ok(embeddings)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_no_number_is_the_largest() {
        let difference = |a: &[f32]| largest_difference(a, &[1.0, 4.0, 0.5]);
        assert_eq!(difference(&[1.5, 5.0, 0.5]), 0.5);
        for at in 0..3 {
            let mut a = [1.0, 5.0, 0.5];
            a[at] = f32::NAN;
            assert!(difference(&a).is_nan(), "{a:?}");
        }
    }
}

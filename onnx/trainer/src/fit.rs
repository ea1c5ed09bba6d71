//! The training loop, the same for every model: epochs, early stopping on dev, progress.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use autotag::tune::{self, Method, Prediction, Tuned};
use autotag::{LabelSet, Scores, Selection};
use autotag_onnx::ModelInput;

use crate::matrix::Matrix;
use crate::nearest::nearest;
use crate::{Result, TrainConfig, TrainError};

/// A model that [`fit`] can train.
pub trait Model {
    /// The model as it stands after an epoch.
    type Snapshot: Predict;

    /// Trains on one batch.
    fn step(&mut self, texts: &[&ModelInput], labels: &[&LabelSet]) -> StepLoss;

    /// Ends an epoch and returns what the model is now.
    fn snapshot(&mut self) -> Self::Snapshot;
}

/// A model that represents and scores texts.
pub trait Predict {
    /// Predicts texts.
    fn predict(&self, texts: &[&ModelInput]) -> Predicted;

    /// Writes the model as ONNX, with the inputs and outputs that bundles have.
    fn to_onnx(&self) -> Vec<u8>;
}

/// The two parts of a step's loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepLoss {
    /// Binary cross-entropy, summed over labels, mean over the batch.
    pub bce: f32,
    /// The contrastive loss before gamma, mean over the batch.
    pub contrastive: f32,
}

/// What a model says of a batch of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predicted {
    /// Representations: [B, R].
    pub embeddings: Matrix,
    /// Label scores within 0..=1: [B, L].
    pub scores: Matrix,
}

/// Texts as the model reads them, with their labels.
#[derive(Clone, Debug)]
pub struct TokenizedTexts {
    /// What the model reads of each text.
    pub texts: Vec<ModelInput>,
    /// Each text's labels.
    pub labels: Vec<LabelSet>,
}

/// What happens while a model is trained.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// Some batches of an epoch are done.
    Batches {
        /// The epoch, from 1.
        epoch: usize,
        /// The texts of this epoch that are done.
        done: usize,
        /// The texts of an epoch.
        of: usize,
        /// The mean losses of the epoch so far.
        loss: StepLoss,
    },
    /// A frozen encoder has encoded some texts of a data set.
    Encoded {
        /// The texts that are done.
        done: usize,
        /// The texts of the data set.
        of: usize,
    },
    /// An epoch is done and dev was measured.
    Epoch(EpochReport),
    /// A step around training begins, in words.
    Stage(&'static str),
}

/// What one epoch brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean binary cross-entropy.
    pub bce: f32,
    /// Mean contrastive loss, before gamma.
    pub contrastive: f32,
    /// Training texts per second.
    pub texts_per_second: f64,
    /// Micro-F1 on dev of the model alone, at threshold .5.
    pub model_f1: f64,
    /// Micro-F1 on dev of the interpolation as configured, at threshold .5.
    pub interpolated_f1: f64,
    /// Micro-F1 on dev of the interpolation with the best k, tau, lambda and threshold.
    pub tuned_f1: f64,
    /// Whether this is the best epoch so far.
    pub best: bool,
}

impl EpochReport {
    /// Returns the figure that decides which epoch is the best: the mean of the interpolation's
    /// micro-F1 as configured and tuned.
    ///
    /// Why not the tuned figure alone? The best of a grid is noisy from epoch to epoch, and three
    /// epochs without luck would end a training whose scores still become better.
    pub fn dev_f1(&self) -> f64 {
        (self.interpolated_f1 + self.tuned_f1) / 2.0
    }
}

/// What training brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// Every epoch.
    pub epochs: Vec<EpochReport>,
    /// The epoch whose parameters were kept, from 1.
    pub best_epoch: usize,
}

/// Trains a model until dev stops improving, and returns it as of its best epoch.
///
/// Dev is measured with the neighbors in the score, since that is how the model will answer:
/// [`EpochReport::dev_f1`] decides.
///
/// # Errors
///
/// [`TrainError::Diverged`] when a loss is no longer finite.
///
/// # Panics
///
/// When the configuration asks for no epoch; [`TrainConfig::check`] finds that out.
pub fn fit<M: Model>(
    model: &mut M,
    train: &TokenizedTexts,
    dev: &TokenizedTexts,
    n_labels: usize,
    config: &TrainConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<(M::Snapshot, FitReport)> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(config.seed);
    let mut order: Vec<usize> = (0..train.texts.len()).collect();
    let mut epochs: Vec<EpochReport> = Vec::new();
    let mut best: Option<(EpochReport, M::Snapshot)> = None;
    for epoch in 1..=config.epochs {
        order.shuffle(&mut rng);
        let started = Instant::now();
        let loss = train_epoch(model, train, &order, epoch, config, progress)?;
        let elapsed = started.elapsed();
        let snapshot = model.snapshot();
        let predictions = predict_dev(&snapshot, train, dev);
        let mut report = measure(&predictions, n_labels, config);
        report.epoch = epoch;
        (report.bce, report.contrastive) = (loss.bce, loss.contrastive);
        report.texts_per_second = per_second(train.texts.len(), elapsed);
        report.best = best.as_ref().is_none_or(|(best, _)| report.dev_f1() > best.dev_f1());
        if report.best {
            best = Some((report, snapshot));
        }
        epochs.push(report);
        progress(Progress::Epoch(report));
        let best_epoch = best.as_ref().map_or(epoch, |(best, _)| best.epoch);
        if epoch - best_epoch >= config.patience {
            break;
        }
    }
    let (best, snapshot) = best.expect("there is at least one epoch, and the first is the best");
    Ok((snapshot, FitReport { epochs, best_epoch: best.epoch }))
}

/// The steps between two reports of an epoch's progress.
const STEPS_PER_REPORT: usize = 10;

fn train_epoch<M: Model>(
    model: &mut M,
    train: &TokenizedTexts,
    order: &[usize],
    epoch: usize,
    config: &TrainConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<StepLoss> {
    let mut total = StepLoss::default();
    let mut done = 0;
    let mut mean = total;
    for (batch, rows) in order.chunks(config.batch_size).enumerate() {
        let texts: Vec<&ModelInput> = rows.iter().map(|&row| &train.texts[row]).collect();
        let labels: Vec<&LabelSet> = rows.iter().map(|&row| &train.labels[row]).collect();
        let loss = model.step(&texts, &labels);
        let whole = loss.bce + config.contrastive.gamma * loss.contrastive;
        if !whole.is_finite() {
            let learning_rate = config.adam.learning_rate;
            return Err(TrainError::Diverged {
                loss: whole,
                epoch,
                batch: batch + 1,
                learning_rate,
            });
        }
        done += rows.len();
        total.bce += loss.bce * rows.len() as f32;
        total.contrastive += loss.contrastive * rows.len() as f32;
        mean =
            StepLoss { bce: total.bce / done as f32, contrastive: total.contrastive / done as f32 };
        if batch % STEPS_PER_REPORT == 0 || done == order.len() {
            progress(Progress::Batches { epoch, done, of: order.len(), loss: mean });
        }
    }
    Ok(mean)
}

/// Predicts dev, with its neighbors among the training texts.
pub fn predict_dev(
    model: &impl Predict,
    train: &TokenizedTexts,
    dev: &TokenizedTexts,
) -> Vec<Prediction> {
    let train_texts: Vec<&ModelInput> = train.texts.iter().collect();
    let dev_texts: Vec<&ModelInput> = dev.texts.iter().collect();
    let items = model.predict(&train_texts).embeddings;
    let predicted = model.predict(&dev_texts);
    let neighbors = nearest(&predicted.embeddings, &items, &train.labels, tune::MAX_K);
    neighbors
        .into_iter()
        .enumerate()
        .map(|(row, neighbors)| Prediction {
            given: dev.labels[row].clone(),
            model: Scores::new(predicted.scores.row(row)).ok(),
            neighbors,
        })
        .collect()
}

fn measure(predictions: &[Prediction], n_labels: usize, config: &TrainConfig) -> EpochReport {
    let f1 = |method| {
        let selection = Selection::default();
        tune::evaluate(predictions, n_labels, method, &config.interpolation, &selection).micro_f1
    };
    let Tuned { score: tuned_f1, .. } = tune::tune(predictions, Method::Interpolated);
    EpochReport {
        epoch: 0,
        bce: 0.0,
        contrastive: 0.0,
        texts_per_second: 0.0,
        model_f1: f1(Method::Model),
        interpolated_f1: f1(Method::Interpolated),
        tuned_f1,
        best: false,
    }
}

fn per_second(n: usize, elapsed: Duration) -> f64 {
    n as f64 / elapsed.as_secs_f64().max(1e-9)
}

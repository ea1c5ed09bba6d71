//! The training loop, the same for every model: epochs, early stopping on dev, checkpoints, progress.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use autotag::tune::{self, Grid, Method, Objective, Prediction, Tuned};
use autotag::{LabelSet, Scores, Selection};
use autotag_onnx::graph::GraphBuilder;

use crate::checkpoint::{Account, Checkpoint, Partial, RunFolder, Start, State, StateError};
use crate::layers::Answer;
use crate::nearest::nearest;
use crate::rows::RowMajor as _;
use crate::{Result, TrainConfig, TrainError};

/// A model that can be trained.
pub(crate) trait Model {
    /// What the model reads of one text.
    type Input: Send + Sync;

    /// The model as it stands after an epoch.
    type Snapshot: Predict<Input = Self::Input>;

    /// Trains on one batch, with this share of the learning rates.
    fn step(&mut self, texts: &[&Self::Input], labels: &[&LabelSet], rate: f32) -> StepLoss;

    /// Ends an epoch and returns what the model is now; `rate` is that of the last step.
    fn snapshot(&mut self, rate: f32) -> Self::Snapshot;

    /// Returns everything that training needs to go on as if it had never stopped: parameters, what
    /// the optimizer keeps of them, counters.
    fn state(&self) -> State<'_>;

    /// Takes a state back.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state is another model's; this one cannot be used then.
    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError>;

    /// Makes a snapshot again from its [`Predict::state`].
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state is another model's.
    fn restore_snapshot(&self, state: &State<'_>) -> Result<Self::Snapshot, StateError>;

    /// Returns what the model is now, without ending an epoch: a snapshot's parts are among the model's.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the model breaks that rule.
    fn present(&self) -> Result<Self::Snapshot, StateError> {
        self.restore_snapshot(&self.state())
    }
}

/// A model that represents and scores texts.
pub(crate) trait Predict {
    /// What the model reads of one text.
    type Input;

    /// Predicts texts.
    fn predict(&self, texts: &[&Self::Input]) -> Predicted;

    /// Writes the model into a graph, its inputs included.
    fn write(&self, graph: &mut GraphBuilder) -> Answer;

    /// Returns the parameters.
    fn state(&self) -> State<'_>;
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
    pub embeddings: Array2<f32>,
    /// Label scores within 0..=1: [B, L].
    pub scores: Array2<f32>,
}

impl Predicted {
    /// Tells whether every score is finite, and every representation short enough for distances to be.
    fn is_finite(&self) -> bool {
        let squared_length =
            |row| self.embeddings.row_slice(row).iter().map(|v| v * v).sum::<f32>();
        let rows = (0..self.embeddings.nrows()).into_par_iter();
        rows.map(squared_length).all(f32::is_finite)
            && self.scores.values().iter().all(|score| score.is_finite())
    }
}

/// Texts as the model reads them, with their labels.
#[derive(Clone, Debug)]
pub struct TokenizedTexts<I> {
    /// What the model reads of each text.
    pub texts: Vec<I>,
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
        /// The texts per second in this epoch so far.
        texts_per_second: f64,
        /// The time that training takes on, if no epoch is left out and measuring dev takes none.
        at_most: Duration,
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
    /// Micro-F1 on dev of the interpolation with the best k, tau, lambda and threshold of
    /// [`Grid::coarse`].
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

    /// Tells whether this figure is above another's, by more than its way through a checkpoint's JSON
    /// may change.
    fn is_better(&self, other: &EpochReport) -> bool {
        self.dev_f1() > other.dev_f1() + 1e-12
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

/// What accompanies a training: who watches it, what may stop it, where it leaves checkpoints.
pub(crate) struct Escort<'a> {
    pub(crate) progress: &'a mut dyn FnMut(Progress),
    pub(crate) stop: &'a AtomicBool,
    pub(crate) folder: Option<&'a RunFolder>,
}

/// Trains a model until dev stops improving, and returns it as of its best epoch.
///
/// Dev is measured with the neighbors in the score, since that is how the model will answer:
/// [`EpochReport::dev_f1`] decides.
///
/// # Errors
///
/// [`TrainError::Diverged`] when a loss, a parameter or an answer is no longer finite, or no text has a
/// representation but zeros, [`TrainError::Stopped`] when it was asked for, and what reading and writing checkpoints brings.
pub(crate) fn fit<M: Model>(
    model: &mut M,
    train: &TokenizedTexts<M::Input>,
    dev: &TokenizedTexts<M::Input>,
    n_labels: usize,
    config: &TrainConfig,
    escort: &mut Escort<'_>,
) -> Result<Fitted<M::Snapshot>> {
    let mut training = Training::begin(model, train.texts.len(), escort)?;
    let start = escort.folder.map_or(Start::Anew, RunFolder::start);
    while start != Start::Finish && !training.is_done(config) {
        let rate = training.train_epoch(train, config, escort)?;
        let snapshot = training.model.snapshot(rate);
        let Some(predictions) = predict_dev(&snapshot, train, dev) else {
            return Err(training.diverged(None, config, escort));
        };
        let figures = measure(&predictions, n_labels, config);
        let report = training.end_epoch(figures, snapshot, predictions);
        training.write(escort)?;
        (escort.progress)(Progress::Epoch(report));
        if !training.is_done(config) && escort.stop.load(Ordering::Relaxed) {
            let (epoch, checkpoint) = (report.epoch + 1, checkpoint(escort));
            return Err(TrainError::Stopped { epoch, checkpoint });
        }
    }
    match training.best {
        Some(Best { report, network, predictions }) => {
            let predictions = predictions.or_else(|| predict_dev(&network, train, dev));
            // Only what was sound is kept as the best; a checkpoint may be altered.
            let Some(predictions) = predictions else { return Err(unsound(escort)) };
            let epochs = training.account.epochs;
            let report = FitReport { epochs, best_epoch: report.epoch };
            Ok(Fitted { network, predictions, report })
        }
        None => {
            let path = escort.folder.map(RunFolder::checkpoint_path).unwrap_or_default();
            Err(TrainError::NothingToFinish { path })
        }
    }
}

/// A trained model.
pub(crate) struct Fitted<P> {
    /// The model as of its best epoch.
    pub(crate) network: P,
    /// What it says of dev.
    pub(crate) predictions: Vec<Prediction>,
    pub(crate) report: FitReport,
}

/// The best epoch so far.
struct Best<P> {
    report: EpochReport,
    /// The model as of its end.
    network: P,
    /// What it says of dev; a checkpoint does not keep that.
    predictions: Option<Vec<Prediction>>,
}

/// A training under way.
struct Training<'m, M: Model> {
    model: &'m mut M,
    account: Account,
    best: Option<Best<M::Snapshot>>,
}

impl<'m, M: Model> Training<'m, M> {
    /// Begins anew, or where the checkpoint is.
    ///
    /// # Errors
    ///
    /// What reading the checkpoint brings, and [`TrainError::Checkpoint`] when it cannot be that of a
    /// training on so many texts.
    fn begin(model: &'m mut M, n_texts: usize, escort: &Escort<'_>) -> Result<Self> {
        let folder = escort.folder.filter(|folder| folder.start() != Start::Anew);
        let anew = |model| Ok(Training { model, account: Account::default(), best: None });
        let Some(folder) = folder else { return anew(model) };
        let Some(checkpoint) = folder.read()? else { return anew(model) };
        let Checkpoint { account, model: state, best } = checkpoint;
        if !account.is_possible(n_texts) {
            return Err(unsound(escort));
        }
        let refuse = |source| TrainError::State { path: folder.checkpoint_path(), source };
        model.restore(&state).map_err(refuse)?;
        let best_epoch = account.epochs.iter().rfind(|epoch| epoch.best);
        let best = best_epoch.map(|&report| {
            Ok(Best { report, network: model.restore_snapshot(&best)?, predictions: None })
        });
        let best = best.transpose().map_err(refuse)?;
        Ok(Training { model, account, best })
    }

    /// Tells whether there is no epoch left, or there were too many without a better one.
    fn is_done(&self, config: &TrainConfig) -> bool {
        let n_epochs = self.account.epochs.len();
        let best_epoch = self.best.as_ref().map_or(n_epochs, |best| best.report.epoch);
        n_epochs >= config.epochs || n_epochs - best_epoch >= config.patience
    }

    /// Trains on what is left of an epoch; returns the share of the learning rates of its last step.
    fn train_epoch(
        &mut self,
        train: &TokenizedTexts<M::Input>,
        config: &TrainConfig,
        escort: &mut Escort<'_>,
    ) -> Result<f32> {
        let epoch = self.account.epochs.len() + 1;
        let n_batches = train.texts.len().div_ceil(config.batch_size);
        let n_steps = n_batches.saturating_mul(config.epochs);
        let mut rate = 1.0;
        let order = shuffled(train.texts.len(), config.seed, epoch);
        let before = self.account.partial;
        let started = Instant::now();
        let n_texts_left = (config.epochs - epoch).saturating_mul(order.len());
        for rows in order[before.n_texts..].chunks(config.batch_size) {
            let texts: Vec<&M::Input> = rows.iter().map(|&row| &train.texts[row]).collect();
            let labels: Vec<&LabelSet> = rows.iter().map(|&row| &train.labels[row]).collect();
            let n_done = (epoch - 1) * n_batches + self.account.partial.n_texts / config.batch_size;
            rate = config.schedule.at(n_done, n_steps);
            let loss = self.model.step(&texts, &labels, rate);
            let whole = loss.bce + config.contrastive.gamma * loss.contrastive;
            if !whole.is_finite() {
                return Err(self.diverged(Some(whole), config, escort));
            }
            let partial = &mut self.account.partial;
            partial.add(loss, rows.len());
            partial.seconds = before.seconds + started.elapsed().as_secs_f64();
            (escort.progress)(partial.progress(epoch, order.len(), n_texts_left));
            if partial.n_texts < order.len() && escort.stop.load(Ordering::Relaxed) {
                return Err(self.stop(epoch, config, escort)?);
            }
        }
        self.check_finite(config, escort)?;
        Ok(rate)
    }

    /// Refuses a model that a checkpoint would be of no use with.
    fn check_finite(&self, config: &TrainConfig, escort: &Escort<'_>) -> Result<()> {
        if self.model.state().is_finite() {
            return Ok(());
        }
        Err(self.diverged(None, config, escort))
    }

    /// Says that a batch's loss, or what it made of the model, is no longer finite. The parameters are
    /// spoiled: no checkpoint is written.
    fn diverged(&self, loss: Option<f32>, config: &TrainConfig, escort: &Escort<'_>) -> TrainError {
        let n_done = self.account.partial.n_texts.div_ceil(config.batch_size);
        TrainError::Diverged {
            loss,
            epoch: self.account.epochs.len() + 1,
            // A loss is known before its batch counts as done.
            batch: n_done + usize::from(loss.is_some()),
            learning_rate: config.adam.learning_rate,
            checkpoint: checkpoint(escort).filter(|_| !self.account.epochs.is_empty()),
        }
    }

    /// Writes the checkpoint within an epoch, and says so.
    fn stop(&self, epoch: usize, config: &TrainConfig, escort: &Escort<'_>) -> Result<TrainError> {
        self.check_finite(config, escort)?;
        self.write(escort)?;
        Ok(TrainError::Stopped { epoch, checkpoint: checkpoint(escort) })
    }

    fn write(&self, escort: &Escort<'_>) -> Result<()> {
        let Some(folder) = escort.folder else { return Ok(()) };
        let best = self.best.as_ref().map(|best| best.network.state()).unwrap_or_default();
        folder.write(&self.account, self.model.state(), best)
    }

    /// Notes what an epoch brought, and keeps its model if it is the best.
    fn end_epoch(
        &mut self,
        figures: DevFigures,
        network: M::Snapshot,
        predictions: Vec<Prediction>,
    ) -> EpochReport {
        let partial = std::mem::take(&mut self.account.partial);
        let loss = partial.mean_loss();
        let mut report = EpochReport {
            epoch: self.account.epochs.len() + 1,
            bce: loss.bce,
            contrastive: loss.contrastive,
            texts_per_second: partial.texts_per_second(),
            model_f1: figures.model_f1,
            interpolated_f1: figures.interpolated_f1,
            tuned_f1: figures.tuned_f1,
            best: false,
        };
        report.best = self.best.as_ref().is_none_or(|best| report.is_better(&best.report));
        if report.best {
            self.best = Some(Best { report, network, predictions: Some(predictions) });
        }
        self.account.epochs.push(report);
        report
    }
}

/// Says that what a checkpoint holds was not written by a training.
fn unsound(escort: &Escort<'_>) -> TrainError {
    let reason = "its figures are not those of such a training".to_owned();
    TrainError::Checkpoint { path: checkpoint(escort).unwrap_or_default(), reason }
}

fn checkpoint(escort: &Escort<'_>) -> Option<PathBuf> {
    escort.folder.map(RunFolder::checkpoint_path)
}

/// Returns an epoch's order of `n` texts; each epoch has its own, whatever was before it.
fn shuffled(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ (epoch as u64).rotate_right(16));
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut rng);
    order
}

impl Partial {
    fn add(&mut self, loss: StepLoss, n_texts: usize) {
        self.n_texts += n_texts;
        self.bce += f64::from(loss.bce) * n_texts as f64;
        self.contrastive += f64::from(loss.contrastive) * n_texts as f64;
    }

    fn mean_loss(&self) -> StepLoss {
        let n_texts = self.n_texts.max(1) as f64;
        let (bce, contrastive) = (self.bce / n_texts, self.contrastive / n_texts);
        StepLoss { bce: bce as f32, contrastive: contrastive as f32 }
    }

    fn texts_per_second(&self) -> f64 {
        self.n_texts as f64 / self.seconds.max(1e-9)
    }

    fn progress(&self, epoch: usize, of: usize, n_texts_left: usize) -> Progress {
        let texts_per_second = self.texts_per_second();
        let n_texts_left = (of - self.n_texts + n_texts_left) as f64;
        let at_most = Duration::try_from_secs_f64(n_texts_left / texts_per_second);
        Progress::Batches {
            epoch,
            done: self.n_texts,
            of,
            loss: self.mean_loss(),
            texts_per_second,
            at_most: at_most.unwrap_or(Duration::MAX),
        }
    }
}

/// Predicts dev, with its neighbors among the training texts; `None` when the model's parameters went
/// so far that it has no finite answer any more, or none but zeros.
fn predict_dev<P: Predict>(
    model: &P,
    train: &TokenizedTexts<P::Input>,
    dev: &TokenizedTexts<P::Input>,
) -> Option<Vec<Prediction>> {
    let train_texts: Vec<&P::Input> = train.texts.iter().collect();
    let dev_texts: Vec<&P::Input> = dev.texts.iter().collect();
    let learned = model.predict(&train_texts);
    let predicted = model.predict(&dev_texts);
    let is_silent = learned.embeddings.values().iter().all(|&value| value == 0.0);
    if is_silent || !learned.is_finite() || !predicted.is_finite() {
        return None;
    }
    let neighbors = nearest(&predicted.embeddings, &learned.embeddings, &train.labels, tune::MAX_K);
    let predictions = neighbors
        .into_iter()
        .enumerate()
        .map(|(row, neighbors)| Prediction {
            given: dev.labels[row].clone(),
            model: Scores::new(predicted.scores.row_slice(row)).ok(),
            neighbors,
        })
        .collect();
    Some(predictions)
}

/// The micro-F1 on dev after an epoch, as [`EpochReport`] tells it.
struct DevFigures {
    model_f1: f64,
    interpolated_f1: f64,
    tuned_f1: f64,
}

fn measure(predictions: &[Prediction], n_labels: usize, config: &TrainConfig) -> DevFigures {
    let f1 = |method| {
        let selection = Selection::default();
        tune::evaluate(predictions, n_labels, method, &config.interpolation, &selection).micro_f1
    };
    let (method, grid) = (Method::Interpolated, Grid::coarse());
    let Tuned { score: tuned_f1, .. } =
        tune::tune_for(predictions, n_labels, method, Objective::Micro, &grid);
    DevFigures { model_f1: f1(Method::Model), interpolated_f1: f1(Method::Interpolated), tuned_f1 }
}

//! The training loop, the same for every model: epochs, early stopping on dev, checkpoints, progress.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

use autotag::tune::{self, Grid, Method, Objective, Prediction, Tuned};
use autotag::{LabelSet, Scores, Selection};

use crate::checkpoint::{Account, Checkpoint, Partial, RunFolder, Start};

use crate::model::{Model, Predict, Predicted, StepLoss, TextInput, TokenizedTexts};
use crate::nearest::nearest;
use crate::report::{EpochReport, FitReport, Progress};
use crate::rows::RowMajor as _;
use crate::{Result, TrainConfig, TrainError};

/// The surroundings of a training: its observer, its stop flag, its checkpoints.
pub(crate) struct TrainContext<'a> {
    pub(crate) progress: &'a mut dyn FnMut(Progress),
    pub(crate) stop: &'a AtomicBool,
    pub(crate) folder: Option<&'a RunFolder>,
    /// The highest learning rate, for an error to name.
    pub(crate) learning_rate: f32,
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
pub(crate) fn fit(
    model: &mut dyn Model,
    train: &TokenizedTexts,
    dev: &TokenizedTexts,
    n_labels: usize,
    config: &TrainConfig,
    context: &mut TrainContext<'_>,
) -> Result<Fitted> {
    let mut training = Training::begin(model, train.texts.len(), context)?;
    let start = context.folder.map_or(Start::Anew, RunFolder::start);
    while start != Start::Finish && !training.is_done(config) {
        let rate = training.train_epoch(train, config, context)?;
        let snapshot = training.model.snapshot(rate);
        let Some(predictions) = predict_dev(&*snapshot, train, dev) else {
            return Err(training.diverged(None, config, context));
        };
        let figures = measure(&predictions, n_labels, config);
        let report = training.end_epoch(figures, snapshot, predictions);
        let is_done = training.is_done(config);
        let is_stopped = !is_done && context.stop.load(Ordering::Relaxed);
        if is_done || is_stopped || training.is_checkpoint_due() {
            training.write(context)?;
        }
        (context.progress)(Progress::Epoch(report));
        if is_stopped {
            let (epoch, checkpoint) = (report.epoch + 1, checkpoint(context));
            return Err(TrainError::Stopped { epoch, checkpoint });
        }
    }
    match training.best {
        Some(Best { report, network, predictions }) => {
            let predictions = predictions.or_else(|| predict_dev(&*network, train, dev));
            // Only what was sound is kept as the best; a checkpoint may be altered.
            let Some(predictions) = predictions else { return Err(unsound(context)) };
            let epochs = training.account.epochs;
            let report = FitReport { epochs, best_epoch: report.epoch, stacking: None };
            Ok(Fitted { network, predictions, report })
        }
        None => {
            let path = context.folder.map(RunFolder::checkpoint_path).unwrap_or_default();
            Err(TrainError::NothingToFinish { path })
        }
    }
}

/// A trained model.
pub(crate) struct Fitted {
    /// The model as of its best epoch.
    pub(crate) network: Box<dyn Predict>,
    /// Its predictions for dev.
    pub(crate) predictions: Vec<Prediction>,
    pub(crate) report: FitReport,
}

/// The best epoch so far.
struct Best {
    report: EpochReport,
    /// The model as of its end.
    network: Box<dyn Predict>,
    /// Its predictions for dev; a checkpoint does not keep them.
    predictions: Option<Vec<Prediction>>,
}

/// A training under way.
struct Training<'m> {
    model: &'m mut dyn Model,
    account: Account,
    best: Option<Best>,
    written: Option<Written>,
}

/// The last checkpoint.
struct Written {
    at: Instant,
    took: Duration,
}

impl Written {
    /// Tells whether the next one may be written.
    fn is_past(&self) -> bool {
        self.took < QUICK || self.at.elapsed() >= self.took * PAUSE
    }
}

/// Checkpoints that take longer are not written after every epoch.
const QUICK: Duration = Duration::from_millis(100);

/// The time between two such checkpoints, as a multiple of what the first took.
const PAUSE: u32 = 20;

impl<'m> Training<'m> {
    /// Begins anew, or where the checkpoint is.
    ///
    /// # Errors
    ///
    /// Those of reading the checkpoint, and [`TrainError::Checkpoint`] when it cannot be that of a
    /// training on so many texts.
    fn begin(model: &'m mut dyn Model, n_texts: usize, context: &TrainContext<'_>) -> Result<Self> {
        let folder = context.folder.filter(|folder| folder.start() != Start::Anew);
        let anew = |model| Ok(Training::new(model, Account::default(), None));
        let Some(folder) = folder else { return anew(model) };
        let Some(checkpoint) = folder.read()? else { return anew(model) };
        let Checkpoint { account, model: state, best } = checkpoint;
        if !account.is_possible(n_texts) {
            return Err(unsound(context));
        }
        let refuse = |source| TrainError::State { path: folder.checkpoint_path(), source };
        model.restore(&state).map_err(refuse)?;
        let best_epoch = account.epochs.iter().rfind(|epoch| epoch.best);
        let best = best_epoch.map(|&report| {
            Ok(Best { report, network: model.restore_snapshot(&best)?, predictions: None })
        });
        let best = best.transpose().map_err(refuse)?;
        Ok(Training::new(model, account, best))
    }

    fn new(model: &'m mut dyn Model, account: Account, best: Option<Best>) -> Self {
        Training { model, account, best, written: None }
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
        train: &TokenizedTexts,
        config: &TrainConfig,
        context: &mut TrainContext<'_>,
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
            let texts: Vec<&TextInput> = rows.iter().map(|&row| &train.texts[row]).collect();
            let labels: Vec<&LabelSet> = rows.iter().map(|&row| &train.labels[row]).collect();
            let n_done = (epoch - 1) * n_batches + self.account.partial.n_texts / config.batch_size;
            rate = config.schedule.at(n_done, n_steps);
            let loss = self.model.step(&texts, &labels, rate);
            let whole = loss.whole(config.contrastive.gamma);
            if !whole.is_finite() {
                return Err(self.diverged(Some(whole), config, context));
            }
            let partial = &mut self.account.partial;
            partial.add(loss, rows.len());
            partial.seconds = before.seconds + started.elapsed().as_secs_f64();
            (context.progress)(partial.progress(epoch, order.len(), n_texts_left));
            if partial.n_texts < order.len() && context.stop.load(Ordering::Relaxed) {
                return Err(self.stop(epoch, config, context)?);
            }
        }
        self.check_finite(config, context)?;
        Ok(rate)
    }

    /// Refuses a model that a checkpoint would be of no use with.
    fn check_finite(&self, config: &TrainConfig, context: &TrainContext<'_>) -> Result<()> {
        if self.model.state().is_finite() {
            return Ok(());
        }
        Err(self.diverged(None, config, context))
    }

    /// Returns the error of a loss, or of parameters, that are no longer finite. No checkpoint is
    /// written of them.
    fn diverged(
        &self,
        loss: Option<f32>,
        config: &TrainConfig,
        context: &TrainContext<'_>,
    ) -> TrainError {
        let n_done = self.account.partial.n_texts.div_ceil(config.batch_size);
        TrainError::Diverged {
            loss,
            epoch: self.account.epochs.len() + 1,
            // A loss is known before its batch counts as done.
            batch: n_done + usize::from(loss.is_some()),
            learning_rate: context.learning_rate,
            checkpoint: checkpoint(context).filter(|_| !self.account.epochs.is_empty()),
        }
    }

    /// Writes the checkpoint within an epoch, and says so.
    fn stop(
        &mut self,
        epoch: usize,
        config: &TrainConfig,
        context: &TrainContext<'_>,
    ) -> Result<TrainError> {
        self.check_finite(config, context)?;
        self.write(context)?;
        Ok(TrainError::Stopped { epoch, checkpoint: checkpoint(context) })
    }

    /// Tells whether to write a checkpoint after an epoch: large ones take one part in twenty of the time.
    fn is_checkpoint_due(&self) -> bool {
        self.written.as_ref().is_none_or(Written::is_past)
    }

    fn write(&mut self, context: &TrainContext<'_>) -> Result<()> {
        let Some(folder) = context.folder else { return Ok(()) };
        let started = Instant::now();
        let best = self.best.as_ref().map(|best| best.network.state()).unwrap_or_default();
        folder.write(&self.account, self.model.state(), best)?;
        self.written = Some(Written { at: Instant::now(), took: started.elapsed() });
        Ok(())
    }

    /// Notes what an epoch brought, and keeps its model if it is the best.
    fn end_epoch(
        &mut self,
        figures: DevFigures,
        network: Box<dyn Predict>,
        predictions: Vec<Prediction>,
    ) -> EpochReport {
        let partial = std::mem::take(&mut self.account.partial);
        let loss = partial.mean_loss();
        let mut report = EpochReport {
            epoch: self.account.epochs.len() + 1,
            bce: loss.bce,
            contrastive: loss.contrastive,
            norm: loss.norm,
            spread: loss.spread,
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

/// Returns the error of a checkpoint whose content no training can have written.
fn unsound(context: &TrainContext<'_>) -> TrainError {
    let reason = "its figures are not those of such a training".to_owned();
    TrainError::Checkpoint { path: checkpoint(context).unwrap_or_default(), reason }
}

fn checkpoint(context: &TrainContext<'_>) -> Option<PathBuf> {
    context.folder.map(RunFolder::checkpoint_path)
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
        // JSON has no infinity; a figure that is not minimized may be out of single precision's range.
        let finite = |figure: f32| if figure.is_finite() { figure } else { f32::MAX };
        let sum = |figure| f64::from(finite(figure)) * n_texts as f64;
        self.n_texts += n_texts;
        self.bce += sum(loss.bce);
        self.contrastive += sum(loss.contrastive);
        self.norm += sum(loss.norm);
        self.spread += sum(loss.spread);
    }

    fn mean_loss(&self) -> StepLoss {
        let mean = |sum: f64| (sum / self.n_texts.max(1) as f64) as f32;
        StepLoss {
            bce: mean(self.bce),
            contrastive: mean(self.contrastive),
            norm: mean(self.norm),
            spread: mean(self.spread),
        }
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

/// Predicts dev, with its neighbors among the training texts; `None` as for [`with_neighbors`].
fn predict_dev(
    model: &dyn Predict,
    train: &TokenizedTexts,
    dev: &TokenizedTexts,
) -> Option<Vec<Prediction>> {
    with_neighbors(&predict_all(model, train), train, &predict_all(model, dev), dev)
}

/// Predicts all texts of a part.
pub(crate) fn predict_all(model: &dyn Predict, part: &TokenizedTexts) -> Predicted {
    model.predict(&part.texts.iter().collect::<Vec<_>>())
}

/// Finds the neighbors of dev's texts among the training texts, from the model's answers to both; `None`
/// when the model's parameters went so far that it has no finite answer any more, or none but zeros.
pub(crate) fn with_neighbors(
    learned: &Predicted,
    train: &TokenizedTexts,
    predicted: &Predicted,
    dev: &TokenizedTexts,
) -> Option<Vec<Prediction>> {
    let is_silent = learned.embeddings.values().iter().all(|&value| value == 0.0);
    if is_silent || !learned.is_finite() || !predicted.is_finite() {
        return None;
    }
    let (asked, items) = (predicted.embeddings.view(), learned.embeddings.view());
    let neighbors = nearest(asked, items, &train.labels, tune::MAX_K);
    let prediction = |(row, neighbors): (usize, Vec<_>)| Prediction {
        given: dev.labels[row].clone(),
        model: Scores::new(predicted.scores.row_slice(row)).ok(),
        neighbors,
    };
    Some(neighbors.into_iter().enumerate().map(prediction).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_large_checkpoints_takes_one_part_in_twenty_of_the_time() {
        let is_past = |took: Duration, seconds: u64| {
            let at = Instant::now().checked_sub(Duration::from_secs(seconds));
            Written { at: at.expect("the clock runs for longer"), took }.is_past()
        };
        let (quick, slow) = (Duration::from_millis(5), Duration::from_secs(1));
        assert!(is_past(quick, 0));
        assert!(!is_past(slow, 0) && !is_past(slow, 19) && is_past(slow, 20));
    }
}

//! Makes the runs that are missing.

use std::path::Path;
use std::time::{Duration, Instant};

use autotag::tune::Method;
use autotag_onnx::{ModelBundle, OnnxOptions};
use autotag_train::{TrainConfig, TrainError, TrainReport};

use crate::linear::linear_baseline;
use crate::parts::{Part, Parts};
use crate::predict::BundleRun;
use crate::runs::{Ablation, FORMAT_VERSION, PlannedRun, RunRecord, RunsFolder, Setting};
use crate::{LabError, Result};

/// What a model is trained with, and where what comes of it goes.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// The settings.
    pub config: &'a TrainConfig,
    /// Where the bundle is published.
    pub bundle: &'a Path,
    /// Where the trainer may keep what it needs to go on after an interruption.
    pub checkpoints: &'a Path,
}

/// Trains a model and publishes its bundle.
pub type Trainer<'a> = dyn FnMut(Training<'_>) -> Result<TrainReport, TrainError> + 'a;

/// How far an ablation is.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The runs that are done, those found done included.
    pub done: usize,
    /// The runs that were found done.
    pub found: usize,
    /// The runs that there are.
    pub of: usize,
    /// What the next run is, in words; empty after the last.
    pub next: String,
    /// The runs whose loss was no longer finite, which are left out, each with what was said of it.
    pub failed: Vec<String>,
    /// How long the others will take, as far as the runs that are done tell.
    pub left: Option<Duration>,
}

/// An ablation, where it is kept, and how models are run.
#[derive(Clone, Copy, Debug)]
pub struct Laboratory<'a> {
    /// The data.
    pub parts: &'a Parts,
    /// The runs.
    pub ablation: &'a Ablation,
    /// The folder.
    pub folder: &'a RunsFolder,
    /// How models are run.
    pub options: &'a OnnxOptions,
}

impl Laboratory<'_> {
    /// Makes the runs that the folder does not have; the folder must be locked.
    ///
    /// A run whose bundle was published before an interruption is not trained again; one whose loss does
    /// not stay finite is left out and told. `is_stopped` is asked between runs.
    ///
    /// # Errors
    ///
    /// [`LabError::Interrupted`] when it was asked to stop; else what training, running a model or
    /// writing meets. What is done stays.
    pub fn make_runs(
        &self,
        train: &mut Trainer<'_>,
        is_stopped: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(Standing),
    ) -> Result<Standing> {
        self.folder.keep_data(self.parts)?;
        self.folder.keep_ablation(self.ablation)?;
        let missing: Vec<&PlannedRun> = self.missing().collect();
        let is_linear_missing = self.folder.finished(&self.ablation.linear.id).is_none();
        let of = self.ablation.runs.len() + 1;
        let n_missing = missing.len() + usize::from(is_linear_missing);
        let mut standing = Standing {
            failed: vec![],
            done: of - n_missing,
            found: of - n_missing,
            of,
            next: String::new(),
            left: None,
        };
        if is_linear_missing {
            check(is_stopped, &standing)?;
            standing.next = "the linear baseline".to_owned();
            progress(standing.clone());
            self.make_linear()?;
            standing.done += 1;
        }
        for run in missing {
            standing.next = words(&run.config);
            standing.left = self.time_left(of - standing.done - standing.failed.len());
            progress(standing.clone());
            check(is_stopped, &standing)?;
            match self.make(run, train) {
                Ok(()) => standing.done += 1,
                // The others are worth having all the same.
                Err(LabError::Train(error @ TrainError::Diverged { .. })) => {
                    standing.failed.push(format!("{}: {error}", standing.next));
                }
                Err(error) => return Err(stopped(error, is_stopped, &standing)),
            }
        }
        standing.next.clear();
        standing.left = Some(Duration::ZERO);
        progress(standing.clone());
        Ok(standing)
    }

    fn missing(&self) -> impl Iterator<Item = &PlannedRun> {
        self.ablation.runs.iter().filter(|run| self.folder.finished(&run.id).is_none())
    }

    /// Supposes that the other runs take as long as those that are done took on average.
    fn time_left(&self, n_runs: usize) -> Option<Duration> {
        let done = self.ablation.runs.iter().filter_map(|run| self.folder.finished(&run.id));
        let seconds: Vec<f64> = done.map(|run| run.seconds).collect();
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        Duration::try_from_secs_f64(mean * n_runs as f64).ok()
    }

    fn make(&self, run: &PlannedRun, train: &mut Trainer<'_>) -> Result<()> {
        let started = Instant::now();
        self.folder.begin_run(&run.id)?;
        let (bundle, checkpoints) = (self.folder.bundle(&run.id), self.folder.checkpoints(&run.id));
        let report = match published(&bundle) {
            Some(report) => report,
            None => {
                train(Training { config: &run.config, bundle: &bundle, checkpoints: &checkpoints })?
            }
        };
        let training_seconds = started.elapsed().as_secs_f64();
        let opened = BundleRun::open(&ModelBundle::open(&bundle)?, self.parts, self.options)?;
        let dev = opened.predict(Part::Dev, &self.parts.dev)?;
        self.folder.keep_predictions(&run.id, Part::Dev, &dev.predictions)?;
        let measured = match &self.parts.test {
            None => dev.clone(),
            Some(test) => {
                let predicted = opened.predict(Part::Test, test)?;
                self.folder.keep_predictions(&run.id, Part::Test, &predicted.predictions)?;
                predicted
            }
        };
        let (_, texts) = self.parts.measured();
        self.folder.keep_neighborhoods(
            &run.id,
            &opened.neighborhoods(&self.parts.train, texts, &measured)?,
        )?;
        let cost = opened.cost(&measured, run.config.interpolation.k)?;
        self.folder.finish_run(&RunRecord {
            format: FORMAT_VERSION,
            id: run.id.clone(),
            data: self.ablation.data.clone(),
            model: self.ablation.model.clone(),
            config: Some(run.config.clone()),
            epochs: (report.fit.epochs.len(), report.fit.best_epoch),
            training_seconds,
            seconds: started.elapsed().as_secs_f64(),
            tuned_model: Setting::tuned(&dev.predictions, Method::Model),
            tuned: Some(Setting::tuned(&dev.predictions, Method::Interpolated)),
            cost: Some(cost),
        })
    }

    fn make_linear(&self) -> Result<()> {
        let started = Instant::now();
        let run = &self.ablation.linear;
        self.folder.begin_run(&run.id)?;
        let Parts { train, dev, test, .. } = self.parts;
        let measured: Vec<_> = [Some(dev), test.as_ref()].into_iter().flatten().collect();
        let predicted = linear_baseline(train, &measured, &run.config)?;
        for (part, predictions) in [Part::Dev, Part::Test].into_iter().zip(&predicted) {
            self.folder.keep_predictions(&run.id, part, predictions)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        self.folder.finish_run(&RunRecord {
            format: FORMAT_VERSION,
            id: run.id.clone(),
            data: self.ablation.data.clone(),
            model: "linear".to_owned(),
            config: None,
            epochs: (0, 0),
            training_seconds: seconds,
            seconds,
            tuned_model: Setting::tuned(&predicted[0], Method::Model),
            tuned: None,
            cost: None,
        })
    }
}

/// Returns what a bundle says of its training, where it is complete.
fn published(bundle: &Path) -> Option<TrainReport> {
    let bundle = ModelBundle::open(bundle).ok()?;
    // By way of text, which keeps single-precision figures as they are.
    serde_json::from_str(&bundle.config().training.to_string()).ok()
}

fn check(is_stopped: &dyn Fn() -> bool, standing: &Standing) -> Result<()> {
    let Standing { done, of, .. } = *standing;
    if is_stopped() { Err(LabError::Interrupted { done, of }) } else { Ok(()) }
}

/// Says of whatever ended a run that the work was asked to end, where it was.
fn stopped(error: LabError, is_stopped: &dyn Fn() -> bool, standing: &Standing) -> LabError {
    match check(is_stopped, standing) {
        Err(interrupted) => interrupted,
        Ok(()) => error,
    }
}

/// Names a run for whoever waits for it.
fn words(config: &TrainConfig) -> String {
    let (seed, contrastive) = (config.seed, &config.contrastive);
    let cut = match contrastive.coefficient {
        autotag_train::Coefficient::Cut if contrastive.gamma > 0.0 => ", C cut to 1",
        _ => "",
    };
    format!("seed {seed}, gamma {}{cut}", contrastive.gamma)
}

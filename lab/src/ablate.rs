//! Makes the runs that are missing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use autotag::tune::Method;
use autotag_onnx::{ModelBundle, OnnxOptions};
use autotag_train::{
    InitSource, Progress, Start, TrainConfig, TrainError, TrainReport, TrainingRun, Unreadable,
};

use crate::linear::linear_baseline;
use crate::parts::{Part, Parts};
use crate::predict::BundleRun;
use crate::runs::{Ablation, FORMAT_VERSION, PlannedRun, RunRecord, RunsFolder, Setting};
use crate::{LabError, Result};

/// The state of an ablation.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The runs that are done, those found done included.
    pub done: usize,
    /// The runs that were found done.
    pub found: usize,
    /// The runs that there are.
    pub of: usize,
    /// The next run, in words; empty after the last.
    pub next: String,
    /// The runs whose loss was no longer finite, which are left out, each with what was said of it.
    pub failed: Vec<String>,
    /// The remaining time, estimated from the runs that are done.
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
    /// The files that the models start from.
    pub source: &'a InitSource,
    /// The folder in which a frozen encoder's representations are kept.
    pub cache: Option<&'a Path>,
    /// The threads to train on; 0 for as many as the machine has.
    pub threads: usize,
    /// The options of ONNX Runtime.
    pub options: &'a OnnxOptions,
    /// Raised when the work is to end.
    pub stop: &'a AtomicBool,
}

/// The progress of an ablation.
#[derive(Clone, Debug)]
pub enum LabProgress {
    /// A run begins, or the last one is done.
    Standing(Standing),
    /// The training of the run under way.
    Training(Progress),
}

impl Laboratory<'_> {
    /// Makes the runs that the folder does not have; the folder must be locked.
    ///
    /// A run whose bundle was published before an interruption is not trained again; one whose loss does
    /// not stay finite is left out and told.
    ///
    /// # Errors
    ///
    /// [`LabError::Interrupted`] when it was asked to stop; else what training, running a model or
    /// writing meets. What is done stays.
    pub fn make_runs(&self, progress: &mut (dyn FnMut(LabProgress) + Send)) -> Result<Standing> {
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
            self.check(&standing)?;
            standing.next = "the linear baseline".to_owned();
            progress(LabProgress::Standing(standing.clone()));
            self.make_linear()?;
            standing.done += 1;
        }
        for run in missing {
            standing.next = words(&run.config);
            standing.left = self.time_left(of - standing.done - standing.failed.len());
            progress(LabProgress::Standing(standing.clone()));
            self.check(&standing)?;
            match self.make(run, progress) {
                Ok(()) => standing.done += 1,
                // The others are worth having all the same.
                Err(LabError::Train(error @ TrainError::Diverged { .. })) => {
                    standing.failed.push(format!("{}: {error}", standing.next));
                }
                Err(error) => return Err(self.stopped(error, &standing)),
            }
        }
        standing.next.clear();
        standing.left = Some(Duration::ZERO);
        progress(LabProgress::Standing(standing.clone()));
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

    fn make(&self, run: &PlannedRun, progress: &mut (dyn FnMut(LabProgress) + Send)) -> Result<()> {
        let started = Instant::now();
        self.folder.begin_run(&run.id)?;
        let bundle = self.folder.bundle(&run.id);
        let report = match published(&bundle) {
            Some(report) => report,
            None => self.train(run, &bundle, &mut |step| progress(LabProgress::Training(step)))?,
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

    /// Trains a run's model and publishes its bundle, from where an interrupted training was.
    fn train(
        &self,
        run: &PlannedRun,
        bundle: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<TrainReport, TrainError> {
        let Parts { train, dev, .. } = self.parts;
        let (spec, checkpoints) = (&self.ablation.spec, self.folder.checkpoints(&run.id));
        let config = TrainConfig { threads: self.threads, ..run.config.clone() };
        let init = self.source.read(spec, train, config.seed)?;
        let training = TrainingRun::new(train, dev, &config, bundle, self.options)
            .checkpoints(&checkpoints, Start::Resume)
            // Every text of the parts is predicted.
            .unreadable(Unreadable::Refuse)
            .stopped_by(self.stop);
        training.train(spec, init, self.cache, progress).map(|(_, report)| report)
    }

    fn check(&self, standing: &Standing) -> Result<()> {
        let Standing { done, of, .. } = *standing;
        let is_stopped = self.stop.load(Ordering::Relaxed);
        if is_stopped { Err(LabError::Interrupted { done, of }) } else { Ok(()) }
    }

    /// Says of whatever ended a run that the work was asked to end, where it was.
    fn stopped(&self, error: LabError, standing: &Standing) -> LabError {
        self.check(standing).err().unwrap_or(error)
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

/// Names a run for whoever waits for it.
fn words(config: &TrainConfig) -> String {
    let (seed, contrastive) = (config.seed, &config.contrastive);
    let cut = match contrastive.coefficient {
        autotag_train::Coefficient::Cut if contrastive.gamma > 0.0 => ", C cut to 1",
        _ => "",
    };
    format!("seed {seed}, gamma {}{cut}", contrastive.gamma)
}

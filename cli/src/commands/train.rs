//! `autotag train`: a bundle from labeled documents.

mod epochs;
mod hyper;
mod kind;

use std::path::PathBuf;

use anyhow::anyhow;
use autotag::Interpolation;
use autotag_documents::{read_to_learn, read_to_measure};
use autotag_engine::target;
use autotag_onnx::{BundleDraft, ModelBundle};
use autotag_train::{Dataset, Skipped, Start, TrainError, TrainReport, TrainingRun, Unreadable};
use serde::Serialize;

use crate::args::{Common, DocumentArgs};
use crate::commands::labeled::{texts, warn_of_unknown};
use crate::commands::model;
use crate::errors::UsageError;
use crate::output::{self, Report};
use crate::signals::Stop;

pub(super) use epochs::Epochs;
pub(super) use hyper::HyperArgs;
pub(super) use hyper::setup::Setup;
pub(super) use kind::{ModelArg, ModelParser};

/// Train a model on labeled documents and write it as a bundle
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag train --data train.jsonl --dev dev.jsonl --model wide --out bundle --seed 1
  autotag train --data train.jsonl --dev dev.jsonl --model cnn --init minilm --out bundle
  autotag train --data train.jsonl --dev dev.jsonl --model adapter --init minilm --out bundle")]
pub(crate) struct TrainArgs {
    /// The labeled documents to learn from; they also become the first neighbors
    #[arg(long, value_name = "TRAIN")]
    data: PathBuf,

    /// The labeled documents that tell when to stop
    #[arg(long, value_name = "DEV")]
    dev: PathBuf,

    /// The kind of model, or several joined by "+" as an ensemble, as wide+cnn+adapter
    #[arg(long, value_parser = ModelParser, default_value = "wide-cnn")]
    model: ModelArg,

    /// The bundle's folder; an older bundle there is replaced when the new one is complete
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,

    /// Where the checkpoint and metrics.jsonl, one line per epoch, are written [default: BUNDLE.run]
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,

    /// Go on with a training that was interrupted, to the result that it would have had; begin anew
    /// where there is no checkpoint
    #[arg(long)]
    resume: bool,

    /// Publish the best epoch of a training that was interrupted, without going on
    #[arg(long, conflicts_with = "resume")]
    finish: bool,

    /// Refuse a document whose text has no word, instead of leaving it out
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    hyper: HyperArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

pub(crate) fn run(args: &TrainArgs, common: &Common) -> anyhow::Result<()> {
    let usage = |problem| UsageError::new("train", problem);
    let setup = args.hyper.setup(&args.model, model::threads(common)).map_err(usage)?;
    let source = setup.source().map_err(usage)?;
    let Setup { spec, config, .. } = setup;
    spec.check_features()?;
    // Before the documents are read, which may take long.
    BundleDraft::check_target(&args.out)?;
    let (folder, cache) = (args.run_folder(), args.hyper.cache(&args.out));
    target::check_folder(&folder)?;
    if let Some(cache) = cache.as_deref().filter(|_| spec.needs_encoder()) {
        target::check_folder(cache)?;
    }
    let options = model::onnx_options(common)?;
    let train = Dataset::new(texts(read_to_learn(&args.data, &args.documents.read_options())?))?;
    let dev = texts(read_to_measure(&args.dev, &args.documents.read_options())?);
    let dev = Dataset::with_vocabulary(dev, train.vocabulary())?;
    warn_of_unknown(&args.dev, dev.unknown_labels());

    let init = source.read(&spec, &train, config.seed)?;
    let stop = Stop::watch()?;
    let run = TrainingRun::new(&train, &dev, &config, &args.out, &options)
        .checkpoints(&folder, args.start())
        .unreadable(args.unreadable())
        .stopped_by(stop.flag());
    let mut epochs = Epochs::begin(common.quiet.into());
    let trained = run.train(&spec, init, cache.as_deref(), &mut |step| epochs.show(step));
    let (bundle, report) = trained.map_err(how_to_go_on)?;
    drop(epochs);
    output::print(common.format, &Trained::new(&bundle, report))?;
    Ok(())
}

impl TrainArgs {
    fn run_folder(&self) -> PathBuf {
        self.run.clone().unwrap_or_else(|| self.out.with_added_extension("run"))
    }

    fn unreadable(&self) -> Unreadable {
        if self.strict { Unreadable::Refuse } else { Unreadable::Skip }
    }

    fn start(&self) -> Start {
        match (self.resume, self.finish) {
            (true, _) => Start::Resume,
            (_, true) => Start::Finish,
            _ => Start::Anew,
        }
    }
}

/// Adds what to type to an error that leaves a checkpoint.
fn how_to_go_on(error: TrainError) -> anyhow::Error {
    let hint = match &error {
        TrainError::Stopped { checkpoint: Some(_), .. } | TrainError::CheckpointExists { .. } => {
            "The same command with --resume goes on; with --finish it publishes the best epoch so far"
        }
        TrainError::Diverged { checkpoint: Some(_), .. } => {
            "The same command with --finish publishes the best epoch before"
        }
        _ => return error.into(),
    };
    anyhow!("{error}. {hint}")
}

/// The bundle, and how it does on dev.
#[derive(Debug, Serialize)]
struct Trained {
    bundle: PathBuf,
    fingerprint: String,
    labels: usize,
    #[serde(flatten)]
    report: TrainReport,
}

impl Trained {
    fn new(bundle: &ModelBundle, report: TrainReport) -> Self {
        Trained {
            bundle: bundle.path().to_path_buf(),
            fingerprint: bundle.fingerprint().to_string(),
            labels: bundle.labels().len(),
            report,
        }
    }
}

impl Report for Trained {
    fn to_text(&self) -> String {
        let TrainReport { n_train, n_dev, fit, interpolation, threshold, dev_micro_f1, .. } =
            &self.report;
        let n_labels = self.labels;
        let Interpolation { k, temperature, proportion } = interpolation;
        let (tau, lambda) = (temperature.get(), proportion);
        let (best, n_epochs) = (fit.best_epoch, fit.epochs.len());
        format!(
            "{}: {n_labels} labels, trained on {n_train} documents, epoch {best} of {n_epochs}\n{}\
             micro-F1 {dev_micro_f1:.4} on {n_dev} dev documents with the settings tuned on them, \
             which the bundle keeps:\n\
             k = {k}, tau = {tau}, lambda = {lambda}, threshold = {}\n{}",
            self.bundle.display(),
            left_out(self.report.skipped),
            threshold.get(),
            learned_mix(&self.report)
        )
    }
}

/// Says what a learned mix reached, where one was fitted.
fn learned_mix(report: &TrainReport) -> String {
    let (Some(held_out), Some(interpolated)) = (report.mix_held_out, report.interpolated_held_out)
    else {
        return String::new();
    };
    let used = if report.uses_mix() { "the bundle uses it" } else { "the bundle does without it" };
    format!(
        "learned mix: micro-F1 {held_out:.4} on texts held out of its fit, where the interpolation has \
         {interpolated:.4}; {used}\n"
    )
}

/// Says how many documents were left out, where some were.
fn left_out(Skipped { train, dev }: Skipped) -> String {
    if train + dev == 0 {
        return String::new();
    }
    format!(
        "left out, without a word that the model knows: {train} documents of the training data, {dev} of dev\n"
    )
}

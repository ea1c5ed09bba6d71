//! `autotag train`: a bundle from labelled documents.

mod adapter;
mod epochs;
mod hyper;

use std::path::PathBuf;

use anyhow::anyhow;
use autotag::Interpolation;
use autotag_onnx::ModelBundle;
use autotag_train::bert::BertFolder;
use autotag_train::{
    Coverage, Dataset, Pretrained, Start, TrainConfig, TrainError, TrainReport, TrainingRun,
    WordVectors,
};
use clap::ValueEnum;
use serde::Serialize;

use crate::args::{Args, Common, DocumentArgs};
use crate::commands::labeled::{read_to_learn, read_to_measure, texts, warn_of_unknown};
use crate::commands::model;
use crate::output::{self, Report};
use crate::signals::Stop;

use epochs::Epochs;
use hyper::HyperArgs;

/// Train a model on labelled documents and write it as a bundle
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag train --data train.jsonl --dev dev.jsonl --model wide --out bundle --seed 1
  autotag train --data train.jsonl --dev dev.jsonl --model cnn --init minilm --out bundle
  autotag train --data train.jsonl --dev dev.jsonl --model adapter --init minilm --out bundle")]
pub(crate) struct TrainArgs {
    /// The labelled documents to learn from; they also become the first neighbors
    #[arg(long, value_name = "TRAIN")]
    data: PathBuf,

    /// The labelled documents that tell when to stop
    #[arg(long, value_name = "DEV")]
    dev: PathBuf,

    /// The kind of model
    #[arg(long, value_enum, default_value = "cnn")]
    model: ModelKind,

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

    #[command(flatten)]
    hyper: HyperArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

/// The kinds of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ModelKind {
    /// A convolutional network over tokens
    Cnn,
    /// Weighted words and pairs of words, and one hidden layer
    Wide,
    /// Both: each learns by itself, and they answer together
    WideCnn,
    /// A hidden layer on a pretrained encoder, given by --init, which is not trained further
    Adapter,
}

impl std::fmt::Display for ModelKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("every kind can be asked for");
        formatter.write_str(value.get_name())
    }
}

pub(crate) fn run(args: &TrainArgs, common: &Common) -> anyhow::Result<()> {
    let config = match args.hyper.config(args.model, model::threads(common)) {
        Ok(config) => config,
        Err(problem) => Args::wrong_usage("train", &problem),
    };
    if args.model == ModelKind::Adapter && args.hyper.init.is_none() {
        Args::wrong_usage("train", NO_ENCODER);
    }
    let word_vectors = match args.hyper.cnn.word_vectors() {
        Ok(word_vectors) => word_vectors,
        Err(problem) => Args::wrong_usage("train", &problem),
    };
    let options = model::onnx_options(common)?;
    let train = Dataset::new(texts(read_to_learn(&args.data, &args.documents)?))?;
    let dev = texts(read_to_measure(&args.dev, &args.documents)?);
    let dev = Dataset::with_vocabulary(dev, train.vocabulary())?;
    warn_of_unknown(&args.dev, dev.unknown_labels());
    let init = match word_vectors {
        Some(vectors) => Init::Tokens(Box::new(start_words(&vectors, &train, &config)?)),
        None => Init::read(args)?,
    };

    let (folder, stop) = (args.run_folder(), Stop::watch()?);
    let run = TrainingRun::new(&train, &dev, &config, &args.out, &options)
        .checkpoints(&folder, args.start())
        .stopped_by(stop.flag());
    let mut epochs = Epochs::begin(common.quiet.into());
    let progress = &mut |progress| epochs.show(progress);
    let trained = match (args.model, init) {
        (ModelKind::Cnn, init) => run.train_cnn(init.tokens(), progress),
        (ModelKind::Wide, _) => run.train_wide(progress),
        (ModelKind::WideCnn, init) => run.train_wide_cnn(init.tokens(), progress),
        (ModelKind::Adapter, Init::Encoder(encoder)) => {
            let cache = args.hyper.adapter.cache.folder(&args.out);
            run.train_adapter(*encoder, cache.as_deref(), progress)
        }
        (ModelKind::Adapter, _) => Args::wrong_usage("train", NO_ENCODER),
    };
    let (bundle, report) = trained.map_err(how_to_go_on)?;
    drop(epochs);
    output::print(common.format, &Trained::new(&bundle, report))?;
    Ok(())
}

const NO_ENCODER: &str = "--model adapter needs --init FOLDER, a pretrained encoder; `autotag model fetch minilm` gets one";

/// What a model starts with.
enum Init {
    Nothing,
    Tokens(Box<Pretrained>),
    Encoder(Box<BertFolder>),
}

impl Init {
    /// Reads what the kind of model takes of the folder given.
    fn read(args: &TrainArgs) -> Result<Self, TrainError> {
        match (&args.hyper.init, args.model) {
            (None, _) => Ok(Init::Nothing),
            (Some(folder), ModelKind::Adapter) => {
                Ok(Init::Encoder(Box::new(BertFolder::read(folder)?)))
            }
            (Some(folder), _) => Ok(Init::Tokens(Box::new(Pretrained::read(folder)?))),
        }
    }

    /// Returns the tokens that the CNN starts with.
    fn tokens(self) -> Option<Pretrained> {
        match self {
            Init::Tokens(tokens) => Some(*tokens),
            _ => None,
        }
    }
}

/// Starts a vocabulary with word vectors, and says how many of its words have one.
fn start_words(
    vectors: &WordVectors,
    train: &Dataset,
    config: &TrainConfig,
) -> Result<Pretrained, TrainError> {
    let (pretrained, coverage) = vectors.start(train, config.vocabulary_size, config.seed)?;
    let Coverage { n_words, n_known, unknown_share } = coverage;
    tracing::info!(
        "{n_known} of {n_words} words have a vector; {:.1}% of the training texts' tokens have none",
        100.0 * unknown_share
    );
    Ok(pretrained)
}

impl TrainArgs {
    fn run_folder(&self) -> PathBuf {
        self.run.clone().unwrap_or_else(|| self.out.with_added_extension("run"))
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
            "{}: {n_labels} labels, trained on {n_train} documents, epoch {best} of {n_epochs}\n\
             micro-F1 {dev_micro_f1:.4} on {n_dev} dev documents with the settings tuned on them, \
             which the bundle keeps:\n\
             k = {k}, tau = {tau}, lambda = {lambda}, threshold = {}\n",
            self.bundle.display(),
            threshold.get()
        )
    }
}

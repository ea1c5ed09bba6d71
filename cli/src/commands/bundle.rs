//! `autotag bundle`: what a model bundle holds, whether it is whole, and one made without training.

pub(crate) mod from_encoder;

use std::path::{Path, PathBuf};

use autotag::Selection;
use autotag_onnx::bundle::InputKind;
use autotag_onnx::{BundleConfig, ModelBundle};
use autotag_train::frozen::{EncoderCard, EncoderReport};
use autotag_train::{ContrastiveConfig, TrainReport};
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::args::Common;
use crate::commands::model;
use crate::commands::tune::TuneRecord;
use crate::output::{self, Report, shorten, table};

/// Show or verify a model bundle, or make one of a pretrained encoder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag bundle show bundle
  autotag bundle verify bundle --device cuda:0
  autotag bundle from-encoder --encoder minilm --data labeled.jsonl --out bundle")]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Show what a bundle holds: model, labels, settings, how it was trained
    #[command(after_help = "Example:\n  autotag bundle show bundle --format json")]
    Show {
        /// The bundle
        bundle: PathBuf,
    },
    /// Check every file against the manifest and run a text through the model
    #[command(after_help = "Example:\n  autotag bundle verify bundle")]
    Verify {
        /// The bundle
        bundle: PathBuf,
    },
    FromEncoder(Box<from_encoder::FromEncoderArgs>),
}

pub(crate) fn run(args: &BundleArgs, common: &Common) -> anyhow::Result<()> {
    match &args.command {
        BundleCommand::Show { bundle } => {
            output::print(common.format, &Shown::of(&ModelBundle::open(bundle)?)?)?;
        }
        BundleCommand::Verify { bundle } => {
            let verified = ModelBundle::verify(bundle, &model::onnx_options(common)?)?;
            output::print(common.format, &Verified::of(bundle, &verified))?;
        }
        BundleCommand::FromEncoder(args) => from_encoder::run(args, common)?,
    }
    Ok(())
}

/// A bundle's contents.
#[derive(Debug, Serialize)]
struct Shown {
    path: PathBuf,
    fingerprint: String,
    encoder_fingerprint: String,
    config: BundleConfig,
    /// The number of labeled texts that vote.
    neighbors: usize,
    labels: Vec<String>,
}

impl Shown {
    fn of(bundle: &ModelBundle) -> anyhow::Result<Self> {
        Ok(Shown {
            path: bundle.path().to_path_buf(),
            fingerprint: bundle.fingerprint().to_string(),
            encoder_fingerprint: bundle.encoder_fingerprint().to_string(),
            config: bundle.config().clone(),
            neighbors: bundle.datastore()?.reader()?.len(),
            labels: bundle.labels().names().map(str::to_owned).collect(),
        })
    }
}

impl Report for Shown {
    fn to_text(&self) -> String {
        let config = &self.config;
        let interpolation = &config.interpolation;
        let mut table = table(&["bundle", &self.path.display().to_string()], 2);
        let mut row = |name: &str, value: String| {
            table.add_row([name, &value]);
        };
        row("fingerprint", self.fingerprint.clone());
        row("model", format!("{} (format {})", config.architecture, config.format_version));
        row("representation", dimensions(config));
        row("reads", reads(config));
        row("labels", format!("{}: {}", self.labels.len(), shorten(&self.labels.join(", "), 400)));
        row("neighbors", format!("{} labeled texts", self.neighbors));
        let (k, tau) = (interpolation.k, interpolation.temperature.get());
        row("votes", format!("k = {k}, tau = {tau}, lambda = {}", interpolation.proportion));
        row("threshold", thresholds(&config.selection));
        if let Some(mix) = &config.mix {
            let threshold = mix.parameters().threshold.get();
            row("mix", format!("learned, with threshold {threshold}; used in the votes' place"));
        }
        if let Ok(report) = TrainReport::deserialize(&config.training) {
            row("trained", trained(&report));
        }
        if let Ok(report) = EncoderReport::deserialize(&config.training) {
            row("encoder", from_encoder::shown(&report));
        } else if let Ok(card) = EncoderCard::deserialize(&config.training["encoder"]) {
            row("encoder", from_encoder::shown_card(&card));
        }
        if let Some(record) = TuneRecord::of(config) {
            row("tuned", record.to_string());
        }
        table.to_string()
    }
}

fn dimensions(config: &BundleConfig) -> String {
    let length = if config.normalized { ", of length 1" } else { "" };
    format!("{} dimensions{length}", config.dimensions)
}

fn reads(config: &BundleConfig) -> String {
    let of_what = match config.input {
        InputKind::Ngrams => "words of a text, and pairs of them",
        InputKind::TokensAndNgrams => "tokens of a text, its words, and pairs of them",
        _ => "tokens of a text",
    };
    let prefix = match config.prefix.as_str() {
        "" => String::new(),
        prefix => format!(", after the prefix {prefix:?}"),
    };
    format!("the first {} {of_what}{prefix}", config.max_length)
}

fn thresholds(selection: &Selection) -> String {
    let Selection { threshold, per_label, review, .. } = selection;
    let own = match per_label.len() {
        0 => String::new(),
        n => format!("; {n} labels have one of their own"),
    };
    let suggested = match review {
        None => String::new(),
        Some(review) => format!("; suggestions from {} on", review.get()),
    };
    format!("{}{own}{suggested}", threshold.get())
}

fn trained(report: &TrainReport) -> String {
    let TrainReport { n_train, n_dev, dev_micro_f1, fit, config, .. } = report;
    let (best, seed) = (fit.best_epoch, config.seed);
    let ContrastiveConfig { gamma, temperature, .. } = config.contrastive;
    format!(
        "on {n_train} documents, epoch {best} of {}, seed {seed}, gamma {gamma}, tau' {temperature}; \
         micro-F1 {dev_micro_f1:.4} on {n_dev} dev documents",
        fit.epochs.len()
    )
}

/// The outcome of an integrity check.
#[derive(Debug, Serialize)]
struct Verified {
    path: PathBuf,
    fingerprint: String,
    verified: bool,
}

impl Verified {
    fn of(path: &Path, bundle: &ModelBundle) -> Self {
        let fingerprint = bundle.fingerprint().to_string();
        Verified { path: path.to_path_buf(), fingerprint, verified: true }
    }
}

impl Report for Verified {
    fn to_text(&self) -> String {
        let path = output::path(&self.path);
        format!("{path} is whole and its model answers\nfingerprint {}", self.fingerprint)
    }
}

//! `autotag train`: a bundle from labelled documents.

mod hyper;

use std::path::PathBuf;

use crate::args::{Common, DocumentArgs};
use hyper::HyperArgs;

/// Train a model on labelled documents and write it as a bundle
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag train --data train.jsonl --dev dev.jsonl --model cnn --out bundle --seed 1")]
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

    /// The bundle's folder, which must not exist yet
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,

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
}

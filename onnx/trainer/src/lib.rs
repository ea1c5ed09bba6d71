//! Trains autotag's models and exports them as bundles.
//!
//! A [`TrainingRun`] goes from labeled texts to a published bundle: it tokenizes, trains with binary
//! cross-entropy and the multi-label contrastive loss, stops early on dev, tunes k, tau, lambda and
//! the threshold, writes ONNX, compares the exported model with the trained one, and stores the
//! training set's representations as the first neighbors.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use autotag_onnx::OnnxOptions;
//! use autotag_train::{Dataset, Init, LabeledText, Preset, TrainingRun};
//!
//! # fn documents() -> Vec<LabeledText> { Vec::new() }
//! let train = Dataset::new(documents())?;
//! let dev = Dataset::with_vocabulary(documents(), train.vocabulary())?;
//! let Preset { spec, config } = "wide-cnn".parse()?;
//! let (out, options) = (Path::new("bundle"), OnnxOptions::default());
//! let run = TrainingRun::new(&train, &dev, &config, out, &options);
//! let (bundle, report) = run.train(&spec, Init::Random, None, &mut |_| {})?;
//! println!("{} reaches {:.3} on dev", bundle.path().display(), report.dev_micro_f1);
//! # Ok::<(), autotag_train::TrainError>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;

mod check;
mod config;
mod dataset;
mod files;
#[cfg(test)]
mod mutations;
mod pretrained;
#[cfg(test)]
mod slopes;
mod vocabulary;
mod word_vectors;

mod nearest;
mod parameters;
mod rows;
mod state;
mod svm;

mod layers;
pub mod loss;
mod model;
mod projection;

mod linear;
mod stacked;

#[cfg(feature = "burn")]
mod autodiff;

mod digest;
mod distinct;
mod init;
pub mod optimizer;
mod schedule;
mod subspace;

mod initial;
mod setup;

pub mod bert;
pub mod models;

mod average;
mod checkpoint;
mod ensemble;
mod fit;
pub mod frozen;
mod source;
mod spec;

mod report;

mod card;
mod first_neighbors;
mod readable;
mod train;

pub use checkpoint::Start;
pub use config::TrainConfig;
pub use dataset::{Dataset, LabeledText, Skipped, Unreadable};
pub use error::{Result, TrainError};
pub use initial::Init;
pub use loss::{Coefficient, ContrastiveConfig, ContrastiveTemperature};
pub use model::{Predicted, StepLoss};
pub use pretrained::Pretrained;
pub use report::{EpochReport, FitReport, Progress, TrainReport};
pub use schedule::Schedule;
pub use source::InitSource;
pub use spec::{CommonSettings, Member, ModelSpec, Preset};
pub use stacked::StackingWeights;
pub use state::{State, StateError};
pub use svm::{LinearSvm, SvmConfig};
pub use train::TrainingRun;
pub use word_vectors::{Coverage, WordVectors};

//! Trains the models.
#![cfg_attr(test, allow(clippy::unwrap_used))]
mod error;
pub mod cnn;
mod config;
mod dataset;
pub mod fit;
pub mod loss;
pub mod matrix;
mod nearest;
mod pretrained;
pub use config::TrainConfig;
pub use dataset::{Dataset, LabeledText};
pub use error::{Result, TrainError};
pub use pretrained::Pretrained;

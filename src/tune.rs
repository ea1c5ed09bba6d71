//! Predictions kept to be evaluated and tuned: k, tau, lambda, one threshold or one for each label.

mod evaluate;
mod histogram;

mod grid;
mod labels;

pub use evaluate::{Method, Objective, Prediction, evaluate, scores};
pub use grid::{Grid, MAX_K, Tuned, tune, tune_for};
pub use labels::{LabelThresholds, tune_labels};

#[cfg(test)]
mod tests;

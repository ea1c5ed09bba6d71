//! Predictions kept to be evaluated and tuned: k, tau, lambda, one threshold or one for each label.

mod evaluate;
mod histogram;

mod grid;
mod labels;
mod lbfgs;
mod learned;

pub use evaluate::{Method, Objective, Prediction, evaluate, scores};
pub use grid::{Grid, MAX_K, Tuned, tune, tune_for};
pub use labels::{LabelThresholds, tune_labels};
pub use lbfgs::minimize;
pub use learned::{FittedMix, MIN_TEXTS, evaluate_mix, fit_mix, mixed_scores, mixed_selection};

#[cfg(test)]
mod tests;

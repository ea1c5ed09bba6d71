//! The progress of a training, and its reports.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use autotag::{Interpolation, Threshold};

use crate::config::TrainConfig;
use crate::dataset::Skipped;
use crate::model::StepLoss;
use crate::spec::ModelSpec;
use crate::stacked::StackingWeights;

/// The progress of a training.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// Some batches of an epoch are done.
    Batches {
        /// The epoch, from 1.
        epoch: usize,
        /// The texts of this epoch that are done.
        done: usize,
        /// The texts of an epoch.
        of: usize,
        /// The mean losses of the epoch so far.
        loss: StepLoss,
        /// The texts per second in this epoch so far.
        texts_per_second: f64,
        /// The time that training takes on, if no epoch is left out and measuring dev takes none.
        at_most: Duration,
    },
    /// A frozen encoder has encoded some texts of a data set.
    Encoded {
        /// The texts that are done.
        done: usize,
        /// The texts of the data set.
        of: usize,
    },
    /// An epoch is done and dev was measured.
    Epoch(EpochReport),
    /// A step around training begins, in words.
    Stage(&'static str),
}

/// The figures of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean binary cross-entropy.
    pub bce: f32,
    /// Mean contrastive loss, before gamma; measured with gamma 0 too.
    pub contrastive: f32,
    /// Mean norm of the representations, as [`StepLoss::norm`]; an ensemble's is the mean of its
    /// members', weighted by their shares. 0 in bundles of versions that did not measure it.
    #[serde(default)]
    pub norm: f32,
    /// Mean standard deviation of a batch's pair distances, as [`StepLoss::spread`]; an ensemble's is
    /// the mean of its members'. 0 in bundles of versions that did not measure it.
    #[serde(default)]
    pub spread: f32,
    /// Training texts per second.
    pub texts_per_second: f64,
    /// Micro-F1 on dev of the model alone, at threshold .5.
    pub model_f1: f64,
    /// Micro-F1 on dev of the interpolation as configured, at threshold .5.
    pub interpolated_f1: f64,
    /// Micro-F1 on dev of the interpolation with the best k, tau, lambda and threshold of
    /// [`Grid::coarse`](autotag::tune::Grid::coarse).
    pub tuned_f1: f64,
    /// This is the best epoch so far.
    pub best: bool,
}

impl EpochReport {
    /// Returns the figure that decides which epoch is the best: the mean of the interpolation's
    /// micro-F1 as configured and tuned.
    ///
    /// Why not the tuned figure alone? The best of a grid is noisy from epoch to epoch, and three
    /// epochs without luck would end a training whose scores still become better.
    pub fn dev_f1(&self) -> f64 {
        (self.interpolated_f1 + self.tuned_f1) / 2.0
    }

    /// Tells whether this figure is above another's, by more than its way through a checkpoint's JSON
    /// may change.
    pub(crate) fn is_better(&self, other: &EpochReport) -> bool {
        self.dev_f1() > other.dev_f1() + 1e-12
    }
}

/// The figures of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// Every epoch.
    pub epochs: Vec<EpochReport>,
    /// The epoch whose parameters were kept, from 1.
    pub best_epoch: usize,
    /// The weights by which the model was stacked with linear classifiers, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacking: Option<StackingWeights>,
}

/// A training run: its model, settings, data and figures; it is written into the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The model; absent in bundles of versions that had no such value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<ModelSpec>,
    /// The training's settings.
    pub config: TrainConfig,
    /// The number of training texts.
    pub n_train: usize,
    /// The number of dev texts.
    pub n_dev: usize,
    /// The texts that were left out of both, because the model cannot read them.
    #[serde(default)]
    pub skipped: Skipped,
    /// The epochs.
    pub fit: FitReport,
    /// k, tau, lambda and the threshold tuned on dev, which the bundle uses.
    pub interpolation: Interpolation,
    /// The threshold tuned on dev.
    pub threshold: Threshold,
    /// The micro-F1 on dev with them.
    pub dev_micro_f1: f64,
    /// The micro-F1 of a learned mix on dev texts that were held out of its fit, where one was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix_held_out: Option<f64>,
    /// The micro-F1 on the same texts of interpolations that were tuned on the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpolated_held_out: Option<f64>,
    /// The largest difference between the exported model's and the trainer's answers, scores and
    /// representations, on some dev texts and on single words; relative where values exceed 1.
    pub export_difference: f32,
}

impl TrainReport {
    /// Tells whether the bundle has the learned mix: where it does better than the interpolation on texts
    /// that neither was fitted to.
    pub fn uses_mix(&self) -> bool {
        self.mix_held_out > self.interpolated_held_out
    }
}

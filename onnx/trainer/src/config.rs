//! The settings of a training run, whatever the model.

use serde::{Deserialize, Serialize};

use autotag::Interpolation;
use autotag_onnx::bundle::MAX_DIMENSIONS;

use crate::check::{at_least_1, is_share, within};
use crate::error::Result;
use crate::loss::ContrastiveConfig;
use crate::schedule::Schedule;

/// The settings that every model's training has; a model's own are in its
/// [`ModelSpec`](crate::ModelSpec). Both are written into the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The contrastive loss.
    pub contrastive: ContrastiveConfig,
    /// The course of the learning rates over the epochs.
    pub schedule: Schedule,
    /// The texts of a step; the contrastive loss compares those of one batch.
    pub batch_size: usize,
    /// The most passes over the training set.
    pub epochs: usize,
    /// The passes without a better dev figure after which training ends.
    pub patience: usize,
    /// The weight of earlier epochs in the average over epochs, from 0 (only the last epoch counts)
    /// to less than 1.
    pub averaging: f32,
    /// The tokens, or words, of a text that the model reads.
    pub max_length: usize,
    /// The dimensions that the trained model's representations are projected to by principal component
    /// analysis, where they have more; 0 keeps them as they are.
    #[serde(default)]
    pub projection: usize,
    /// The interpolation of the untuned figure that is reported for dev each epoch.
    pub interpolation: Interpolation,
    /// The threads to train on; 0 for as many as the machine has.
    pub threads: usize,
    /// Fixes every random choice.
    pub seed: u64,
}

impl Default for TrainConfig {
    /// Returns constant learning rates, until dev stops improving; a
    /// [`Preset`](crate::Preset) has what suits its model.
    fn default() -> Self {
        TrainConfig {
            contrastive: ContrastiveConfig::default(),
            schedule: Schedule::CONSTANT,
            batch_size: 128,
            epochs: 30,
            patience: 3,
            averaging: 0.7,
            max_length: 300,
            projection: 0,
            interpolation: Interpolation::default(),
            threads: 0,
            seed: 0,
        }
    }
}

/// More threads than any machine's, so that a typing error does not start millions.
const MAX_THREADS: usize = 4096;

impl TrainConfig {
    /// Checks every setting's range.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`](crate::TrainError::Setting) naming the first setting that is out of
    /// range.
    pub fn check(&self) -> Result<()> {
        at_least_1("epochs", self.epochs)?;
        at_least_1("patience", self.patience)?;
        at_least_1("batch size", self.batch_size)?;
        at_least_1("max length", self.max_length)?;
        within("projection", self.projection, 0..=MAX_DIMENSIONS, "within 0..=65536")?;
        self.schedule.check()?;
        within("threads", self.threads, 0..=MAX_THREADS, "within 0..=4096")?;
        is_share("averaging", self.averaging)?;
        self.contrastive.check()
    }
}

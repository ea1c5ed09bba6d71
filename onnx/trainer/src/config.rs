//! Everything that a training run can be told, with its defaults.

use serde::{Deserialize, Serialize};

use autotag::Interpolation;

use crate::cnn::{AdamConfig, CnnConfig, ContrastiveConfig};

/// A training run's settings; they are written into the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The model's shape and regularization.
    pub cnn: CnnConfig,
    /// The contrastive loss.
    pub contrastive: ContrastiveConfig,
    /// The optimizer.
    pub adam: AdamConfig,
    /// The texts of a step; the contrastive loss compares those of one batch.
    pub batch_size: usize,
    /// The most passes over the training set.
    pub epochs: usize,
    /// The passes without a better dev figure after which training ends.
    pub patience: usize,
    /// The tokens of a text that the model reads.
    pub max_length: usize,
    /// The most tokens of a vocabulary made from the training set, where no encoder brings one.
    pub vocabulary_size: usize,
    /// How neighbors vote when dev is measured, and the bundle's setting.
    pub interpolation: Interpolation,
    /// Fixes every random choice.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            cnn: CnnConfig::default(),
            contrastive: ContrastiveConfig::default(),
            adam: AdamConfig::default(),
            batch_size: 128,
            epochs: 30,
            patience: 3,
            max_length: 200,
            vocabulary_size: 30_000,
            interpolation: Interpolation::default(),
            seed: 0,
        }
    }
}

use autotag_onnx::ModelInput;
use burn::tensor::Device;

use super::forward::{Batch, Network, Regularization};
use super::*;
use crate::TrainConfig;
use crate::autodiff::samples::{assert_near, check_learns, check_resumes};
use crate::autodiff::matrix_of;
use crate::bert::tests::tiny;
use crate::bert::{BertFolder, Pooling};
use crate::config::ContrastiveConfig;
use crate::fit::{Model, Predict};
use crate::optimizer::AdamConfig;

fn config() -> TrainConfig {
    TrainConfig {
        bert: FinetuneConfig {
            encoder_rate: 3e-3,
            dropout: 0.05,
            normalize: true,
            ..FinetuneConfig::default()
        },
        adam: AdamConfig { learning_rate: 0.03, ..TrainConfig::bert().adam },
        contrastive: ContrastiveConfig { gamma: 0.1, temperature: 1.0 },
        batch_size: 12,
        epochs: 20,
        patience: 20,
        max_length: 12,
        threads: 1,
        ..TrainConfig::bert()
    }
}

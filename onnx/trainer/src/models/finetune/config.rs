//! The settings of fine-tuning.

use serde::{Deserialize, Serialize};

use crate::bert::{BertConfig, Pooling};
use crate::check::{is_positive, is_share, is_true};
use crate::config::TrainConfig;
use crate::error::Result;
use crate::optimizer::AdamConfig;
use crate::schedule::Schedule;

/// The settings of a pretrained encoder that is fine-tuned: pooling, regularization, optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FinetuneConfig {
    /// The pooling of token representations; `None` for the folder's own, else the first token's.
    pub pooling: Option<Pooling>,
    /// The encoder's highest learning rate; `None` for one that suits its width
    /// ([`FinetuneConfig::encoder_rate_for`]).
    pub encoder_rate: Option<f32>,
    /// The share of each weight, times its learning rate, that it loses in a step; biases and
    /// normalizations lose nothing.
    pub weight_decay: f32,
    /// The share of each layer's outputs, and of the representation before the scores, that is
    /// dropped in training.
    pub dropout: f32,
    /// Scales the representation to length 1.
    pub normalize: bool,
    /// The optimizer; its rate is that of the layer of scores.
    pub adam: AdamConfig,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        FinetuneConfig {
            pooling: None,
            encoder_rate: None,
            weight_decay: 0.01,
            dropout: 0.1,
            normalize: false,
            adam: AdamConfig { max_gradient_norm: 1.0, ..AdamConfig::default() },
        }
    }
}

impl FinetuneConfig {
    pub(crate) const NAME: &str = "bert";

    /// Returns the settings of an encoder that is fine-tuned by itself, and the training that suits
    /// it: few epochs of small steps, the last of which counts alone.
    pub(crate) fn alone() -> (Self, TrainConfig) {
        let mut config = TrainConfig::default();
        FinetuneConfig::suit(&mut config);
        (FinetuneConfig::default(), config)
    }

    /// Returns the settings of an ensemble's encoder, whose training suits the others too: they
    /// learn in as few epochs, since batches are small.
    pub(crate) fn member(config: &mut TrainConfig) -> Self {
        FinetuneConfig::suit(config);
        FinetuneConfig { normalize: true, ..FinetuneConfig::default() }
    }

    fn suit(config: &mut TrainConfig) {
        config.schedule = Schedule { warm_up: 0.1, left: 0.0 };
        (config.batch_size, config.epochs, config.averaging) = (16, 4, 0.0);
        config.max_length = 128;
    }

    /// Returns the highest learning rate of an encoder: the one that is set, or 3e-5 · (768 / H)², at
    /// most 1e-3, for representations of length H.
    ///
    /// That is within what is usual for BERT-base (H = 768); a narrower encoder learns too little in a few
    /// epochs of such steps.
    pub fn encoder_rate_for(&self, encoder: &BertConfig) -> f32 {
        let narrower = 768.0 / encoder.hidden_size as f32;
        self.encoder_rate.unwrap_or_else(|| (3e-5 * narrower * narrower).min(1e-3))
    }

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(rate) = self.encoder_rate {
            is_true("the encoder's learning rate", rate, is_positive(rate), "greater than 0")?;
        }
        is_share("weight decay", self.weight_decay)?;
        is_share("dropout", self.dropout)?;
        self.adam.check()
    }
}

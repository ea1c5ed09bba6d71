use serde::{Deserialize, Serialize};

use crate::Result;
use crate::bert::{BertConfig, Pooling};
use crate::check::{is_positive, is_true};

/// How a pretrained encoder is trained further; the learning rate of the optimizer's settings is that
/// of the layer of scores, which starts at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FinetuneConfig {
    /// How a text's representation is made of its tokens'; `None` for as the encoder's folder says,
    /// and the first token's where it says nothing.
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
    /// Whether the representation is scaled to length 1.
    pub normalize: bool,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        FinetuneConfig {
            pooling: None,
            encoder_rate: None,
            weight_decay: 0.01,
            dropout: 0.1,
            normalize: false,
        }
    }
}

impl FinetuneConfig {
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
        let decay = self.weight_decay;
        is_true("weight decay", decay, (0.0..1.0).contains(&decay), "0 or more, less than 1")?;
        let share = self.dropout;
        is_true("dropout", share, (0.0..1.0).contains(&share), "0 or more, less than 1")
    }
}

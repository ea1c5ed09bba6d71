//! The adapter's settings.

use serde::{Deserialize, Serialize};

use crate::bert::Pooling;
use crate::check::{MAX_SIZE, is_prefix, is_share, within};
use crate::config::TrainConfig;
use crate::error::Result;
use crate::frozen::DEFAULT_LENGTH;
use crate::loss::ContrastiveConfig;
use crate::optimizer::AdamConfig;

/// The adapter's settings: shape, regularization, optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// The encoder's pooling; `None` for its folder's own, else the mean.
    pub pooling: Option<Pooling>,
    /// Put before each text that the encoder reads, as `query: ` where it was trained so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// R: the length of the representation.
    pub hidden: usize,
    /// The share of the encoder's values that are dropped in training.
    pub input_dropout: f32,
    /// The share of the representation's values that are dropped before the output layer.
    pub dropout: f32,
    /// Scales the representation to length 1.
    pub normalize: bool,
    /// The optimizer.
    pub adam: AdamConfig,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        AdapterConfig {
            pooling: None,
            prefix: String::new(),
            hidden: 512,
            input_dropout: 0.1,
            dropout: 0.3,
            normalize: false,
            adam: AdamConfig { learning_rate: 2e-3, ..AdamConfig::default() },
        }
    }
}

impl AdapterConfig {
    pub(crate) const NAME: &str = "adapter";

    /// Returns the settings of an adapter by itself, and the training that suits it.
    ///
    /// The contrastive loss is left out, as for the wide model.
    pub(crate) fn alone() -> (Self, TrainConfig) {
        let config = TrainConfig {
            contrastive: ContrastiveConfig::off(),
            epochs: 20,
            max_length: DEFAULT_LENGTH,
            ..TrainConfig::default()
        };
        (AdapterConfig::default(), config)
    }

    /// Returns the settings of an ensemble's adapter.
    pub(crate) fn member(config: &mut TrainConfig) -> Self {
        config.max_length = DEFAULT_LENGTH;
        AdapterConfig { normalize: true, adam: AdamConfig::default(), ..AdapterConfig::default() }
    }

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        is_prefix(&self.prefix)?;
        within("hidden", self.hidden, 1..=MAX_SIZE, "within 1..=10000")?;
        is_share("input dropout", self.input_dropout)?;
        is_share("dropout", self.dropout)?;
        self.adam.check()
    }
}

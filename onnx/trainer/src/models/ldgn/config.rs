//! LDGN's settings.

use serde::{Deserialize, Serialize};

use crate::check::{MAX_SIZE, is_share, within};
use crate::config::TrainConfig;
use crate::error::Result;
use crate::loss::ContrastiveConfig;
use crate::optimizer::AdamConfig;
use crate::vocabulary::{DEFAULT_VOCABULARY_SIZE, check_vocabulary_size};

/// The texts of a step.
const BATCH_SIZE: usize = 64;

/// LDGN's settings: shape, regularization, optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LdgnConfig {
    /// The length of a token's embedding; a pretrained token table has its own.
    pub embedding_dimensions: usize,
    /// H: the length of the LSTM's state in each direction.
    pub lstm: usize,
    /// G: the length of a label's vector after each graph; the representation has 2 G values.
    pub graph: usize,
    /// The share of an embedding's values that are dropped in training, per distinct token.
    pub embedding_dropout: f32,
    /// The share of the label vectors' values that are dropped before each graph and before the
    /// scores.
    pub dropout: f32,
    /// Scales the representation to length 1.
    pub normalize: bool,
    /// The most tokens of a vocabulary learned from the training set, where no encoder brings one.
    pub vocabulary_size: usize,
    /// The optimizer.
    pub adam: AdamConfig,
}

impl Default for LdgnConfig {
    fn default() -> Self {
        LdgnConfig {
            embedding_dimensions: 300,
            lstm: 150,
            graph: 150,
            embedding_dropout: 0.3,
            dropout: 0.3,
            normalize: false,
            vocabulary_size: DEFAULT_VOCABULARY_SIZE,
            adam: AdamConfig { max_gradient_norm: 5.0, ..AdamConfig::default() },
        }
    }
}

impl LdgnConfig {
    pub(crate) const NAME: &str = "ldgn";

    /// Returns the settings of LDGN by itself, and the training that suits it.
    ///
    /// Its batches are smaller than the CNN's, since a text takes a matrix of labels by labels. The
    /// contrastive loss is left out: on a part of Reuters-21578 it cost a point.
    pub(crate) fn alone() -> (Self, TrainConfig) {
        let config = TrainConfig {
            contrastive: ContrastiveConfig::off(),
            batch_size: BATCH_SIZE,
            ..TrainConfig::default()
        };
        (LdgnConfig::default(), config)
    }

    /// Returns the settings of an ensemble's LDGN.
    pub(crate) fn member(config: &mut TrainConfig) -> Self {
        config.batch_size = config.batch_size.min(BATCH_SIZE);
        LdgnConfig { normalize: true, ..LdgnConfig::default() }
    }

    /// Returns the length R of the representation.
    pub fn dimensions(&self) -> usize {
        2 * self.graph
    }

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        let dimensions = self.embedding_dimensions;
        within("embedding dimensions", dimensions, 1..=MAX_SIZE, "within 1..=10000")?;
        within("the LSTM's state", self.lstm, 1..=MAX_SIZE, "within 1..=10000")?;
        within("the length of a label's vector", self.graph, 1..=MAX_SIZE, "within 1..=10000")?;
        is_share("embedding dropout", self.embedding_dropout)?;
        is_share("dropout", self.dropout)?;
        check_vocabulary_size(self.vocabulary_size)?;
        self.adam.check()
    }
}

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::check::{MAX_SIZE, is_true, within};

/// The shape and regularization of LDGN.
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
    /// Whether the representation is scaled to length 1.
    pub normalize: bool,
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
        }
    }
}

impl LdgnConfig {
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
        for (name, share) in
            [("embedding dropout", self.embedding_dropout), ("dropout", self.dropout)]
        {
            is_true(name, share, (0.0..1.0).contains(&share), "0 or more, less than 1")?;
        }
        Ok(())
    }
}

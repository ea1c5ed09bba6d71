//! The pretrained values that a model starts from.

use std::sync::Arc;

use crate::bert::BertFolder;
use crate::pretrained::Pretrained;

/// The pretrained values that a model starts from.
#[derive(Clone, Debug, Default)]
pub enum Init {
    /// None: every parameter is drawn at random.
    #[default]
    Random,
    /// A tokenizer and its table of token vectors.
    Tokens(Box<Pretrained>),
    /// A whole encoder.
    Encoder(Arc<BertFolder>),
}

//! The kinds of input that a model reads.

use serde::{Deserialize, Serialize};

/// The kind of input that a model reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InputKind {
    /// `input_ids` and `attention_mask`, int64 [batch, length].
    #[default]
    TokenIds,
    /// `feature_ids` int64 and `feature_weights` float32 [batch, features]: weighted word n-grams.
    Ngrams,
    /// All four: the inputs of [`InputKind::TokenIds`] and of [`InputKind::Ngrams`].
    TokensAndNgrams,
}

impl InputKind {
    /// Tells whether a tokenizer makes a part of the input.
    pub fn reads_tokens(self) -> bool {
        self != InputKind::Ngrams
    }

    /// Tells whether a vocabulary of n-grams makes a part of the input.
    pub fn reads_ngrams(self) -> bool {
        self != InputKind::TokenIds
    }
}

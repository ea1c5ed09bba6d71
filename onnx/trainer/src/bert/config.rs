use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::read_regular;
use crate::{Result, TrainError};

/// The shape of a BERT encoder, from its `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// H: the length of a token's representation.
    pub hidden_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of attention heads, which divides H.
    pub num_attention_heads: usize,
    /// The width of the feed-forward network's hidden layer.
    pub intermediate_size: usize,
    /// V: the number of rows of the token table.
    pub vocab_size: usize,
    /// The most tokens of a text.
    pub max_position_embeddings: usize,
    /// The number of rows of the segment table, of which the first is used.
    pub type_vocab_size: usize,
    /// Added to the variance that a layer normalization divides by.
    pub layer_norm_eps: f32,
    /// The feed-forward network's activation: "gelu", the exact one.
    pub hidden_act: String,
}

/// The other entries of `config.json` on which the meaning of the weights depends.
#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
    position_embedding_type: Option<String>,
}

/// The longest configuration that is read; an encoder's has some hundred bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// More of anything than an encoder has, so that products of two sizes cannot overflow.
const MAX: usize = 1 << 24;

impl BertConfig {
    /// Reads `config.json` in a folder.
    ///
    /// # Errors
    ///
    /// [`TrainError::Pretrained`] when the file cannot be read, is of another kind of model, or has
    /// a value that is not supported, which it names.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let refuse = |reason: String| TrainError::Pretrained { path: path.clone(), reason };
        let bytes = read_regular(&path, MAX_CONFIG_BYTES).map_err(|error| {
            refuse(format!(
                "{error}; give the folder of a BERT encoder, with config.json, model.safetensors and tokenizer.json"
            ))
        })?;
        let kind: Kind = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        check_kind(&kind).map_err(refuse)?;
        let config: BertConfig =
            serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        config.check().map_err(refuse)?;
        Ok(config)
    }

    /// Returns the width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Checks every value, so that what comes after may trust them.
    fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            if !(1..=MAX).contains(&value) {
                return Err(format!("its {name} is {value}, which must be within 1..={MAX}"));
            }
        }
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        if !hidden.is_multiple_of(heads) {
            return Err(format!(
                "its hidden_size {hidden} is no multiple of its num_attention_heads {heads}"
            ));
        }
        let epsilon = self.layer_norm_eps;
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(format!("its layer_norm_eps is {epsilon}, which must be within 0..1"));
        }
        if self.hidden_act != "gelu" {
            return Err(format!("its hidden_act is {:?}: only \"gelu\" works", self.hidden_act));
        }
        Ok(())
    }
}

/// Refuses models whose weights have the same shapes and another meaning.
fn check_kind(kind: &Kind) -> Result<(), String> {
    match &kind.model_type {
        Some(other) if other != "bert" => {
            return Err(format!("its model_type is {other:?}: only \"bert\" works"));
        }
        _ => {}
    }
    match &kind.position_embedding_type {
        Some(other) if other != "absolute" => {
            Err(format!("its position_embedding_type is {other:?}: only \"absolute\" works"))
        }
        _ => Ok(()),
    }
}

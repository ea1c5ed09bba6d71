use std::path::Path;

use serde::{Deserialize, Serialize};

use super::relative::N_BUCKETS;
use crate::files::read_regular;
use crate::{Result, TrainError};

/// The architectures of encoders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// BERT.
    #[default]
    Bert,
    /// MPNet ("Masked and Permuted Pre-training for Language Understanding", 2020): without segments,
    /// with a bias of attention by relative position.
    Mpnet,
}

/// The shape of an encoder, from its `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// The architecture.
    #[serde(default, skip_serializing_if = "Architecture::is_bert")]
    pub model_type: Architecture,
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
    /// The number of rows of the position table; see [`BertConfig::n_positions`].
    pub max_position_embeddings: usize,
    /// The number of rows of the segment table, of which the first is used; 0 for MPNet, which has none.
    #[serde(default)]
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
    relative_attention_num_buckets: Option<usize>,
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
        let mut config: BertConfig =
            serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        if config.model_type == Architecture::Mpnet {
            config.type_vocab_size = 0;
        }
        config.check().map_err(refuse)?;
        Ok(config)
    }

    /// Returns the most tokens of a text.
    pub fn n_positions(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }

    /// Returns the row of the position table that a text's first token has.
    ///
    /// MPNet numbers positions from the padding token's id + 1, and that id is always 1 in its
    /// reference implementation.
    pub(crate) fn first_position(&self) -> usize {
        match self.model_type {
            Architecture::Bert => 0,
            Architecture::Mpnet => 2,
        }
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
            ("type_vocab_size", self.type_vocab_size),
        ] {
            let is_absent = name == "type_vocab_size" && self.model_type == Architecture::Mpnet;
            if !is_absent && !(1..=MAX).contains(&value) {
                return Err(format!("its {name} is {value}, which must be within 1..={MAX}"));
            }
        }
        let (rows, first) = (self.max_position_embeddings, self.first_position());
        if !(first + 1..=MAX).contains(&rows) {
            return Err(format!(
                "its max_position_embeddings is {rows}, which must be within {}..={MAX}",
                first + 1
            ));
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

impl Architecture {
    fn is_bert(&self) -> bool {
        *self == Architecture::Bert
    }

    /// Returns the name for people.
    pub fn title(self) -> &'static str {
        match self {
            Architecture::Bert => "BERT",
            Architecture::Mpnet => "MPNet",
        }
    }

    /// Returns the prefix of the tensors' names where the encoder is a part of a larger model.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Architecture::Bert => "bert.",
            Architecture::Mpnet => "mpnet.",
        }
    }
}

/// Refuses models whose weights have the same shapes and another meaning.
fn check_kind(kind: &Kind) -> Result<(), String> {
    let model_type = kind.model_type.as_deref().unwrap_or("bert");
    if !["bert", "mpnet"].contains(&model_type) {
        return Err(format!("its model_type is {model_type:?}: only \"bert\" and \"mpnet\" work"));
    }
    match kind.position_embedding_type.as_deref() {
        None | Some("absolute") => {}
        Some(other) => {
            return Err(format!(
                "its position_embedding_type is {other:?}: only \"absolute\" works"
            ));
        }
    }
    // The reference implementation counts on this number whatever the configuration says.
    match kind.relative_attention_num_buckets {
        Some(other) if other != N_BUCKETS => {
            Err(format!("its relative_attention_num_buckets is {other}: only {N_BUCKETS} works"))
        }
        _ => Ok(()),
    }
}

//! A pretrained encoder's tokenizer and token table, to start a model from.

use std::path::Path;

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tokenizers::Tokenizer;

use crate::matrix::Matrix;
use crate::{Result, TrainError};

/// What a model takes over from a pretrained encoder.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its token table, [vocabulary, dimensions].
    pub token_table: Matrix,
}

/// The token table's names in BERT-like checkpoints.
const TABLE_NAMES: [&str; 3] = [
    "embeddings.word_embeddings.weight",
    "bert.embeddings.word_embeddings.weight",
    "model.embed_tokens.weight",
];

impl Pretrained {
    /// Reads `tokenizer.json` and the token table of `model.safetensors` in a folder that is laid
    /// out as Hugging Face's models are.
    ///
    /// # Errors
    ///
    /// [`TrainError::Pretrained`] naming the file and what is wrong with it.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let tokenizer = Tokenizer::from_file(&path).map_err(|error| TrainError::Pretrained {
            path,
            reason: format!("{error}; give a folder with tokenizer.json and model.safetensors"),
        })?;
        let path = folder.join("model.safetensors");
        let refuse = |reason: String| TrainError::Pretrained { path: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|error| refuse(error.to_string()))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
        let table = TABLE_NAMES.iter().find_map(|name| tensors.tensor(name).ok());
        let table = table.ok_or_else(|| {
            refuse(format!("it has no token table under any of {}", TABLE_NAMES.join(", ")))
        })?;
        let token_table = read_matrix(&table).map_err(refuse)?;
        let n_tokens = tokenizer.get_vocab_size(true);
        if n_tokens > token_table.n_rows() {
            let n_rows = token_table.n_rows();
            return Err(TrainError::Pretrained {
                path,
                reason: format!(
                    "its token table has {n_rows} rows for the tokenizer's {n_tokens} tokens"
                ),
            });
        }
        Ok(Pretrained { tokenizer, token_table })
    }
}

fn read_matrix(tensor: &TensorView<'_>) -> Result<Matrix, String> {
    let &[n_rows, n_cols] = tensor.shape() else {
        return Err(format!(
            "its token table has the shape {:?}, not two dimensions",
            tensor.shape()
        ));
    };
    let bytes = tensor.data();
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        Dtype::F16 => {
            bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
        }
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect()
        }
        other => return Err(format!("its token table has the type {other:?}: give floats")),
    };
    if n_rows == 0 || n_cols == 0 || !values.iter().all(|value| value.is_finite()) {
        return Err("its token table is empty or has values that are not finite".to_owned());
    }
    Ok(Matrix::from_values(n_rows, n_cols, values))
}

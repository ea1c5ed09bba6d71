use std::path::Path;

use serde_json::json;
use tokenizers::Tokenizer;

use super::relative::N_BUCKETS;
use super::{Architecture, BertConfig, BertWeights, Pooling, pooling};
use crate::pretrained::{check_ids, read_tokenizer};
use crate::{Result, TrainError};

/// A folder with a pretrained encoder, read: what trains or exports it starts from this.
#[derive(Clone, Debug)]
pub struct BertFolder {
    /// The tokenizer, all of whose ids have a row in the token table.
    pub tokenizer: Tokenizer,
    /// The shape.
    pub config: BertConfig,
    /// The weights.
    pub weights: BertWeights,
    /// The pooling that the encoder was trained with, where the folder names it.
    pub pooling: Option<Pooling>,
}

impl BertFolder {
    /// Reads `tokenizer.json`, `config.json`, `model.safetensors` and, where there is one,
    /// `1_Pooling/config.json`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Pretrained`] naming the file and what is wrong
    /// with it, also where two of them do not fit together.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = BertConfig::read(folder)?;
        let tokenizer = read_tokenizer(folder)?;
        check_ids(folder, &tokenizer, config.vocab_size)?;
        let pooling = Pooling::read(folder)?;
        let weights = BertWeights::read(folder, &config)?;
        Ok(BertFolder { tokenizer, config, weights, pooling })
    }

    /// Writes the files that [`BertFolder::read`] reads into a folder, which is made where it is
    /// missing.
    ///
    /// # Errors
    ///
    /// [`TrainError::Pretrained`] naming the file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut config = serde_json::to_value(&self.config).expect("a configuration is plain data");
        config["model_type"] = json!(self.config.model_type);
        if self.config.model_type == Architecture::Mpnet {
            config["relative_attention_num_buckets"] = json!(N_BUCKETS);
        }
        let tokenizer = self.tokenizer.to_string(false).map_err(|error| {
            let (path, reason) = (folder.join("tokenizer.json"), error.to_string());
            TrainError::Pretrained { path, reason }
        })?;
        write(&folder.join("config.json"), format!("{config:#}\n").as_bytes())?;
        write(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
        write(&folder.join("model.safetensors"), &self.weights.to_file(&self.config))?;
        match self.pooling {
            Some(pooling) => write(&folder.join(pooling::FILE), pooling.to_json().as_bytes()),
            None => Ok(()),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(path, bytes));
    written.map_err(|error| TrainError::Pretrained {
        path: path.to_path_buf(),
        reason: format!("it cannot be written: {error}"),
    })
}

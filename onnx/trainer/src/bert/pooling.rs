use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::MAX_CONFIG_BYTES;
use crate::files::read_regular;
use crate::{Result, TrainError};

/// The pooling of token representations into one of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The first token's, `[CLS]`.
    Cls,
    /// The mean over the text's tokens, special ones included: what most sentence encoders are
    /// trained with, and better than the first token's where an encoder is not trained further.
    #[default]
    Mean,
}

/// Where sentence encoders say how they pool.
pub(super) const FILE: &str = "1_Pooling/config.json";

impl Pooling {
    /// Reads the pooling that a folder's encoder was trained with from `1_Pooling/config.json`; `None`
    /// where there is no such file.
    ///
    /// # Errors
    ///
    /// [`TrainError::Pretrained`] when the file cannot be read, or names another way of pooling.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let refuse = |reason: String| TrainError::Pretrained { path: path.clone(), reason };
        let bytes = match read_regular(&path, MAX_CONFIG_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refuse(error.to_string())),
        };
        let modes: serde_json::Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        let is_chosen =
            |(name, value): &(&String, &Value)| name.starts_with(PREFIX) && **value == true;
        let chosen: Vec<&str> =
            modes.iter().filter(is_chosen).map(|(name, _)| name.as_str()).collect();
        match chosen[..] {
            ["pooling_mode_cls_token"] => Ok(Some(Pooling::Cls)),
            ["pooling_mode_mean_tokens"] => Ok(Some(Pooling::Mean)),
            [] => Ok(None),
            _ => Err(refuse(format!(
                "it asks for {}: only pooling_mode_cls_token or pooling_mode_mean_tokens alone works",
                chosen.join(" and ")
            ))),
        }
    }

    /// Writes the file that [`Pooling::read`] reads.
    pub(super) fn to_json(self) -> String {
        let modes = serde_json::json!({
            "pooling_mode_cls_token": self == Pooling::Cls,
            "pooling_mode_mean_tokens": self == Pooling::Mean,
        });
        format!("{modes:#}\n")
    }
}

/// The prefix of the poolings' names in the file.
const PREFIX: &str = "pooling_mode_";

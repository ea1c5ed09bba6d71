use std::num::NonZeroUsize;
use std::path::Path;

use autotag::{Interpolation, LearnedMix, Selection};
use serde::{Deserialize, Serialize};

use super::files::{self, CONFIG};
use super::input::InputKind;
use crate::{OnnxError, Result};

/// The format version that this program writes, and the newest one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The most tokens or words of a text that a bundle may let its model read.
pub const MAX_LENGTH: usize = 1 << 24;

/// The most dimensions that a bundle's representations may have.
pub const MAX_DIMENSIONS: usize = 1 << 16;

/// The most labels that a bundle's model may score.
pub const MAX_LABELS: usize = 1 << 24;

/// The longest [`BundleConfig::prefix`], in bytes.
pub const MAX_PREFIX: usize = 256;

/// A bundle's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleConfig {
    /// The bundle's format, [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The kind of model, for people: as "cnn".
    pub architecture: String,
    /// The model's input.
    pub input: InputKind,
    /// The tokenizer adds special tokens, as `[CLS]`, to each text.
    pub special_tokens: bool,
    /// Put before each text that the tokenizer reads, as `query: ` where an encoder was trained so; its
    /// tokens count among those of the text. Words of n-grams are read without it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The most tokens, or words, of a text that the model reads.
    pub max_length: NonZeroUsize,
    /// The length of a representation.
    pub dimensions: NonZeroUsize,
    /// The number of labels that the model scores; 0 for a model that only represents texts.
    pub n_labels: usize,
    /// The model's representations have length 1.
    pub normalized: bool,
    /// The neighbors' vote and its weight: k, tau, lambda.
    pub interpolation: Interpolation,
    /// The mix that scores labels in the place of the interpolation, where one was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<LearnedMix>,
    /// Which scores become tags; a mix has a threshold of its own.
    pub selection: Selection,
    /// The training's settings and figures, as the trainer tells them.
    #[serde(default)]
    pub training: serde_json::Value,
}

impl BundleConfig {
    /// Refuses sizes that no model has and that could not be kept in memory.
    pub(super) fn check(&self, bundle: &Path) -> Result<()> {
        let sizes = [
            ("max_length", self.max_length.get(), MAX_LENGTH),
            ("dimensions", self.dimensions.get(), MAX_DIMENSIONS),
            ("n_labels", self.n_labels, MAX_LABELS),
            ("prefix", self.prefix.len(), MAX_PREFIX),
        ];
        match sizes.into_iter().find(|(_, found, limit)| found > limit) {
            Some((field, found, limit)) => {
                Err(OnnxError::ConfigSize { path: bundle.join(CONFIG), field, found, limit })
            }
            None => Ok(()),
        }
    }
}

/// The one field that every version of the format has.
#[derive(Deserialize)]
struct Versioned {
    format_version: u64,
}

/// Refuses a bundle of a newer format, before anything that the format may have changed is read.
///
/// A file that does not tell its version is left to the manifest's check, which names the cause.
pub(super) fn check_version(bundle: &Path) -> Result<()> {
    let bytes = files::read(&bundle.join(CONFIG)).map_err(|error| match error {
        OnnxError::FileMissing { .. } => OnnxError::NoBundle { path: bundle.to_path_buf() },
        other => other,
    })?;
    match serde_json::from_slice::<Versioned>(&bytes) {
        Ok(Versioned { format_version: found }) if found > FORMAT_VERSION.into() => {
            let path = bundle.to_path_buf();
            Err(OnnxError::BundleVersion { path, found, supported: FORMAT_VERSION })
        }
        _ => Ok(()),
    }
}

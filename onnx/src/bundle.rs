//! Model bundles: folders with everything that tagging needs.
//!
//! | file | content |
//! | --- | --- |
//! | `config.json` | [`BundleConfig`] |
//! | `labels.json` | the labels' names, an array in the order of the model's scores |
//! | `tokenizer.json` | the tokenizer, where the model reads token ids |
//! | `ngrams.json` | words and pairs of words with their weights, where the model reads n-grams |
//! | `model.onnx` | the model, all tensors inside |
//! | `datastore/` | the training set's {(h_i, y_i)} |
//! | `card.md` | the model card, for people, where whoever made the bundle wrote one |
//! | `manifest.json` | length and SHA-256 of every other file |
//!
//! A bundle is never changed: a [`BundleDraft`] is filled under a temporary name and renamed.
//!
//! # Bundles from strangers
//!
//! A manifest that fits only says that a bundle is what its author made. So what is in it is taken
//! for hostile:
//!
//! - Files are plain files: links, pipes and devices are refused without being opened. What is read
//!   into memory has a greatest length: 16 MiB for `config.json` and `card.md`, 64 MiB for
//!   `labels.json` and `tokenizer.json`, 256 MiB for `ngrams.json`, 1 MiB for `manifest.json`, 2 GiB
//!   for `model.onnx`.
//! - `config.json` may ask for at most [`MAX_LENGTH`] tokens or words of a text, [`MAX_DIMENSIONS`]
//!   dimensions and [`MAX_LABELS`] labels.
//! - `tokenizer.json` is looked through before the library for it reads it; that may take 15 seconds
//!   and must not panic. Padding and truncation in it are ignored. It is tried with texts as long as
//!   those that it will be given, up to 16 KiB.
//! - `model.onnx` holds all its tensors and at most 4 MiB beside their values. It calls only the
//!   standard operators in [`OPERATORS`], none of which has a graph inside, and no constant asks for a
//!   tensor of more than 2^28 values. Its first run ends after two minutes.
//! - The weights in `ngrams.json` are within [`IDF_RANGE`](crate::ngrams::IDF_RANGE).
//!
//! Some things cannot be known beforehand. A model may compute the size of a tensor, and so take much
//! memory. One operator may run for long, and ONNX Runtime runs those that depend on nothing while it
//! loads the model. A tokenizer with regular expressions may be slow for texts that none of the tried
//! ones resembles. Whoever runs bundles of strangers should bound the process's memory and time.
//!
//! Opening a bundle writes nothing, neither into its folder nor elsewhere.

mod config;
mod draft;
pub(crate) mod files;
mod manifest;
pub(crate) mod model;
mod operators;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use autotag::{Datastore, Encoder, Fingerprint, LabelVocabulary, Tagger};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{OnnxEncoder, OnnxError, OnnxOptions, Result};

pub use config::{BundleConfig, FORMAT_VERSION, InputKind, MAX_DIMENSIONS, MAX_LABELS, MAX_LENGTH};
pub use draft::BundleDraft;
use manifest::Manifest;
pub use operators::OPERATORS;

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const LABELS: &str = "labels.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const NGRAMS: &str = "ngrams.json";
pub(crate) const MODEL: &str = "model.onnx";
pub(crate) const DATASTORE: &str = "datastore";
pub(crate) const CARD: &str = "card.md";
pub(crate) const MANIFEST: &str = "manifest.json";

/// A model bundle whose files are those that were written.
#[derive(Clone, Debug)]
pub struct ModelBundle {
    path: PathBuf,
    fingerprint: Fingerprint,
    pub(crate) contents: Contents,
}

/// What a bundle or a draft holds, apart from the files themselves.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) config: BundleConfig,
    pub(crate) labels: LabelVocabulary,
    /// The digest of the model's file.
    pub(crate) model: Fingerprint,
    pub(crate) encoder: Fingerprint,
}

impl ModelBundle {
    /// Opens a bundle and checks every file against the manifest and the model's signature.
    ///
    /// No model is run and no file outside the folder is read.
    ///
    /// # Errors
    ///
    /// [`OnnxError::NoBundle`], [`OnnxError::BundleVersion`], and an error that names the file which
    /// is missing, changed, unlisted, linked or inconsistent with another.
    pub fn open(path: &Path) -> Result<Self> {
        config::check_version(path)?;
        let (manifest, fingerprint) = Manifest::read(path)?;
        manifest.check(path)?;
        let config: BundleConfig = read_json(&path.join(CONFIG))?;
        config.check(path)?;
        let labels = read_labels(path, &config)?;
        let model = manifest.digest(path, MODEL)?;
        model::read_checked(&path.join(MODEL), &model, &config)?;
        let encoder = encoder_fingerprint(path, &manifest, &config)?;
        let contents = Contents { config, labels, model, encoder };
        Ok(ModelBundle { path: path.to_path_buf(), fingerprint, contents })
    }

    /// Opens a bundle, runs one text through its model and opens its datastore.
    ///
    /// # Errors
    ///
    /// Those of [`ModelBundle::open`], [`OnnxEncoder::open`] and [`ModelBundle::datastore`], and
    /// [`OnnxError::Verify`] when the model's answer cannot be used.
    pub fn verify(path: &Path, options: &OnnxOptions) -> Result<Self> {
        let bundle = ModelBundle::open(path)?;
        let encoder = OnnxEncoder::open(&bundle, options)?;
        let answer = encoder.encode(&[encoder.test_input()]).row(0);
        answer.map_err(|source| OnnxError::Verify { path: path.to_path_buf(), source })?;
        bundle.datastore()?.reader().map_err(|source| core_error(path, source))?;
        Ok(bundle)
    }

    /// Returns the bundle's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the configuration.
    pub fn config(&self) -> &BundleConfig {
        &self.contents.config
    }

    /// Returns the labels that the model scores.
    pub fn labels(&self) -> &LabelVocabulary {
        &self.contents.labels
    }

    /// Returns what tells this bundle from any other: the SHA-256 of its manifest.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns what tells the bundle's embeddings from another's, to which datastores are bound.
    ///
    /// It is the SHA-256 over the digests of model, tokenizer or n-grams, and labels, and over the
    /// settings that decide which tokens the model reads.
    ///
    /// # Why not the bundle's own fingerprint?
    ///
    /// The datastore inside the bundle carries the encoder's fingerprint, and the manifest digests
    /// that datastore. And two bundles that differ only in k, tau, lambda or thresholds make the
    /// same embeddings, so that one's datastores serve the other.
    pub fn encoder_fingerprint(&self) -> Fingerprint {
        self.contents.encoder
    }

    /// Opens the training set's datastore, without writing into the bundle.
    ///
    /// # Errors
    ///
    /// [`OnnxError::Core`] when it is missing, damaged or of another encoder.
    pub fn datastore(&self) -> Result<Datastore> {
        Datastore::open_read_only(&self.path.join(DATASTORE), &self.contents.encoder)
            .map_err(|source| core_error(&self.path, source))
    }

    /// Loads the model and makes a tagger with the bundle's k, tau, lambda and thresholds.
    ///
    /// # Errors
    ///
    /// As [`OnnxEncoder::open`].
    pub fn tagger(&self, options: &OnnxOptions) -> Result<Tagger<OnnxEncoder>> {
        let mut tagger = Tagger::new(Arc::new(OnnxEncoder::open(self, options)?));
        tagger.interpolation = self.config().interpolation;
        tagger.selection = self.config().selection.clone();
        Ok(tagger)
    }
}

/// Digests what decides over embeddings: the files and the reading of a text.
fn encoder_fingerprint(
    path: &Path,
    manifest: &Manifest,
    config: &BundleConfig,
) -> Result<Fingerprint> {
    let mut text = format!("autotag encoder 1\nmodel {}\n", manifest.digest(path, MODEL)?);
    if config.input.reads_tokens() {
        text += &format!("tokenizer {}\n", manifest.digest(path, TOKENIZER)?);
    }
    if config.input.reads_ngrams() {
        text += &format!("ngrams {}\n", manifest.digest(path, NGRAMS)?);
    }
    let (max_length, special_tokens) = (config.max_length, config.special_tokens);
    text += &format!(
        "labels {}\nmax_length {max_length}\nspecial_tokens {special_tokens}\n",
        manifest.digest(path, LABELS)?
    );
    Ok(Fingerprint(Sha256::digest(text).into()))
}

fn read_labels(path: &Path, config: &BundleConfig) -> Result<LabelVocabulary> {
    let names: Vec<String> = read_json(&path.join(LABELS))?;
    if names.len() != config.n_labels {
        let (expected, found) = (config.n_labels, names.len());
        return Err(OnnxError::LabelCount { path: path.to_path_buf(), expected, found });
    }
    LabelVocabulary::new(names).map_err(|source| core_error(path, source))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&files::read(path)?)
        .map_err(|source| OnnxError::Json { path: path.to_path_buf(), source })
}

fn core_error(path: &Path, source: autotag::Error) -> OnnxError {
    OnnxError::Core { path: path.to_path_buf(), source: Box::new(source) }
}

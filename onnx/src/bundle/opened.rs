//! A bundle that was opened: every file checked.

use std::path::{Path, PathBuf};

use autotag::{Datastore, Fingerprint, LabelVocabulary};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::config::{self, BundleConfig};
use super::files::{self, CONFIG, DATASTORE, LABELS, MODEL, NGRAMS, TOKENIZER};
use super::manifest::Manifest;
use super::model::ModelFile;
use super::stamp::{FileState, Stamp};
use crate::{OnnxError, Result};

/// A model bundle whose files are those that were written.
#[derive(Clone, Debug)]
pub struct ModelBundle {
    pub(super) path: PathBuf,
    pub(super) fingerprint: Fingerprint,
    pub(crate) contents: Contents,
}

/// The content of a bundle or a draft, apart from the files themselves.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) config: BundleConfig,
    pub(crate) labels: LabelVocabulary,
    pub(crate) model: ModelFile,
    pub(crate) encoder: Fingerprint,
}

impl ModelBundle {
    /// Opens a bundle and checks every file against the manifest, and the model's signature.
    ///
    /// Files that were checked before, when the bundle was published or verified, and did not change since
    /// are neither digested nor decoded anew: a stamp records what the file system says of them. No model is run and no
    /// file outside the folder is read.
    ///
    /// # Errors
    ///
    /// [`OnnxError::NoBundle`], [`OnnxError::BundleVersion`], and an error that names the file which
    /// is missing, changed, unlisted, linked or inconsistent with another.
    pub fn open(path: &Path) -> Result<Self> {
        config::check_version(path)?;
        let (manifest, fingerprint) = Manifest::read(path)?;
        let stamp = Stamp::read(path, &fingerprint);
        ModelBundle::opened(path, &manifest, fingerprint, &stamp)
    }

    /// Opens a bundle, digests every file and stamps it, unless it has such a stamp or the folder cannot be
    /// written to.
    pub(super) fn open_checked(path: &Path) -> Result<Self> {
        config::check_version(path)?;
        let (manifest, fingerprint) = Manifest::read(path)?;
        let stamp = Stamp::of_files(path, manifest.names());
        let bundle = ModelBundle::opened(path, &manifest, fingerprint, &Stamp::default())?;
        if !Stamp::read(path, &fingerprint).has_files_of(&stamp)
            && let Err(error) = stamp.write(path, &fingerprint)
        {
            tracing::debug!(%error, "the bundle is not stamped");
        }
        Ok(bundle)
    }

    fn opened(
        path: &Path,
        manifest: &Manifest,
        fingerprint: Fingerprint,
        stamp: &Stamp,
    ) -> Result<Self> {
        let state = FileState::settled(&path.join(MODEL));
        manifest.check(path, stamp)?;
        let config: BundleConfig = read_json(&path.join(CONFIG))?;
        config.check(path)?;
        let labels = read_labels(path, &config)?;
        let model = ModelFile { digest: manifest.digest(path, MODEL)?, state };
        if !stamp.holds(path, MODEL) {
            model.read(&path.join(MODEL), &config)?;
        }
        let encoder = encoder_fingerprint(path, manifest, &config)?;
        let contents = Contents { config, labels, model, encoder };
        Ok(ModelBundle { path: path.to_path_buf(), fingerprint, contents })
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
}

/// Digests what decides over embeddings: the files and the reading of a text.
pub(super) fn encoder_fingerprint(
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
    if !config.prefix.is_empty() {
        text += &format!("prefix {}\n", serde_json::Value::from(config.prefix.as_str()));
    }
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

pub(super) fn core_error(path: &Path, source: autotag::Error) -> OnnxError {
    OnnxError::Core { path: path.to_path_buf(), source: Box::new(source) }
}

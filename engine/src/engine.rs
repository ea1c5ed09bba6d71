//! A loaded model with its settings.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use autotag::Tagger;
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use tantivy_autotag::{Error, IndexFolder, OnFailure, TaggingWriter, WriterOptions};

use crate::error::{EngineError, Result};
use crate::settings::Settings;

/// A tagger whose model runs on ONNX Runtime.
pub type OnnxTagger = Tagger<OnnxEncoder>;

/// A bundle with its model loaded and its settings, which may be changed.
pub struct Engine {
    /// The bundle.
    pub bundle: ModelBundle,
    /// Its model.
    pub encoder: Arc<OnnxEncoder>,
    /// The settings of taggers and writers made from now on; first the bundle's.
    pub settings: Settings,
    /// The threads that writers work on, one for each session of the model.
    pub threads: NonZeroUsize,
}

impl Engine {
    /// Loads the model of a bundle.
    ///
    /// # Errors
    ///
    /// As [`OnnxEncoder::open`].
    pub fn load(bundle: ModelBundle, options: &OnnxOptions) -> Result<Self> {
        let encoder = Arc::new(OnnxEncoder::open(&bundle, options)?);
        let settings = Settings::of(&bundle);
        Ok(Engine { bundle, encoder, settings, threads: options.sessions })
    }

    /// Opens the bundle that an index was made with, or the one given in its place, without loading
    /// its model.
    ///
    /// # Errors
    ///
    /// [`EngineError::WithoutBundle`], [`EngineError::BundleOfIndex`], and [`Error::EncoderMismatch`] when the bundle's model is not the
    /// index's.
    pub fn bundle_of(index: &IndexFolder, given: Option<&Path>) -> Result<ModelBundle> {
        let without = || EngineError::WithoutBundle { index: index.path().to_path_buf() };
        let path = given.or(index.bundle()).ok_or_else(without)?;
        let bundle = ModelBundle::open(path).map_err(|source| {
            let (index, source) = (index.path().to_path_buf(), Box::new(source));
            EngineError::BundleOfIndex { index, source }
        })?;
        let (expected, found) = (index.encoder(), bundle.encoder_fingerprint());
        if found != expected {
            return Err(Error::EncoderMismatch { index: expected, tagger: found }.into());
        }
        Ok(bundle)
    }

    /// Returns a tagger.
    pub fn tagger(&self) -> OnnxTagger {
        self.settings.clone().tagger(self.encoder.clone())
    }

    /// Opens an index for writing.
    ///
    /// # Errors
    ///
    /// As [`IndexFolder::writer`].
    pub fn writer(
        &self,
        index: &IndexFolder,
        on_failure: OnFailure,
    ) -> Result<TaggingWriter<OnnxEncoder>> {
        Ok(index.writer(self.tagger(), self.writer_options(on_failure))?)
    }

    /// Returns the options of a writer that works on as many threads as the model has sessions.
    pub fn writer_options(&self, on_failure: OnFailure) -> WriterOptions {
        WriterOptions::new().on_failure(on_failure).threads(Some(self.threads))
    }
}

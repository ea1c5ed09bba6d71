//! A bundle's model, run.

use std::path::Path;
use std::sync::Arc;

use autotag::{Encoder, Tagger};

use super::opened::{ModelBundle, core_error};
use crate::{OnnxEncoder, OnnxError, OnnxOptions, Result};

impl ModelBundle {
    /// Opens a bundle, digests every file, runs one text through its model and opens its datastore.
    ///
    /// The check is recorded in `stamp.json`, unless it is already or the folder cannot be written to.
    ///
    /// # Errors
    ///
    /// Those of [`ModelBundle::open`], [`OnnxEncoder::open`] and [`ModelBundle::datastore`], and
    /// [`OnnxError::Verify`] when the model's answer cannot be used.
    pub fn verify(path: &Path, options: &OnnxOptions) -> Result<Self> {
        let bundle = ModelBundle::open_checked(path)?;
        let encoder = OnnxEncoder::open(&bundle, options)?;
        let answer = encoder.encode(&[encoder.test_input()]).row(0);
        answer.map_err(|source| OnnxError::Verify { path: path.to_path_buf(), source })?;
        bundle.datastore()?.reader().map_err(|source| core_error(path, source))?;
        Ok(bundle)
    }

    /// Loads the model and makes a tagger with the bundle's mix and thresholds.
    ///
    /// # Errors
    ///
    /// As [`OnnxEncoder::open`].
    pub fn tagger(&self, options: &OnnxOptions) -> Result<Tagger<OnnxEncoder>> {
        let mut tagger = Tagger::new(Arc::new(OnnxEncoder::open(self, options)?));
        let config = self.config();
        tagger.interpolation = config.interpolation;
        tagger.mix = config.mix.clone().map(Arc::new);
        tagger.selection = config.selection.clone();
        Ok(tagger)
    }
}

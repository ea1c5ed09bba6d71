//! The same model with other settings, as a bundle of its own.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use autotag::{Interpolation, LearnedMix, Selection};

use super::config::BundleConfig;
use super::draft::BundleDraft;
use super::files::{self, CONFIG, MANIFEST};
use super::manifest::Manifest;
use super::opened::{Contents, ModelBundle};
use crate::{OnnxError, Result};

impl ModelBundle {
    /// Writes a bundle with the same model, tokenizer, labels and datastore and other settings.
    ///
    /// `training` takes the place of what is told of the training. The encoder's fingerprint stays
    /// the same, so indexes that were made with this bundle go on with the new one. An older bundle
    /// at `target`, which may be this one, is replaced once the new one is complete.
    ///
    /// # Errors
    ///
    /// [`OnnxError::TargetExists`] when something else than a bundle lies at `target`,
    /// [`OnnxError::FileChanged`] when this bundle was changed since it was opened, or
    /// [`OnnxError::Io`] when a file cannot be copied for good.
    pub fn with_settings(
        &self,
        target: &Path,
        interpolation: Interpolation,
        mix: Option<LearnedMix>,
        selection: Selection,
        training: serde_json::Value,
    ) -> Result<ModelBundle> {
        let config = BundleConfig {
            interpolation,
            mix,
            selection,
            training,
            ..self.contents.config.clone()
        };
        let (manifest, fingerprint) = Manifest::read(&self.path)?;
        if fingerprint != self.fingerprint {
            return Err(OnnxError::FileChanged { path: self.path.join(MANIFEST) });
        }
        let draft = BundleDraft::empty(target, Contents { config, ..self.contents.clone() })?;
        for name in manifest.names().filter(|&name| name != CONFIG) {
            copy(&self.path.join(name), &draft.folder().join(name))?;
        }
        // What was copied is what the source's manifest lists, whatever happened meanwhile.
        manifest.check_but(draft.folder(), CONFIG)?;
        draft.publish_copy_replacing()
    }
}

/// Copies a file's content; its mode is the umask's, not the one that the older file has.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(OnnxError::io(parent, "create"))?;
    }
    let (mut source, _) = files::open_plain(from)?;
    let mut target = File::create(to).map_err(OnnxError::io(to, "create"))?;
    io::copy(&mut source, &mut target).map_err(OnnxError::io(from, "copy"))?;
    Ok(())
}

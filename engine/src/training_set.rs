//! A bundle's training set, as an index takes it over.

use std::path::PathBuf;

use autotag::{Datastore, Fingerprint};
use autotag_onnx::ModelBundle;
use tantivy_autotag::{BundleSource, InitialNeighbors};

use crate::error::Result;

/// A bundle's training set, with which the neighbors of an index begin.
pub struct TrainingSet {
    path: PathBuf,
    fingerprint: Fingerprint,
    datastore: Datastore,
}

impl TrainingSet {
    /// Opens a bundle's training set.
    ///
    /// # Errors
    ///
    /// When its datastore cannot be opened.
    pub fn open(bundle: &ModelBundle) -> Result<Self> {
        let (given, datastore) = (bundle.path(), bundle.datastore()?);
        // An index is opened from other working directories later.
        let path = std::path::absolute(given).unwrap_or_else(|_| given.to_path_buf());
        Ok(TrainingSet { path, fingerprint: bundle.fingerprint(), datastore })
    }

    /// Returns it in the form that `IndexFolder` takes.
    pub fn source(&self) -> BundleSource<'_> {
        let TrainingSet { path, fingerprint, datastore } = self;
        BundleSource {
            path,
            fingerprint: *fingerprint,
            neighbors: InitialNeighbors::TrainingSet(datastore),
        }
    }
}

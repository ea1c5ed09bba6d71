//! The files that a model starts from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bert::BertFolder;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::initial::Init;
use crate::pretrained::Pretrained;
use crate::spec::ModelSpec;
use crate::word_vectors::{Coverage, WordVectors};

/// The files that a model starts from.
#[derive(Clone, Debug, Default)]
pub enum InitSource {
    /// None: every parameter is drawn at random.
    #[default]
    Random,
    /// A pretrained encoder's folder.
    Encoder(PathBuf),
    /// Word vectors.
    Words(WordVectors),
}

impl InitSource {
    /// Returns the folder or file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            InitSource::Random => None,
            InitSource::Encoder(folder) => Some(folder),
            InitSource::Words(WordVectors::Text(file)) => Some(file),
            InitSource::Words(WordVectors::Npy { array, .. }) => Some(array),
        }
    }

    /// Reads what a model starts from: of an encoder only the tokens, where the model needs no more.
    ///
    /// # Errors
    ///
    /// [`TrainError`](crate::TrainError) naming the file and what is wrong with it.
    pub fn read(&self, spec: &ModelSpec, train: &Dataset, seed: u64) -> Result<Init> {
        Ok(match self {
            InitSource::Random => Init::Random,
            InitSource::Encoder(folder) if spec.needs_encoder() => {
                Init::Encoder(Arc::new(BertFolder::read(folder)?))
            }
            InitSource::Encoder(folder) => Init::Tokens(Box::new(Pretrained::read(folder)?)),
            InitSource::Words(vectors) => {
                let (pretrained, coverage) = vectors.start(train, spec.vocabulary_size(), seed)?;
                let Coverage { n_words, n_known, unknown_share } = coverage;
                tracing::info!(
                    "{n_known} of {n_words} words have a vector; {:.1}% of the training texts' tokens \
                     have none",
                    100.0 * unknown_share
                );
                Init::Tokens(Box::new(pretrained))
            }
        })
    }
}

//! What a model starts with, and its training from there.

use std::path::Path;

use anyhow::bail;
use autotag_onnx::ModelBundle;
use autotag_train::bert::BertFolder;
use autotag_train::{
    Coverage, Dataset, Pretrained, Progress, TrainConfig, TrainError, TrainReport, TrainingRun,
    WordVectors,
};

use super::hyper::setup::PretrainedFiles;
use super::kind::ModelKind;

/// What a model starts with.
pub(in crate::commands) enum Init {
    /// Random values.
    Nothing,
    /// Tokens with vectors.
    Tokens(Box<Pretrained>),
    /// A whole pretrained encoder.
    Encoder(Box<BertFolder>),
}

impl Init {
    /// Returns the tokens that the CNN or LDGN starts with.
    fn tokens(self) -> Option<Pretrained> {
        match self {
            Init::Tokens(tokens) => Some(*tokens),
            _ => None,
        }
    }
}

impl ModelKind {
    /// Tells whether the model is trained on a whole pretrained encoder.
    fn needs_encoder(self) -> bool {
        use ModelKind::{Adapter, Bert, WideCnnAdapter, WideCnnBert};
        matches!(self, Adapter | WideCnnAdapter | Bert | WideCnnBert)
    }

    /// Checks that this program was built with what the model needs.
    pub(in crate::commands) fn check_features(self) -> anyhow::Result<()> {
        let needs_burn = matches!(self, ModelKind::Ldgn | ModelKind::Bert | ModelKind::WideCnnBert);
        if needs_burn && !cfg!(feature = "burn") {
            bail!(
                "this program was built without what --model {self} needs: build it with \
                 `cargo install --path cli --features burn`"
            );
        }
        Ok(())
    }

    /// Says what is to be given beside the options, where something is missing.
    pub(in crate::commands) fn check_start(self, files: &PretrainedFiles) -> Result<(), String> {
        if self.needs_encoder() && files.init.is_none() {
            return Err(format!(
                "--model {self} needs --init FOLDER, a pretrained encoder; `autotag model fetch \
                 minilm` gets one"
            ));
        }
        files.word_vectors().map(|_| ())
    }

    /// Reads what a model of this kind starts with.
    pub(in crate::commands) fn init(
        self,
        files: &PretrainedFiles,
        train: &Dataset,
        config: &TrainConfig,
    ) -> Result<Init, TrainError> {
        if let Ok(Some(vectors)) = files.word_vectors() {
            return Ok(Init::Tokens(Box::new(start_words(&vectors, train, config)?)));
        }
        match &files.init {
            None => Ok(Init::Nothing),
            Some(folder) if self.needs_encoder() => {
                Ok(Init::Encoder(Box::new(BertFolder::read(folder)?)))
            }
            Some(folder) => Ok(Init::Tokens(Box::new(Pretrained::read(folder)?))),
        }
    }

    /// Trains a model of this kind from where it starts; `cache` is where an encoder's representations
    /// are kept.
    ///
    /// # Panics
    ///
    /// When [`ModelKind::check_features`] or [`ModelKind::check_start`] has something to say, or the start
    /// is of another kind.
    pub(in crate::commands) fn train(
        self,
        run: &TrainingRun<'_>,
        init: Init,
        cache: Option<&Path>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport), TrainError> {
        match (self, init) {
            (ModelKind::Cnn, init) => run.train_cnn(init.tokens(), progress),
            (ModelKind::Wide, _) => run.train_wide(progress),
            (ModelKind::WideCnn, init) => run.train_wide_cnn(init.tokens(), progress),
            (ModelKind::Adapter, Init::Encoder(encoder)) => {
                run.train_adapter(*encoder, cache, progress)
            }
            (ModelKind::WideCnnAdapter, Init::Encoder(encoder)) => {
                run.train_wide_cnn_adapter(*encoder, cache, progress)
            }
            #[cfg(feature = "burn")]
            (ModelKind::Ldgn, init) => run.train_ldgn(init.tokens(), progress),
            #[cfg(feature = "burn")]
            (ModelKind::Bert, Init::Encoder(encoder)) => run.train_bert(*encoder, progress),
            #[cfg(feature = "burn")]
            (ModelKind::WideCnnBert, Init::Encoder(encoder)) => {
                run.train_wide_cnn_bert(*encoder, progress)
            }
            #[cfg(not(feature = "burn"))]
            (ModelKind::Ldgn, _) => unreachable!("the features were checked"),
            (
                ModelKind::Adapter
                | ModelKind::WideCnnAdapter
                | ModelKind::WideCnnBert
                | ModelKind::Bert,
                _,
            ) => unreachable!("the features and the start were checked"),
        }
    }
}

/// Starts a vocabulary with word vectors, and says how many of its words have one.
fn start_words(
    vectors: &WordVectors,
    train: &Dataset,
    config: &TrainConfig,
) -> Result<Pretrained, TrainError> {
    let (pretrained, coverage) = vectors.start(train, config.vocabulary_size, config.seed)?;
    let Coverage { n_words, n_known, unknown_share } = coverage;
    tracing::info!(
        "{n_known} of {n_words} words have a vector; {:.1}% of the training texts' tokens have none",
        100.0 * unknown_share
    );
    Ok(pretrained)
}

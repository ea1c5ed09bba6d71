//! The place that the hyper-parameters go to.

use std::path::{Path, PathBuf};

use autotag_train::adapter::AdapterConfig;
use autotag_train::cnn::CnnConfig;
use autotag_train::finetune::FinetuneConfig;
use autotag_train::joint::JointConfig;
use autotag_train::ldgn::LdgnConfig;
use autotag_train::wide::WideConfig;
use autotag_train::{TrainConfig, WordVectors};

use crate::commands::train::kind::ModelKind;

/// A training's settings and pretrained values, into which every hyper-parameter is put.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Setup {
    pub(super) kind: ModelKind,
    pub(in crate::commands) config: TrainConfig,
    pub(in crate::commands) pretrained: PretrainedFiles,
}

/// The files with the pretrained values that a training starts from.
#[derive(Clone, Debug, Default)]
pub(in crate::commands) struct PretrainedFiles {
    /// The folder of a pretrained encoder.
    pub(in crate::commands) init: Option<PathBuf>,
    pub(super) embeddings: Option<PathBuf>,
    pub(super) embedding_words: Option<PathBuf>,
}

/// The settings of one model of a training, of which an ensemble has several.
pub(super) enum Part<'a> {
    Cnn(&'a mut CnnConfig),
    Wide(&'a mut WideConfig),
    Adapter(&'a mut AdapterConfig),
    Ldgn(&'a mut LdgnConfig),
    Bert(&'a mut FinetuneConfig),
}

impl Part<'_> {
    pub(super) fn is_cnn(&self) -> bool {
        matches!(self, Part::Cnn(_))
    }

    /// Tells whether the model learns an embedding of tokens.
    pub(super) fn reads_tokens(&self) -> bool {
        matches!(self, Part::Cnn(_) | Part::Ldgn(_))
    }
}

impl Setup {
    /// Returns the setup that suits a kind of model.
    pub(super) fn new(kind: ModelKind) -> Self {
        Setup { kind, config: kind.settings(), pretrained: PretrainedFiles::default() }
    }

    /// Returns the settings of the models.
    fn parts(&mut self) -> Vec<Part<'_>> {
        let TrainConfig { cnn, wide, adapter, ldgn, bert, .. } = &mut self.config;
        match self.kind {
            ModelKind::Cnn => vec![Part::Cnn(cnn)],
            ModelKind::Wide => vec![Part::Wide(wide)],
            ModelKind::Adapter => vec![Part::Adapter(adapter)],
            ModelKind::Ldgn => vec![Part::Ldgn(ldgn)],
            ModelKind::Bert => vec![Part::Bert(bert)],
            ModelKind::WideCnn => vec![Part::Wide(wide), Part::Cnn(cnn)],
            ModelKind::WideCnnAdapter => {
                vec![Part::Wide(wide), Part::Cnn(cnn), Part::Adapter(adapter)]
            }
            ModelKind::WideCnnBert => vec![Part::Wide(wide), Part::Cnn(cnn), Part::Bert(bert)],
        }
    }

    /// Returns the places of a setting, one in each of the models that have it.
    pub(super) fn each<T>(
        &mut self,
        place: impl for<'a> Fn(Part<'a>) -> Option<&'a mut T>,
    ) -> Vec<&mut T> {
        self.parts().into_iter().filter_map(place).collect()
    }

    /// Returns a place beside the models' settings, where one of the models needs it.
    pub(super) fn beside<T>(
        &mut self,
        needs_it: fn(&Part<'_>) -> bool,
        place: fn(&mut Self) -> &mut T,
    ) -> Vec<&mut T> {
        let is_needed = self.parts().iter().any(needs_it);
        if is_needed { vec![place(self)] } else { vec![] }
    }

    pub(super) fn has_adapter(&mut self) -> bool {
        self.parts().iter().any(|part| matches!(part, Part::Adapter(_)))
    }

    /// Says that an option is another model's.
    pub(super) fn no_use(&self, option: &str) -> String {
        format!("{option} is of no use with --model {}: leave it out", self.kind)
    }

    /// Tells whether several models answer together.
    pub(super) fn is_ensemble(&mut self) -> bool {
        self.parts().len() > 1
    }

    /// Returns a place in the settings of an ensemble, where there are at least so many models.
    pub(super) fn ensemble<T>(
        &mut self,
        at_least: usize,
        place: fn(&mut JointConfig) -> &mut T,
    ) -> Vec<&mut T> {
        let has_enough = self.parts().len() >= at_least;
        if has_enough { vec![place(&mut self.config.joint)] } else { vec![] }
    }

    /// Returns where the pretrained encoder is put, for a model that can start from one.
    pub(super) fn init(&mut self) -> Vec<&mut Option<PathBuf>> {
        if self.kind == ModelKind::Wide { vec![] } else { vec![&mut self.pretrained.init] }
    }
}

impl PretrainedFiles {
    /// Returns the folder or file that the model starts from, where there is one.
    pub(in crate::commands) fn path(&self) -> Option<&Path> {
        self.init.as_deref().or(self.embeddings.as_deref())
    }

    /// Returns where the word vectors are that were given.
    ///
    /// # Errors
    ///
    /// Says which other option must be given, or must not.
    pub(in crate::commands) fn word_vectors(&self) -> Result<Option<WordVectors>, String> {
        let Some(path) = self.embeddings.clone() else { return Ok(None) };
        let is_array = path.extension().is_some_and(|extension| extension == "npy");
        match (is_array, self.embedding_words.clone()) {
            (true, Some(words)) => Ok(Some(WordVectors::Npy { array: path, words })),
            (false, None) => Ok(Some(WordVectors::Text(path))),
            (true, None) => {
                Err("an array needs --embedding-words FILE, which names its rows".to_owned())
            }
            (false, Some(_)) => {
                Err("--embedding-words is for arrays, in files that end in .npy".to_owned())
            }
        }
    }
}

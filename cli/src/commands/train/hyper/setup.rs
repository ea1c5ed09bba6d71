//! The place that the hyper-parameters go to.

use std::path::PathBuf;

use autotag_train::models::wide::WideConfig;
use autotag_train::{InitSource, ModelSpec, Preset, TrainConfig, WordVectors};

use crate::commands::train::kind::ModelArg;

/// A training's model, settings and pretrained values, into which every hyper-parameter is put.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Setup {
    /// The model's name, as it was given.
    pub(super) model: String,
    pub(in crate::commands) spec: ModelSpec,
    pub(in crate::commands) config: TrainConfig,
    /// The weights of an ensemble's models, as [`ModelSpec::weights`] has them.
    weights: Vec<(&'static str, f32)>,
    pub(super) pretrained: PretrainedFiles,
}

/// The files with the pretrained values that a training starts from.
#[derive(Clone, Debug, Default)]
pub(super) struct PretrainedFiles {
    /// The folder of a pretrained encoder.
    pub(super) init: Option<PathBuf>,
    pub(super) embeddings: Option<PathBuf>,
    pub(super) embedding_words: Option<PathBuf>,
}

/// Tells whether a model learns an embedding of tokens.
pub(super) fn reads_tokens(model: &ModelSpec) -> bool {
    matches!(model, ModelSpec::Cnn(_) | ModelSpec::Ldgn(_))
}

impl Setup {
    /// Returns the setup that suits a model.
    pub(super) fn new(ModelArg { name, preset }: &ModelArg) -> Self {
        let Preset { spec, config } = preset.clone();
        let (model, weights) = (name.clone(), spec.weights());
        Setup { model, spec, config, weights, pretrained: PretrainedFiles::default() }
    }

    /// Gives an ensemble's models the weights that were put here.
    ///
    /// # Errors
    ///
    /// Says which weight is out of range.
    pub(super) fn set_weights(&mut self) -> Result<(), String> {
        for (put, &(name, weight)) in self.spec.weights().into_iter().zip(&self.weights) {
            if put.1 != weight {
                self.spec.set_weight(name, weight).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Returns the places of a setting, one in each of the models that have it.
    pub(super) fn each<T>(
        &mut self,
        place: impl for<'a> Fn(&'a mut ModelSpec) -> Option<&'a mut T>,
    ) -> Vec<&mut T> {
        self.spec.members_mut().into_iter().filter_map(place).collect()
    }

    /// Returns a place beside the models' settings, where one of the models needs it.
    pub(super) fn beside<T>(
        &mut self,
        needs_it: fn(&ModelSpec) -> bool,
        place: fn(&mut Self) -> &mut T,
    ) -> Vec<&mut T> {
        let is_needed = self.spec.members_mut().iter().any(|model| needs_it(model));
        if is_needed { vec![place(self)] } else { vec![] }
    }

    pub(super) fn has_adapter(&mut self) -> bool {
        self.spec.members_mut().iter().any(|model| matches!(model, ModelSpec::Adapter(_)))
    }

    /// Says that an option is another model's.
    pub(super) fn no_use(&self, option: &str) -> String {
        format!("{option} is of no use with --model {}: leave it out", self.model)
    }

    /// Tells whether several models answer together.
    pub(super) fn is_ensemble(&self) -> bool {
        matches!(self.spec, ModelSpec::Ensemble(_))
    }

    /// Returns the places of a setting that an ensemble's wide model has for itself.
    pub(super) fn wide_apart<T>(&mut self, place: fn(&mut WideConfig) -> &mut T) -> Vec<&mut T> {
        let is_ensemble = self.is_ensemble();
        self.each(|model| match model {
            ModelSpec::Wide(wide) if is_ensemble => Some(place(wide)),
            _ => None,
        })
    }

    /// Returns the place of a model's weight in an ensemble, where others come after it.
    pub(super) fn weight(&mut self, name: &str) -> Vec<&mut f32> {
        let weights = self.weights.iter_mut().filter(|(model, _)| *model == name);
        weights.map(|(_, weight)| weight).collect()
    }

    /// Returns where the pretrained encoder is put, for a model that can start from one.
    pub(super) fn init(&mut self) -> Vec<&mut Option<PathBuf>> {
        self.beside(|model| !matches!(model, ModelSpec::Wide(_)), |s| &mut s.pretrained.init)
    }

    /// Returns the files that the model starts from.
    ///
    /// # Errors
    ///
    /// Says which other option must be given, or must not.
    pub(in crate::commands) fn source(&self) -> Result<InitSource, String> {
        let PretrainedFiles { init, embeddings, embedding_words } = &self.pretrained;
        if self.spec.needs_encoder() && init.is_none() {
            return Err(format!(
                "--model {} needs --init FOLDER, a pretrained encoder; `autotag model fetch \
                 minilm` gets one",
                self.model
            ));
        }
        if let Some(folder) = init {
            return Ok(InitSource::Encoder(folder.clone()));
        }
        let Some(path) = embeddings.clone() else { return Ok(InitSource::Random) };
        let is_array = path.extension().is_some_and(|extension| extension == "npy");
        match (is_array, embedding_words.clone()) {
            (true, Some(words)) => Ok(InitSource::Words(WordVectors::Npy { array: path, words })),
            (false, None) => Ok(InitSource::Words(WordVectors::Text(path))),
            (true, None) => {
                Err("an array needs --embedding-words FILE, which names its rows".to_owned())
            }
            (false, Some(_)) => {
                Err("--embedding-words is for arrays, in files that end in .npy".to_owned())
            }
        }
    }
}

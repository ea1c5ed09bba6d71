//! The parts that models are made from: data, tokens, n-grams, a pretrained encoder.

use std::sync::Arc;

use autotag_onnx::bundle::InputKind;
use autotag_onnx::{Device, Lexicon, NgramVocabulary};
use serde::Serialize;
use tokenizers::Tokenizer;

use crate::bert::{BertFolder, BertWeights, Pooling};
use crate::check::is_true;
use crate::config::TrainConfig;
use crate::dataset::Dataset;
use crate::digest::Digest;
use crate::error::{Result, TrainError};
use crate::frozen::FrozenEncoder;
use crate::initial::Init;
use crate::model::{Model, TextInput};
use crate::pretrained::TOKEN_TABLE;
use crate::vocabulary;
use ndarray::Array2;

/// The settings of one kind of model: what training has to know of it.
pub(crate) trait Kind {
    /// Tells whether representations are scaled to length 1.
    fn normalize(&self) -> bool;

    /// Returns the highest learning rate.
    fn learning_rate(&self) -> f32;

    /// Tells whether the model is made of a whole pretrained encoder.
    fn needs_encoder(&self) -> bool {
        false
    }

    /// Tells whether the model needs the feature `burn`.
    fn needs_burn(&self) -> bool {
        false
    }

    /// Returns the most tokens of a vocabulary learned from the training texts, where the model reads
    /// tokens.
    fn vocabulary_size(&self) -> Option<usize> {
        None
    }

    /// Returns the n-grams of the linear classifiers that the trained model is stacked with.
    fn n_linear(&self) -> usize {
        0
    }

    /// Checks every setting's range.
    fn check(&self) -> Result<()>;

    /// Checks the encoder and the device, before anything is made for the training.
    fn check_start(&self, _: &Setup<'_>) -> Result<()> {
        Ok(())
    }

    /// Adds the parts that the model reads texts with.
    fn prepare(&self, setup: &mut Setup<'_>) -> Result<()>;

    /// Returns the length of a representation.
    fn dimensions(&self, setup: &Setup<'_>) -> usize;

    /// Makes the model that is trained on these texts.
    fn make(&self, setup: &Setup<'_>, texts: &[TextInput]) -> Result<Box<dyn Model>>;
}

/// The parts that a training's models are made from; each kind adds those that it reads.
pub(crate) struct Setup<'a> {
    pub(crate) train: &'a Dataset,
    pub(crate) config: &'a TrainConfig,
    #[cfg_attr(not(feature = "burn"), expect(dead_code, reason = "only Burn trains on a device"))]
    pub(crate) device: Device,
    init: Init,
    tokenizer: Option<Tokenizer>,
    /// The size that a vocabulary learned from the texts was to have.
    vocabulary_size: Option<usize>,
    ngrams: Option<Arc<NgramVocabulary>>,
    frozen: Option<Arc<FrozenEncoder>>,
    /// Reads texts with the encoder's special tokens around them.
    pub(crate) special_tokens: bool,
    /// The digest of the pretrained values that are trained further.
    pub(crate) pretrained: Option<String>,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(
        train: &'a Dataset,
        config: &'a TrainConfig,
        device: Device,
        init: Init,
    ) -> Self {
        Setup {
            train,
            config,
            device,
            init,
            tokenizer: None,
            vocabulary_size: None,
            ngrams: None,
            frozen: None,
            special_tokens: false,
            pretrained: None,
        }
    }

    pub(crate) fn n_labels(&self) -> usize {
        self.train.vocabulary().len()
    }

    /// Returns the number of tokens; there are some where [`Setup::add_tokens`] was called.
    pub(crate) fn n_tokens(&self) -> usize {
        self.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.get_vocab_size(true))
    }

    /// Returns the number of n-grams.
    pub(crate) fn n_ngrams(&self) -> usize {
        self.ngrams.as_ref().map_or(0, |ngrams| ngrams.len())
    }

    /// Takes the tokens that the model starts from, or learns some from the training texts.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] where another model of the ensemble asked for a vocabulary of another
    /// size: all of them read the same tokens.
    pub(crate) fn add_tokens(&mut self, vocabulary_size: usize) -> Result<()> {
        self.tokenizer = Some(match &self.init {
            Init::Random => {
                let is_same = self.vocabulary_size.is_none_or(|size| size == vocabulary_size);
                let expected = "the same for all models of an ensemble";
                is_true("vocabulary size", vocabulary_size, is_same, expected)?;
                self.vocabulary_size = Some(vocabulary_size);
                match self.tokenizer.take() {
                    Some(tokenizer) => tokenizer,
                    None => vocabulary::learn(self.train.texts(), vocabulary_size)?,
                }
            }
            Init::Tokens(tokens) => tokens.tokenizer.clone(),
            Init::Encoder(encoder) => encoder.tokenizer.clone(),
        });
        if self.pretrained.is_none() {
            self.pretrained = self.token_table().map(|table| {
                let mut digest = Digest::default();
                digest.add_matrix(table);
                digest.into_hex()
            });
        }
        Ok(())
    }

    /// Returns the token vectors that an embedding starts from.
    pub(crate) fn token_table(&self) -> Option<&Array2<f32>> {
        match &self.init {
            Init::Random => None,
            Init::Tokens(tokens) => Some(&tokens.token_table),
            Init::Encoder(encoder) => Some(encoder.weights.get(TOKEN_TABLE)),
        }
    }

    /// Takes n-grams to read beside tokens.
    pub(crate) fn add_ngrams(&mut self, ngrams: NgramVocabulary) {
        self.ngrams = Some(Arc::new(ngrams));
    }

    /// Takes the encoder that the model is made of, with its tokens.
    pub(crate) fn add_encoder(&mut self, name: &str) -> Result<Arc<BertFolder>> {
        let encoder = self.encoder(name)?.clone();
        self.tokenizer = Some(encoder.tokenizer.clone());
        self.special_tokens = true;
        Ok(encoder)
    }

    /// Takes the encoder as it is, to represent each text once before training.
    pub(crate) fn add_frozen_encoder(
        &mut self,
        name: &str,
        pooling: Option<Pooling>,
        prefix: &str,
    ) -> Result<()> {
        let encoder = self.add_encoder(name)?;
        self.frozen = Some(Arc::new(FrozenEncoder::new(encoder, pooling, prefix)));
        Ok(())
    }

    /// Returns the encoder that a kind of model is made of.
    ///
    /// # Errors
    ///
    /// [`TrainError::NoEncoder`] where the training starts from none.
    pub(crate) fn encoder(&self, model: &str) -> Result<&Arc<BertFolder>> {
        match &self.init {
            Init::Encoder(encoder) => Ok(encoder),
            _ => Err(TrainError::NoEncoder { model: model.to_owned() }),
        }
    }

    /// Returns the encoder that is not trained.
    pub(crate) fn frozen(&self) -> Option<&Arc<FrozenEncoder>> {
        self.frozen.as_ref()
    }

    /// Returns the parts that texts are read with.
    pub(crate) fn lexicon(&self) -> Lexicon {
        Lexicon { tokenizer: self.tokenizer.clone(), ngrams: self.ngrams.clone() }
    }

    /// Returns the inputs of the exported model.
    pub(crate) fn input(&self) -> InputKind {
        match (&self.tokenizer, &self.ngrams) {
            (Some(_), Some(_)) => InputKind::TokensAndNgrams,
            (None, Some(_)) => InputKind::Ngrams,
            _ => InputKind::TokenIds,
        }
    }
}

/// Digests an encoder: its shape, and its parameters by their names.
pub(crate) fn encoder_digest(encoder: &BertFolder) -> String {
    let mut digest = Digest::default();
    digest.add(as_json(&encoder.config).to_string().as_bytes());
    digest.add(as_json(&encoder.pooling).to_string().as_bytes());
    for (name, _) in BertWeights::shapes(&encoder.config) {
        digest.add(name.as_bytes());
        digest.add_matrix(encoder.weights.get(&name));
    }
    digest.into_hex()
}

/// Writes a report as JSON by way of text, which keeps single-precision figures as short as they are.
pub(crate) fn as_json(report: &impl Serialize) -> serde_json::Value {
    let text = serde_json::to_string(report).expect("a report is plain data");
    serde_json::from_str(&text).expect("what was just written is JSON")
}

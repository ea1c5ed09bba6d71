//! The models whose gradients are written by hand, and that read texts themselves.

use std::sync::Arc;

use autotag_onnx::bundle::InputKind;
use autotag_onnx::{Features, Lexicon, ModelBundle, ModelInput};
use ndarray::Array2;
use tokenizers::Tokenizer;

use super::digest::Digest;
use super::{Shape, TrainReport, TrainingRun};
use crate::average::EpochAverage;
use crate::check::is_true;
use crate::cnn::Cnn;
use crate::joint::{JointConfig, JointInput, JointModel};
use crate::model::Model;
use crate::models::{CnnModel, WideModel};
use crate::optimizer::AdamConfig;
use crate::report::Progress;
use crate::wide::{self, Wide};
use crate::{Pretrained, Result, TrainConfig, vocabulary};

impl TrainingRun<'_> {
    /// Trains a CNN, exports it and publishes the bundle.
    ///
    /// With `pretrained`, its tokenizer is used and its token table starts the embedding; without, a
    /// vocabulary is learned from the training texts and the embedding starts at random.
    ///
    /// # Errors
    ///
    /// [`TrainError`](crate::TrainError) says what in the data or the settings cannot be used, or what failed.
    pub fn train_cnn(
        &self,
        pretrained: Option<Pretrained>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let config = self.config;
        self.on_threads(|claim| {
            progress(Progress::Stage("tokenize"));
            let tokens = self.tokens(pretrained)?;
            let shape = Shape {
                architecture: "cnn",
                input: InputKind::TokenIds,
                special_tokens: false,
                dimensions: config.cnn.n_filters(),
                normalized: config.cnn.normalize,
                pretrained: tokens.pretrained(),
            };
            let lexicon = (&tokens.tokenizer).into();
            let make = |_: &[ModelInput]| self.make_cnn(tokens);
            self.train_texts(lexicon, shape, make, claim, progress)
        })
    }

    /// Trains the wide model, exports it and publishes the bundle.
    ///
    /// The n-grams that it knows are learned from the training texts.
    ///
    /// # Errors
    ///
    /// [`TrainError`](crate::TrainError) says what in the data or the settings cannot be used, or what failed;
    /// [`TrainError::NoNgrams`](crate::TrainError::NoNgrams) when no word occurs in enough texts.
    pub fn train_wide(
        &self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let config = self.config;
        self.on_threads(|claim| {
            progress(Progress::Stage("tokenize"));
            let ngrams = wide::learn(self.train.texts(), config.max_length, &config.wide)?;
            let n_ngrams = ngrams.len();
            let shape = Shape {
                architecture: "wide",
                input: InputKind::Ngrams,
                special_tokens: false,
                dimensions: config.wide.n_dimensions(),
                normalized: config.wide.normalize,
                pretrained: None,
            };
            let make = |texts: &[ModelInput]| {
                let texts: Vec<&Features> = texts.iter().map(|text| &text.features).collect();
                self.make_wide(&texts, n_ngrams, config.adam)
            };
            self.train_texts(ngrams.into(), shape, make, claim, progress)
        })
    }

    /// Trains the wide model and the CNN as one, exports them and publishes the bundle.
    ///
    /// `pretrained` is the CNN's, as in [`TrainingRun::train_cnn`].
    ///
    /// # Errors
    ///
    /// Those of [`TrainingRun::train_cnn`] and [`TrainingRun::train_wide`], and
    /// [`TrainError::Setting`](crate::TrainError::Setting) where a part's representation is not scaled to
    /// length 1.
    pub fn train_wide_cnn(
        &self,
        pretrained: Option<Pretrained>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let config = self.config;
        let is_normalized = config.wide.normalize && config.cnn.normalize;
        is_true("normalize", is_normalized, is_normalized, "true for both models as one")?;
        self.on_threads(|claim| {
            progress(Progress::Stage("tokenize"));
            let tokens = self.tokens(pretrained)?;
            let (lexicon, n_ngrams) = self.lexicon_with_ngrams(&tokens.tokenizer)?;
            let shape = Shape {
                architecture: "wide-cnn",
                input: InputKind::TokensAndNgrams,
                special_tokens: false,
                dimensions: config.wide.n_dimensions() + config.cnn.n_filters(),
                normalized: true,
                pretrained: tokens.pretrained(),
            };
            let make = |texts: &[JointInput<_, _>]| {
                self.beside(&first_features(texts), n_ngrams, self.make_cnn(tokens))
            };
            self.train_texts(lexicon, shape, make, claim, progress)
        })
    }

    /// Takes a pretrained encoder's tokens, or learns some from the training texts.
    pub(super) fn tokens(&self, pretrained: Option<Pretrained>) -> Result<Tokens> {
        if let Some(Pretrained { tokenizer, token_table }) = pretrained {
            return Ok(Tokens { tokenizer, table: Some(token_table) });
        }
        let tokenizer = vocabulary::learn(self.train.texts(), self.config.vocabulary_size)?;
        Ok(Tokens { tokenizer, table: None })
    }

    /// Learns the n-grams that the wide model is to know, to be read beside a tokenizer's tokens; returns
    /// their number too.
    pub(super) fn lexicon_with_ngrams(&self, tokenizer: &Tokenizer) -> Result<(Lexicon, usize)> {
        let TrainConfig { max_length, wide, .. } = self.config;
        let ngrams = wide::learn(self.train.texts(), *max_length, wide)?;
        let n_ngrams = ngrams.len();
        let (tokenizer, ngrams) = (Some(tokenizer.clone()), Some(Arc::new(ngrams)));
        Ok((Lexicon { tokenizer, ngrams }, n_ngrams))
    }

    pub(super) fn make_cnn(&self, Tokens { tokenizer, table }: Tokens) -> CnnModel<'_> {
        let TrainConfig { cnn, seed, averaging, .. } = self.config;
        let (n_tokens, n_labels) = (tokenizer.get_vocab_size(true), self.train.vocabulary().len());
        let cnn = Cnn::new(cnn.clone(), n_tokens, n_labels, table, *seed);
        CnnModel { cnn, config: self.config, average: EpochAverage::new(*averaging) }
    }

    fn make_wide(&self, texts: &[&Features], n_ngrams: usize, adam: AdamConfig) -> WideModel {
        let TrainConfig { wide, contrastive, seed, averaging, .. } = self.config;
        let n_labels = self.train.vocabulary().len();
        let wide = Wide::new(wide.clone(), texts, n_ngrams, n_labels, *seed);
        let average = EpochAverage::new(*averaging);
        WideModel { wide, contrastive: *contrastive, adam, average }
    }

    /// Makes the wide model, which reads these n-grams, beside another one.
    pub(super) fn beside<M: Model>(
        &self,
        texts: &[&Features],
        n_ngrams: usize,
        other: M,
    ) -> JointModel<WideModel, M> {
        let JointConfig { share, wide_adam, .. } = self.config.joint;
        JointModel { first: self.make_wide(texts, n_ngrams, wide_adam), second: other, share }
    }
}

/// Returns what the wide model reads of each text.
pub(super) fn first_features<J>(texts: &[JointInput<ModelInput, J>]) -> Vec<&Features> {
    texts.iter().map(|text| &text.first.features).collect()
}

/// A tokenizer, and what the embedding of its tokens starts with where it does not start at random.
pub(super) struct Tokens {
    pub(super) tokenizer: Tokenizer,
    pub(super) table: Option<Array2<f32>>,
}

impl Tokens {
    /// Digests the table that is not drawn at random.
    pub(super) fn pretrained(&self) -> Option<String> {
        let table = self.table.as_ref()?;
        let mut digest = Digest::default();
        digest.add_matrix(table);
        Some(digest.into_hex())
    }
}

//! The models that are trained through automatic differentiation.

use autotag_onnx::bundle::InputKind;
use autotag_onnx::{ModelBundle, ModelInput};

use super::by_hand::{Tokens, first_features};
use super::digest::Digest;
use super::{Shape, TrainReport, TrainingRun, as_json};
use crate::autodiff::{Device, training_device};
use crate::bert::{BertFolder, BertWeights, Pooling};
use crate::check::is_true;
use crate::finetune::FinetunedModel;
use crate::joint::{JointInput, JointModel};
use crate::ldgn::LdgnModel;
use crate::{Pretrained, Progress, Result, TrainConfig};

impl TrainingRun<'_> {
    /// Trains LDGN on the device of the run's options, exports it and publishes the bundle.
    ///
    /// With `pretrained`, its tokenizer is used and its token table starts the embedding; without, a
    /// vocabulary is learned from the training texts and the embedding starts at random.
    ///
    /// # Errors
    ///
    /// [`TrainError`](crate::TrainError) says what in the data or the settings cannot be used, or
    /// what failed.
    pub fn train_ldgn(
        &self,
        pretrained: Option<Pretrained>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let config = self.config;
        let device = training_device(self.options.device)?;
        self.on_threads(|claim| {
            progress(Progress::Stage("tokenize"));
            let tokens = self.tokens(pretrained)?;
            let pretrained = tokens.pretrained();
            let Tokens { tokenizer, table } = tokens;
            let n_tokens = tokenizer.get_vocab_size(true);
            let shape = Shape {
                architecture: "ldgn",
                input: InputKind::TokenIds,
                special_tokens: false,
                dimensions: config.ldgn.dimensions(),
                normalized: config.ldgn.normalize,
                pretrained,
            };
            let make = |_: &[ModelInput]| {
                let (labels, n_labels) = (self.train.labels(), self.train.vocabulary().len());
                LdgnModel::new(config, n_tokens, labels, n_labels, table, device)
            };
            self.train_texts((&tokenizer).into(), shape, make, claim, progress)
        })
    }

    /// Trains a pretrained encoder further, on the device of the run's options, exports it with its
    /// layer of scores and publishes the bundle.
    ///
    /// # Errors
    ///
    /// [`TrainError`](crate::TrainError) says what in the data or the settings cannot be used, or
    /// what failed; [`TrainError::Setting`](crate::TrainError::Setting) where the settings' length is
    /// more than the encoder has positions.
    pub fn train_bert(
        &self,
        pretrained: BertFolder,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let device = training_device(self.options.device)?;
        self.check_length(&pretrained)?;
        self.on_threads(|claim| {
            progress(Progress::Stage("tokenize"));
            let shape = Shape {
                architecture: "bert",
                input: InputKind::TokenIds,
                special_tokens: true,
                dimensions: pretrained.config.hidden_size,
                normalized: self.config.bert.normalize,
                pretrained: Some(digest(&pretrained)),
            };
            let lexicon = (&pretrained.tokenizer).into();
            let make = |_: &[ModelInput]| self.make_finetuned(pretrained, device);
            self.train_texts(lexicon, shape, make, claim, progress)
        })
    }

    /// Trains the wide model, a CNN and a pretrained encoder, all of it, as one, on the device of the
    /// run's options, exports it and publishes the bundle.
    ///
    /// The CNN's embedding starts with the encoder's token table.
    ///
    /// # Errors
    ///
    /// Those of [`TrainingRun::train_bert`], [`TrainingRun::train_cnn`] and
    /// [`TrainingRun::train_wide`], and [`TrainError::Setting`](crate::TrainError::Setting) where a part's
    /// representation is not scaled to length 1.
    pub fn train_wide_cnn_bert(
        &self,
        pretrained: BertFolder,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let TrainConfig { wide, cnn, bert, joint, .. } = self.config;
        let device = training_device(self.options.device)?;
        self.check_length(&pretrained)?;
        let is_normalized = wide.normalize && cnn.normalize && bert.normalize;
        is_true("normalize", is_normalized, is_normalized, "true for all models as one")?;
        self.on_threads(|claim| {
            progress(Progress::Stage("tokenize"));
            let tokens = self.tokens(Some(Pretrained::from(&pretrained)))?;
            let (lexicon, n_ngrams) = self.lexicon_with_ngrams(&pretrained.tokenizer)?;
            let dimensions = [wide.n_dimensions(), cnn.n_filters(), pretrained.config.hidden_size];
            let shape = Shape {
                architecture: "wide-cnn-bert",
                input: InputKind::TokensAndNgrams,
                special_tokens: true,
                dimensions: dimensions.iter().sum(),
                normalized: true,
                pretrained: Some(digest(&pretrained)),
            };
            let make = |texts: &[JointInput<_, _>]| {
                let first = self.make_cnn(tokens);
                let second = self.make_finetuned(pretrained, device);
                let others = JointModel { first, second, share: joint.cnn_share };
                self.beside(&first_features(texts), n_ngrams, others)
            };
            self.train_texts(lexicon, shape, make, claim, progress)
        })
    }

    /// Checks that an encoder can read texts of the settings' length.
    fn check_length(&self, encoder: &BertFolder) -> Result<()> {
        let (length, n_positions) =
            (self.config.max_length, encoder.config.max_position_embeddings);
        let expected = format!("at most {n_positions}, the encoder's max_position_embeddings");
        is_true("max length", length, length <= n_positions, expected)
    }

    fn make_finetuned(&self, pretrained: BertFolder, device: Device) -> FinetunedModel<'_> {
        let BertFolder { config: encoder, weights, pooling, .. } = pretrained;
        let pooling = self.config.bert.pooling.or(pooling).unwrap_or(Pooling::Cls);
        let (labels, n_labels) = (self.train.labels(), self.train.vocabulary().len());
        FinetunedModel::new(self.config, encoder, weights, pooling, labels, n_labels, device)
    }
}

/// Digests an encoder: its shape, and its parameters by their names.
fn digest(encoder: &BertFolder) -> String {
    let mut digest = Digest::default();
    digest.add(as_json(&encoder.config).to_string().as_bytes());
    digest.add(as_json(&encoder.pooling).to_string().as_bytes());
    for (name, _) in BertWeights::shapes(&encoder.config) {
        digest.add(name.as_bytes());
        digest.add_matrix(encoder.weights.get(&name));
    }
    digest.into_hex()
}

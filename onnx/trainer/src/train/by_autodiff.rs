//! The models that are trained through automatic differentiation.

use autotag_onnx::bundle::InputKind;
use autotag_onnx::{ModelBundle, ModelInput};

use super::by_hand::Tokens;
use super::{Shape, TrainReport, TrainingRun};
use crate::autodiff::training_device;
use crate::bert::{BertFolder, Pooling};
use crate::config::is_true;
use crate::finetune::FinetunedModel;
use crate::ldgn::LdgnModel;
use crate::{Pretrained, Progress, Result};

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
        self.on_threads(|| {
            progress(Progress::Stage("tokenize"));
            let Tokens { tokenizer, table } = self.tokens(pretrained)?;
            let n_tokens = tokenizer.get_vocab_size(true);
            let shape = Shape {
                architecture: "ldgn",
                input: InputKind::TokenIds,
                special_tokens: false,
                dimensions: config.ldgn.dimensions(),
                normalized: config.ldgn.normalize,
            };
            let make = |_: &[ModelInput]| {
                let (labels, n_labels) = (self.train.labels(), self.train.vocabulary().len());
                LdgnModel::new(config, n_tokens, labels, n_labels, table, device)
            };
            self.train_texts((&tokenizer).into(), shape, make, progress)
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
        let config = self.config;
        let device = training_device(self.options.device)?;
        let BertFolder { tokenizer, config: encoder, weights, pooling } = pretrained;
        let (length, n_positions) = (config.max_length, encoder.max_position_embeddings);
        let expected = "at most the encoder's max_position_embeddings";
        is_true("max length", length, length <= n_positions, expected)?;
        let pooling = config.bert.pooling.or(pooling).unwrap_or(Pooling::Cls);
        self.on_threads(|| {
            progress(Progress::Stage("tokenize"));
            let shape = Shape {
                architecture: "bert",
                input: InputKind::TokenIds,
                special_tokens: true,
                dimensions: encoder.hidden_size,
                normalized: config.bert.normalize,
            };
            let make = |_: &[ModelInput]| {
                let (labels, n_labels) = (self.train.labels(), self.train.vocabulary().len());
                FinetunedModel::new(config, encoder, weights, pooling, labels, n_labels, device)
            };
            self.train_texts((&tokenizer).into(), shape, make, progress)
        })
    }
}

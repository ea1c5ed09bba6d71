//! The run of an adapter: a frozen encoder goes through the texts once, then the adapter is trained.

use std::path::Path;
use std::sync::Arc;

use autotag_onnx::bundle::InputKind;
use autotag_onnx::{BundleConfig, ModelBundle, ModelInput, OnnxEncoder, TextReader};

use super::{FirstNeighbors, Inputs, Shape, TrainReport, TrainingRun, read};
use crate::adapter::{Adapter, AdapterModel};
use crate::average::EpochAverage;
use crate::bert::BertFolder;
use crate::config::is_true;
use crate::fit::{Progress, TokenizedTexts};
use crate::frozen::{Encoding, FrozenEncoder};
use crate::joint::{JointInput, JointModel};
use crate::matrix::Matrix;
use crate::{Dataset, Pretrained, Result, TrainConfig, TrainError};

impl TrainingRun<'_> {
    /// Trains an adapter on a pretrained encoder, exports both as one model and publishes the bundle.
    ///
    /// The encoder's representations are kept in the folder `cache` for later runs with the same
    /// encoder, where one is given.
    ///
    /// # Errors
    ///
    /// [`TrainError`](crate::TrainError) says what in the data or the settings cannot be used, or
    /// what failed.
    pub fn train_adapter(
        &self,
        encoder: BertFolder,
        cache: Option<&Path>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let config = self.config;
        self.on_threads(|| {
            let encoder = Arc::new(FrozenEncoder::new(encoder, config.adapter.pooling));
            let shape = Shape {
                architecture: "adapter",
                input: InputKind::TokenIds,
                special_tokens: true,
                dimensions: config.adapter.hidden,
                normalized: config.adapter.normalize,
                pretrained: None,
            };
            let Running { runner, bundle } = self.run_encoder(&encoder, shape)?;
            let inputs = self.encode(runner, &bundle, cache, progress)?;
            let lexicon = encoder.tokenizer().into();
            let make = |_: &[Vec<f32>]| self.make_adapter(encoder.clone());
            self.train(lexicon, bundle, inputs, FirstNeighbors::Trained, make, progress)
        })
    }

    /// Trains the wide model, a CNN and an adapter on a pretrained encoder as one, exports all of it as
    /// one model and publishes the bundle.
    ///
    /// The CNN's embedding starts with the encoder's token table. `cache` is as in
    /// [`TrainingRun::train_adapter`].
    ///
    /// # Errors
    ///
    /// Those of [`TrainingRun::train_adapter`], [`TrainingRun::train_cnn`] and
    /// [`TrainingRun::train_wide`], and [`TrainError::Setting`](crate::TrainError::Setting) where a part's
    /// representation is not scaled to length 1.
    pub fn train_wide_cnn_adapter(
        &self,
        encoder: BertFolder,
        cache: Option<&Path>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        let config = self.config;
        let TrainConfig { wide, cnn, adapter, .. } = config;
        let is_normalized = wide.normalize && cnn.normalize && adapter.normalize;
        is_true("normalize", is_normalized, is_normalized, "true for all models as one")?;
        self.on_threads(|| {
            let tokens = self.tokens(Some(Pretrained::from(&encoder)))?;
            let encoder = Arc::new(FrozenEncoder::new(encoder, config.adapter.pooling));
            let shape = Shape {
                architecture: "wide-cnn-adapter",
                input: InputKind::TokensAndNgrams,
                special_tokens: true,
                dimensions: wide.n_dimensions() + cnn.n_filters() + adapter.hidden,
                normalized: true,
                pretrained: None,
            };
            let (lexicon, n_ngrams) = self.lexicon_with_ngrams(encoder.tokenizer())?;
            let Running { runner, bundle } = self.run_encoder(&encoder, shape)?;
            let reader = TextReader::new(lexicon.clone(), &bundle)
                .map_err(|source| TrainError::Tokenizer { action: "was set up", source })?;
            // Before the encoder goes through them: a text without words ends the training at once.
            let (train, dev) = (read(&reader, self.train)?, read(&reader, self.dev)?);
            let encoded = self.encode(runner, &bundle, cache, progress)?;
            let inputs = Inputs {
                train: side_by_side(train, encoded.train),
                dev: side_by_side(dev, encoded.dev),
            };
            let make = |texts: &[JointInput<_, _>]| {
                let (first, second) = (self.make_cnn(tokens), self.make_adapter(encoder.clone()));
                let others = JointModel { first, second, share: config.joint.cnn_share };
                self.beside(texts, n_ngrams, others)
            };
            self.train(lexicon, bundle, inputs, FirstNeighbors::Trained, make, progress)
        })
    }

    fn make_adapter(&self, encoder: Arc<FrozenEncoder>) -> AdapterModel<'_> {
        let config = self.config;
        let (n_labels, shape) = (self.train.vocabulary().len(), config.adapter.clone());
        let adapter = Adapter::new(shape, encoder.dimensions(), n_labels, config.seed);
        let average = EpochAverage::new(config.averaging);
        AdapterModel { adapter, config, average, encoder }
    }

    /// Makes an encoder ready to encode.
    fn run_encoder(&self, encoder: &FrozenEncoder, shape: Shape) -> Result<Running> {
        // A bundle of the encoder alone, which is never published.
        let draft = encoder.draft(self.config.max_length, self.out)?;
        let runner = draft.encoder(self.options)?;
        let max_length = draft.config().max_length;
        let card = encoder.card(draft.encoder_fingerprint());
        let training = serde_json::json!({ "encoder": card });
        let bundle = BundleConfig { max_length, training, ..self.bundle_config(shape) };
        Ok(Running { runner, bundle })
    }

    /// Encodes both data sets; nobody needs the encoder's sessions afterwards.
    fn encode(
        &self,
        runner: OnnxEncoder,
        bundle: &BundleConfig,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Inputs<Vec<f32>>> {
        let max_length = bundle.max_length.get();
        let encoding = Encoding { encoder: &runner, max_length, cache, stop: self.stop };
        let train = rows(self.train, &encoding.encode(self.train, progress)?);
        let dev = rows(self.dev, &encoding.encode(self.dev, progress)?);
        Ok(Inputs { train, dev })
    }
}

/// An encoder that is ready to encode, and what the bundle is to say of the model trained on it.
struct Running {
    runner: OnnxEncoder,
    bundle: BundleConfig,
}

/// Gives each text what the three models read of it: n-grams, tokens, what the encoder says.
fn side_by_side(
    read: TokenizedTexts<JointInput<ModelInput, ModelInput>>,
    encoded: TokenizedTexts<Vec<f32>>,
) -> TokenizedTexts<JointInput<ModelInput, JointInput<ModelInput, Vec<f32>>>> {
    let texts = read.texts.into_iter().zip(encoded.texts);
    let texts = texts.map(|(JointInput { first, second }, encoded)| JointInput {
        first,
        second: JointInput { first: second, second: encoded },
    });
    TokenizedTexts { texts: texts.collect(), labels: read.labels }
}

/// Gives each text its row.
fn rows(dataset: &Dataset, embeddings: &Matrix) -> TokenizedTexts<Vec<f32>> {
    let texts = (0..embeddings.n_rows()).map(|row| embeddings.row(row).to_vec()).collect();
    TokenizedTexts { texts, labels: dataset.labels().to_vec() }
}

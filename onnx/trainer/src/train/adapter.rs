//! The run of an adapter: a frozen encoder goes through the texts once, then the adapter is trained.

use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;

use autotag_onnx::bundle::InputKind;
use autotag_onnx::{BundleConfig, ModelBundle, ModelInput, OnnxEncoder};

use super::by_hand::first_features;
use super::read::{Inputs, Readable};
use super::{FirstNeighbors, Plan, Shape, TrainReport, TrainingRun};
use crate::adapter::{Adapter, AdapterModel};
use crate::average::EpochAverage;
use crate::bert::BertFolder;
use crate::check::is_true;
use crate::frozen::{Encoding, FrozenEncoder};
use crate::joint::{JointInput, JointModel};
use crate::report::Progress;
use crate::rows::RowMajor as _;
use crate::{Dataset, Pretrained, Result, TrainConfig};

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
        self.on_threads(|claim| {
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
            let plan = Plan { lexicon: encoder.tokenizer().into(), bundle };
            let read: Inputs<'_, ModelInput> =
                Inputs::read(&plan.reader()?, self.train, self.dev, self.unreadable)?;
            let model = self.make_adapter(encoder);
            // Before the encoder goes through all texts, which takes most of the time.
            let said = self.encode_probes(&runner, &read.probes.dataset)?;
            let probes = read.probes.with(said);
            self.check_export(&model, &plan, &probes, claim.as_ref(), progress)?;
            let encoding = self.encoding(&runner, &plan, cache);
            let train = encode(read.train, &encoding, progress)?;
            let dev = encode(read.dev, &encoding, progress)?;
            // Nobody needs the encoder's sessions any more.
            drop(runner);
            let inputs = Inputs { train, dev, probes };
            self.train(plan, inputs, FirstNeighbors::Trained, model, claim, progress)
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
        self.on_threads(|claim| {
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
            let plan = Plan { lexicon, bundle };
            let read: Inputs<'_, JointInput<ModelInput, ModelInput>> =
                Inputs::read(&plan.reader()?, self.train, self.dev, self.unreadable)?;
            let (first, second) = (self.make_cnn(tokens), self.make_adapter(encoder));
            let others = JointModel { first, second, share: config.joint.cnn_share };
            let model = self.beside(&first_features(&read.train.texts.texts), n_ngrams, others);
            // Before the encoder goes through all texts, which takes most of the time.
            let said = self.encode_probes(&runner, &read.probes.dataset)?;
            let probes = side_by_side(read.probes, said);
            self.check_export(&model, &plan, &probes, claim.as_ref(), progress)?;
            let encoding = self.encoding(&runner, &plan, cache);
            let said = rows(&encoding.encode(&read.train.dataset, progress)?);
            let train = side_by_side(read.train, said);
            let said = rows(&encoding.encode(&read.dev.dataset, progress)?);
            let dev = side_by_side(read.dev, said);
            drop(runner);
            let inputs = Inputs { train, dev, probes };
            self.train(plan, inputs, FirstNeighbors::Trained, model, claim, progress)
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

    /// Returns how both data sets are encoded.
    fn encoding<'e>(
        &'e self,
        encoder: &'e OnnxEncoder,
        plan: &Plan,
        cache: Option<&'e Path>,
    ) -> Encoding<'e> {
        Encoding { encoder, max_length: plan.bundle.max_length.get(), cache, stop: self.stop }
    }

    /// Encodes the few texts that the export is compared on; nobody needs them again.
    fn encode_probes(&self, encoder: &OnnxEncoder, probes: &Dataset) -> Result<Vec<Vec<f32>>> {
        let encoding = Encoding { encoder, max_length: usize::MAX, cache: None, stop: self.stop };
        Ok(rows(&encoding.encode(probes, &mut |_| {})?))
    }
}

/// An encoder that is ready to encode, and what the bundle is to say of the model trained on it.
struct Running {
    runner: OnnxEncoder,
    bundle: BundleConfig,
}

/// Encodes the texts of a data set that can be read.
fn encode<'a>(
    read: Readable<'a, ModelInput>,
    encoding: &Encoding<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Readable<'a, Vec<f32>>> {
    let said = rows(&encoding.encode(&read.dataset, progress)?);
    Ok(read.with(said))
}

/// What the three models read of a text: n-grams, tokens, what the encoder says.
type ThreeInputs = JointInput<ModelInput, JointInput<ModelInput, Vec<f32>>>;

/// Gives each text what the three models read of it.
fn side_by_side(
    mut read: Readable<'_, JointInput<ModelInput, ModelInput>>,
    said: Vec<Vec<f32>>,
) -> Readable<'_, ThreeInputs> {
    let texts = std::mem::take(&mut read.texts.texts).into_iter().zip(said);
    let texts = texts.map(|(JointInput { first, second }, said)| JointInput {
        first,
        second: JointInput { first: second, second: said },
    });
    read.with(texts.collect())
}

/// Returns each text's row.
fn rows(embeddings: &Array2<f32>) -> Vec<Vec<f32>> {
    (0..embeddings.nrows()).map(|row| embeddings.row_slice(row).to_vec()).collect()
}

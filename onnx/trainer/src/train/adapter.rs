//! The run of an adapter: a frozen encoder goes through the texts once, then the adapter is trained.

use std::path::Path;
use std::sync::Arc;

use autotag_onnx::bundle::InputKind;
use autotag_onnx::{BundleConfig, ModelBundle};

use super::{FirstNeighbors, Inputs, Shape, TrainReport, TrainingRun};
use crate::adapter::{Adapter, AdapterModel};
use crate::average::EpochAverage;
use crate::bert::BertFolder;
use crate::fit::{Progress, TokenizedTexts};
use crate::frozen::{Encoding, FrozenEncoder};
use crate::matrix::Matrix;
use crate::{Dataset, Result};

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
            let (bundle, inputs) = self.encode(&encoder, cache, progress)?;
            let lexicon = encoder.tokenizer().into();
            let make = |_: &[Vec<f32>]| {
                let (n_labels, shape) = (self.train.vocabulary().len(), config.adapter.clone());
                let adapter = Adapter::new(shape, encoder.dimensions(), n_labels, config.seed);
                let average = EpochAverage::new(config.averaging);
                AdapterModel { adapter, config, average, encoder: encoder.clone() }
            };
            self.train(lexicon, bundle, inputs, FirstNeighbors::Trained, make, progress)
        })
    }

    /// Encodes both data sets; returns what the bundle is to say of the model too.
    fn encode(
        &self,
        encoder: &FrozenEncoder,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(BundleConfig, Inputs<Vec<f32>>)> {
        // A bundle of the encoder alone, which is never published.
        let draft = encoder.draft(self.config.max_length, self.out)?;
        let runner = draft.encoder(self.options)?;
        let max_length = draft.config().max_length;
        let encoding =
            Encoding { encoder: &runner, max_length: max_length.get(), cache, stop: self.stop };
        let train = rows(self.train, &encoding.encode(self.train, progress)?);
        let dev = rows(self.dev, &encoding.encode(self.dev, progress)?);
        let shape = Shape {
            architecture: "adapter",
            input: InputKind::TokenIds,
            special_tokens: true,
            dimensions: self.config.adapter.hidden,
            normalized: self.config.adapter.normalize,
        };
        let card = encoder.card(draft.encoder_fingerprint());
        let training = serde_json::json!({ "encoder": card });
        let bundle = BundleConfig { max_length, training, ..self.bundle_config(shape) };
        Ok((bundle, Inputs { train, dev }))
    }
}

/// Gives each text its row.
fn rows(dataset: &Dataset, embeddings: &Matrix) -> TokenizedTexts<Vec<f32>> {
    let texts = (0..embeddings.n_rows()).map(|row| embeddings.row(row).to_vec()).collect();
    TokenizedTexts { texts, labels: dataset.labels().to_vec() }
}

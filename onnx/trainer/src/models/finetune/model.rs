use burn::tensor::Device;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use autotag::LabelSet;
use autotag_onnx::graph::GraphBuilder;

use super::config::FinetuneConfig;
use super::forward::{Batch, Network, OUTPUT, OUTPUT_BIAS, Regularization};
use crate::autodiff::{
    Pace, TrainingWeights, Weights, group_seed, predict_by_length, prior_bias, step_seed,
};
use crate::bert::{BertConfig, BertFolder, BertWeights, Pooling, write_encoder};
use crate::config::TrainConfig;
use crate::init::glorot;
use crate::layers::{OutputLayer, write_answer};
use crate::loss::ContrastiveConfig;
use crate::model::Answer;
use crate::model::{Model, Predict, Predicted, StepLoss, TextInput, token_ids};
use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// The texts that pass through the network together.
const GROUP_SIZE: usize = 4;

/// The properties that an encoder in training shares with the trained one.
#[derive(Clone)]
struct Shape {
    encoder: BertConfig,
    pooling: Pooling,
    normalize: bool,
    device: Device,
}

/// An encoder in training.
pub(crate) struct FinetunedModel {
    settings: FinetuneConfig,
    contrastive: ContrastiveConfig,
    seed: u64,
    shape: Shape,
    weights: TrainingWeights,
}

/// An encoder that was trained further.
pub(crate) struct Finetuned {
    shape: Shape,
    weights: Weights,
}

impl FinetunedModel {
    /// Starts from a pretrained encoder and a random layer of scores.
    ///
    /// The output layer's bias starts at the labels' frequencies in the training texts' `labels`.
    pub(crate) fn new(
        settings: &FinetuneConfig,
        config: &TrainConfig,
        folder: &BertFolder,
        labels: &[LabelSet],
        n_labels: usize,
        device: Device,
    ) -> Self {
        let BertFolder { config: encoder, weights, pooling, .. } = folder;
        let encoder = encoder.clone();
        let pooling = settings.pooling.or(*pooling).unwrap_or(Pooling::Cls);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(config.seed);
        let mut weights = Weights::new(weights.clone().into_tensors());
        weights.insert(OUTPUT, glorot(&mut rng, n_labels, encoder.hidden_size));
        weights.insert(OUTPUT_BIAS, prior_bias(labels, n_labels));
        FinetunedModel {
            settings: settings.clone(),
            contrastive: config.contrastive,
            seed: config.seed,
            weights: TrainingWeights::new(&weights, config.averaging, &device),
            shape: Shape { encoder, pooling, normalize: settings.normalize, device },
        }
    }

    fn trained(&self, weights: Weights) -> Finetuned {
        Finetuned { shape: self.shape.clone(), weights }
    }
}

impl Model for FinetunedModel {
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let (bert, adam) = (&self.settings, &self.settings.adam);
        let Shape { encoder, pooling, normalize, device } = &self.shape;
        let seed = step_seed(self.seed, self.weights.optimizer.n_steps());
        let regularization =
            |group| Regularization { dropout: bert.dropout, seed: group_seed(seed, group) };
        let encoder_rate = bert.encoder_rate_for(encoder);
        let pace = |name: &str| {
            let is_output = [OUTPUT, OUTPUT_BIAS].contains(&name);
            let highest = if is_output { adam.learning_rate } else { encoder_rate };
            let decay = if decays(name) { bert.weight_decay } else { 0.0 };
            Pace { rate: rate * highest, decay }
        };
        let answer = |weights: &_, texts: &[&[u32]], group| {
            let network =
                Network { config: encoder, weights, pooling: *pooling, normalize: *normalize };
            network.answer(&Batch::new(texts, device), &regularization(group))
        };
        let losses = (&self.contrastive, adam);
        self.weights.step(losses, &token_ids(texts), labels, GROUP_SIZE, answer, pace)
    }

    fn snapshot(&mut self, _: f32) -> Box<dyn Predict> {
        let weights = self.weights.snapshot();
        Box::new(self.trained(weights))
    }

    fn state(&self) -> State<'_> {
        self.weights.state()
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.weights.restore(state)
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Box<dyn Predict>, StateError> {
        Ok(Box::new(self.trained(self.weights.restore_snapshot(state)?)))
    }
}

/// Tells whether weights of this name lose a share in each step: biases, also those of attention, and
/// normalizations do not.
fn decays(name: &str) -> bool {
    !(name.contains("bias") || name.contains("LayerNorm"))
}

impl Predict for Finetuned {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        let Shape { encoder, pooling, normalize, device } = &self.shape;
        let (pooling, normalize) = (*pooling, *normalize);
        predict_by_length(&self.weights, device, &token_ids(texts), GROUP_SIZE, |weights, texts| {
            let network = Network { config: encoder, weights, pooling, normalize };
            network.answer(&Batch::new(texts, device), &Regularization::default())
        })
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let Shape { encoder, pooling, normalize, .. } = &self.shape;
        let weights = BertWeights::new(encoder, self.weights.matrices_by_name().clone());
        let pooled = write_encoder(graph, encoder, &weights, *pooling);
        let (output, bias) = (self.weights.get(OUTPUT), self.weights.get(OUTPUT_BIAS));
        let layer = OutputLayer { output, bias: &bias.row(0).to_owned() };
        write_answer(graph, "labels", &pooled, &layer, *normalize)
    }

    fn state(&self) -> State<'_> {
        Parameters::state(&self.weights)
    }
}

use burn::tensor::{Device, Tensor};
use ndarray::Array2;

use autotag::LabelSet;
use autotag_onnx::graph::GraphBuilder;

use super::batch::Batch;
use super::config::LdgnConfig;
use super::export;
use super::forward::{Network, Regularization};
use super::label_graph::label_graph;
use super::weights;
use crate::autodiff::{
    Pace, TrainingWeights, Weights, group_seed, predict_by_length, prior_bias, step_seed, tensor_of,
};
use crate::config::TrainConfig;
use crate::loss::ContrastiveConfig;
use crate::model::Answer;
use crate::model::{Model, Predict, Predicted, StepLoss, TextInput, token_ids};
use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// The texts that pass through the network together.
const GROUP_SIZE: usize = 16;

/// LDGN in training.
pub(crate) struct LdgnModel {
    settings: LdgnConfig,
    contrastive: ContrastiveConfig,
    seed: u64,
    label_graph: Array2<f32>,
    label_graph_there: Tensor<2>,
    weights: TrainingWeights,
    device: Device,
}

/// A trained LDGN.
pub(crate) struct TrainedLdgn {
    weights: Weights,
    label_graph: Array2<f32>,
    normalize: bool,
    device: Device,
}

impl LdgnModel {
    /// Makes a model with random parameters.
    ///
    /// `token_table` starts the embedding, [V, D]; without one it is random with `n_tokens` rows.
    /// The graph of the L labels, and how often each is expected, are those of the training texts'
    /// `labels`.
    pub(crate) fn new(
        settings: &LdgnConfig,
        config: &TrainConfig,
        n_tokens: usize,
        labels: &[LabelSet],
        n_labels: usize,
        token_table: Option<Array2<f32>>,
        device: Device,
    ) -> Self {
        let label_graph = label_graph(labels, n_labels);
        let bias = prior_bias(labels, n_labels);
        let weights = weights::random(settings, n_tokens, bias, token_table, config.seed);
        LdgnModel {
            settings: settings.clone(),
            contrastive: config.contrastive,
            seed: config.seed,
            label_graph_there: tensor_of(&label_graph, &device),
            label_graph,
            weights: TrainingWeights::new(&weights, config.averaging, &device),
            device,
        }
    }

    fn trained(&self, weights: Weights) -> TrainedLdgn {
        TrainedLdgn {
            weights,
            label_graph: self.label_graph.clone(),
            normalize: self.settings.normalize,
            device: self.device.clone(),
        }
    }
}

impl Model for LdgnModel {
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let LdgnConfig { embedding_dropout, dropout, normalize, adam, .. } = self.settings;
        let seed = step_seed(self.seed, self.weights.optimizer.n_steps());
        let regularization =
            |group| Regularization { embedding_dropout, dropout, seed: group_seed(seed, group) };
        let (label_graph, device) = (&self.label_graph_there, &self.device);
        let pace = |_: &str| Pace { rate: rate * adam.learning_rate, decay: 0.0 };
        let answer = |weights: &_, texts: &[&[u32]], group| {
            let network = Network { weights, label_graph, normalize };
            network.answer(&Batch::new(texts, device), &regularization(group))
        };
        let losses = (&self.contrastive, &adam);
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

impl Predict for TrainedLdgn {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        let (label_graph, normalize) =
            (&tensor_of(&self.label_graph, &self.device), self.normalize);
        let device = &self.device;
        predict_by_length(&self.weights, device, &token_ids(texts), GROUP_SIZE, |weights, texts| {
            let network = Network { weights, label_graph, normalize };
            network.answer(&Batch::new(texts, device), &Regularization::default())
        })
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        export::write(graph, &self.weights, &self.label_graph, self.normalize)
    }

    fn state(&self) -> State<'_> {
        Parameters::state(&self.weights)
    }
}

use burn::tensor::{Device, Tensor};
use ndarray::Array2;

use autotag::LabelSet;
use autotag_onnx::ModelInput;
use autotag_onnx::graph::GraphBuilder;

use super::batch::Batch;
use super::export;
use super::forward::{Network, Regularization};
use super::label_graph::label_graph;
use super::weights;
use crate::TrainConfig;
use crate::autodiff::{
    Pace, TrainingWeights, Weights, group_seed, predict_by_length, prior_bias, step_seed, tensor_of,
};
use crate::model::Answer;
use crate::model::{Model, Predict, Predicted, StepLoss};
use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// The texts that pass through the network together.
const GROUP_SIZE: usize = 16;

/// LDGN in training.
pub(crate) struct LdgnModel<'a> {
    config: &'a TrainConfig,
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

impl<'a> LdgnModel<'a> {
    /// Makes a model with random parameters.
    ///
    /// `token_table` starts the embedding, [V, D]; without one it is random with `n_tokens` rows.
    /// The graph of the L labels, and how often each is expected, are those of the training texts'
    /// `labels`.
    pub(crate) fn new(
        config: &'a TrainConfig,
        n_tokens: usize,
        labels: &[LabelSet],
        n_labels: usize,
        token_table: Option<Array2<f32>>,
        device: Device,
    ) -> Self {
        let label_graph = label_graph(labels, n_labels);
        let bias = prior_bias(labels, n_labels);
        let weights = weights::random(&config.ldgn, n_tokens, bias, token_table, config.seed);
        LdgnModel {
            config,
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
            normalize: self.config.ldgn.normalize,
            device: self.device.clone(),
        }
    }
}

impl Model for LdgnModel<'_> {
    type Input = ModelInput;
    type Snapshot = TrainedLdgn;

    fn step(&mut self, texts: &[&ModelInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let TrainConfig { ldgn, adam, seed, .. } = self.config;
        let seed = step_seed(*seed, self.weights.optimizer.n_steps());
        let regularization = |group| Regularization {
            embedding_dropout: ldgn.embedding_dropout,
            dropout: ldgn.dropout,
            seed: group_seed(seed, group),
        };
        let (label_graph, device) = (&self.label_graph_there, &self.device);
        let pace = |_: &str| Pace { rate: rate * adam.learning_rate, decay: 0.0 };
        let answer = |weights: &_, texts: &[&[u32]], group| {
            let network = Network { weights, label_graph, normalize: ldgn.normalize };
            network.answer(&Batch::new(texts, device), &regularization(group))
        };
        self.weights.step(self.config, texts, labels, GROUP_SIZE, answer, pace)
    }

    fn snapshot(&mut self, _: f32) -> TrainedLdgn {
        let weights = self.weights.snapshot();
        self.trained(weights)
    }

    fn state(&self) -> State<'_> {
        self.weights.state()
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.weights.restore(state)
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<TrainedLdgn, StateError> {
        Ok(self.trained(self.weights.restore_snapshot(state)?))
    }
}

impl Predict for TrainedLdgn {
    type Input = ModelInput;

    fn predict(&self, texts: &[&ModelInput]) -> Predicted {
        let (label_graph, normalize) =
            (&tensor_of(&self.label_graph, &self.device), self.normalize);
        let device = &self.device;
        predict_by_length(&self.weights, device, texts, GROUP_SIZE, |weights, texts| {
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

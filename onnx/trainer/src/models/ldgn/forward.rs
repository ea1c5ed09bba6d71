use burn::tensor::Tensor;
use burn::tensor::activation::{leaky_relu, sigmoid, softmax};

use super::batch::Batch;
use super::lstm::lstm;
use super::weights::{
    DIRECTIONS, DYNAMIC_GRAPH, EMBEDDING, GATES_BIAS, GIVES, INPUT, OUTPUT, OUTPUT_BIAS, QUERIES,
    RECURRENT, STATIC_GRAPH, TAKES, of,
};
use crate::autodiff::{Answer, DeviceWeights, dropout, normalized_rows};

/// The negative slope of a graph's leaky ReLU.
pub(super) const SLOPE: f32 = 0.2;

/// Regularization of a forward pass, in training only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Regularization {
    /// The share of a distinct token's embedding that is dropped.
    pub(super) embedding_dropout: f32,
    /// The share of label vectors that is dropped.
    pub(super) dropout: f32,
    /// The seed of the dropout masks.
    pub(super) seed: u64,
}

/// The model: its weights on a device, and the graph of labels, [L, L].
pub(super) struct Network<'a> {
    pub(super) weights: &'a DeviceWeights,
    pub(super) label_graph: &'a Tensor<2>,
    pub(super) normalize: bool,
}

impl Network<'_> {
    /// Represents and scores a batch.
    pub(super) fn answer(&self, batch: &Batch, regularization: &Regularization) -> Answer {
        let &Regularization { embedding_dropout, dropout: share, seed } = regularization;
        let embedded = self.weights.get(EMBEDDING).select(0, batch.tokens.clone());
        let embedded = dropout(embedded, embedding_dropout, seed);
        let states = self.states(embedded, batch);
        let own = self.attended(states, batch);
        let own = dropout(own, share, seed.wrapping_add(1));
        let by_set = self.over_label_graph(own);
        let by_text = self.over_text_graph(dropout(by_set.clone(), share, seed.wrapping_add(2)));
        let joined = Tensor::cat(vec![by_set, by_text], 2);
        let representations = joined.clone().max_dim(1).squeeze_dim(1);
        let joined = dropout(joined, share, seed.wrapping_add(3));
        let scored = joined * self.weights.get(OUTPUT).unsqueeze_dim(0);
        let logits = scored.sum_dim(2).squeeze_dim(2) + self.weights.get(OUTPUT_BIAS);
        let normalize = |x| if self.normalize { normalized_rows(x) } else { x };
        Answer { representations: normalize(representations), logits }
    }

    /// Reads the texts in both directions: [B, T, 2 H].
    ///
    /// Each distinct token is multiplied by the input weights once.
    fn states(&self, embedded: Tensor<2>, batch: &Batch) -> Tensor<3> {
        let multiplied = DIRECTIONS.map(|direction| {
            let part = |part| self.weights.get(&of(direction, part));
            embedded.clone().matmul(part(INPUT)) + part(GATES_BIAS)
        });
        let inputs = Tensor::cat(multiplied.to_vec(), 0).select(0, batch.read.clone());
        let &Batch { n_texts, length, .. } = batch;
        let [_, n_gates] = inputs.dims();
        let recurrent = DIRECTIONS
            .map(|direction| self.weights.get(&of(direction, RECURRENT)).unsqueeze_dim::<3>(0));
        let recurrent = Tensor::cat(recurrent.to_vec(), 0);
        let states = lstm(inputs.reshape([length, 2, n_texts, n_gates]), &recurrent);
        let n_state = n_gates / 4;
        let states: Tensor<2> = states.reshape([length * 2 * n_texts, n_state]);
        let directions =
            [&batch.forward, &batch.backward].map(|rows| states.clone().select(0, rows.clone()));
        Tensor::cat(directions.to_vec(), 1).reshape([n_texts, length, 2 * n_state])
    }

    /// Attends with each label's query to the states: [B, L, 2 H].
    ///
    /// `a_tl = softmax_t(h_t . q_l)`, `u_l = sum_t a_tl h_t`.
    fn attended(&self, states: Tensor<3>, batch: &Batch) -> Tensor<3> {
        let queries = self.weights.get(QUERIES).transpose().unsqueeze_dim(0);
        let attention = states.clone().matmul(queries) + batch.padding.clone();
        softmax(attention, 1).transpose().matmul(states)
    }

    /// Convolves over the graph of labels that occur together: [B, L, G].
    fn over_label_graph(&self, own: Tensor<3>) -> Tensor<3> {
        let given = own.matmul(self.weights.get(STATIC_GRAPH).unsqueeze_dim(0));
        let graph = self.label_graph.clone().unsqueeze_dim(0);
        leaky_relu(graph.matmul(given), SLOPE.into())
    }

    /// Convolves over the graph of labels that are similar in this text: [B, L, G].
    ///
    /// `A = sigmoid((x P)(x Q)^T / sqrt(G))`; the graph is `D^-1/2 A D^-1/2`, where D holds the sums
    /// of A's rows.
    fn over_text_graph(&self, x: Tensor<3>) -> Tensor<3> {
        let times = |name| x.clone().matmul(self.weights.get(name).unsqueeze_dim(0));
        let [_, _, n_values] = x.dims();
        let alike = times(GIVES).matmul(times(TAKES).transpose()) / (n_values as f32).sqrt();
        let graph = sigmoid(alike);
        let root = graph.clone().sum_dim(2).sqrt();
        let heard = graph.matmul(times(DYNAMIC_GRAPH) / root.clone()) / root;
        leaky_relu(heard, SLOPE.into())
    }
}

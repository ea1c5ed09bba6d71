use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::LdgnConfig;
use crate::autodiff::Weights;
use crate::init::{glorot, uniform};
use crate::rows::RowMajor as _;

/// E: [V, D]. Row 0 is padding's.
pub(super) const EMBEDDING: &str = "token_table";
/// The LSTM's two directions.
pub(super) const DIRECTIONS: [&str; 2] = ["forward", "backward"];
/// Each direction's W: [D, 4 H], in the order i, o, f, c.
pub(super) const INPUT: &str = "input";
/// Each direction's R: [H, 4 H].
pub(super) const RECURRENT: &str = "recurrent";
/// Each direction's bias: [1, 4 H].
pub(super) const GATES_BIAS: &str = "bias";
/// Each label's query: [L, 2 H].
pub(super) const QUERIES: &str = "queries";
/// W of the graph over the training set's labels: [2 H, G].
pub(super) const STATIC_GRAPH: &str = "static_graph";
/// The two projections, P and Q, of the text's own graph: both [G, G].
pub(super) const GIVES: &str = "gives";
pub(super) const TAKES: &str = "takes";
/// W of the text's own graph: [G, G].
pub(super) const DYNAMIC_GRAPH: &str = "dynamic_graph";
/// Each label's weights for its joined vectors: [L, 2 G].
pub(super) const OUTPUT: &str = "output";
/// [1, L].
pub(super) const OUTPUT_BIAS: &str = "output_bias";

/// Names a part of one of the LSTM's directions.
pub(super) fn of(direction: &str, part: &str) -> String {
    format!("lstm.{direction}.{part}")
}

/// Draws the parameters to start from; `token_table` starts the embedding, `output_bias` [1, L] the
/// last layer's bias.
pub(super) fn random(
    config: &LdgnConfig,
    n_tokens: usize,
    output_bias: Array2<f32>,
    token_table: Option<Array2<f32>>,
    seed: u64,
) -> Weights {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let &LdgnConfig { lstm, graph, .. } = config;
    let n_labels = output_bias.ncols();
    let mut embedding = token_table.unwrap_or_else(|| {
        uniform(&mut rng, n_tokens, config.embedding_dimensions, 3f32.sqrt() * 0.1)
    });
    embedding.row_slice_mut(0).fill(0.0);
    let mut weights = Weights::default();
    for direction in DIRECTIONS {
        let input = glorot(&mut rng, embedding.ncols(), 4 * lstm);
        weights.insert(of(direction, INPUT), input);
        let recurrent = uniform(&mut rng, lstm, 4 * lstm, (lstm as f32).sqrt().recip());
        weights.insert(of(direction, RECURRENT), recurrent);
        let mut bias = Array2::zeros((1, 4 * lstm));
        // An open forget gate lets a gradient through many steps.
        bias.row_slice_mut(0)[2 * lstm..3 * lstm].fill(1.0);
        weights.insert(of(direction, GATES_BIAS), bias);
    }
    weights.insert(EMBEDDING, embedding);
    weights.insert(QUERIES, glorot(&mut rng, n_labels, 2 * lstm));
    weights.insert(STATIC_GRAPH, glorot(&mut rng, 2 * lstm, graph));
    weights.insert(GIVES, glorot(&mut rng, graph, graph));
    weights.insert(TAKES, glorot(&mut rng, graph, graph));
    weights.insert(DYNAMIC_GRAPH, glorot(&mut rng, graph, graph));
    weights.insert(
        OUTPUT,
        uniform(&mut rng, n_labels, 2 * graph, (2.0 * graph as f32).sqrt().recip()),
    );
    weights.insert(OUTPUT_BIAS, output_bias);
    weights
}

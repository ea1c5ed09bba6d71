//! Encoder and adapter as one ONNX graph.

use autotag_onnx::graph::{GraphBuilder, Value};

use super::{AdapterNetwork, AdapterParameters, input_scale};
use crate::layers::write_output;

impl AdapterNetwork {
    /// Writes the adapter behind an encoder's representation of length 1, [batch, D], and the
    /// outputs `embedding` [batch, R] and `scores` [batch, L].
    ///
    /// The factor sqrt(D) is multiplied into W.
    pub fn write(&self, graph: &mut GraphBuilder, encoded: &Value) {
        let AdapterParameters { hidden, hidden_bias, output, output_bias } = &self.parameters;
        let (n_hidden, dimensions) = (hidden.n_rows(), hidden.n_cols());
        let scale = input_scale(dimensions);
        let weights: Vec<f32> = hidden.values().iter().map(|value| scale * value).collect();
        let weights = graph.constant_f32("hidden", &[n_hidden, dimensions], &weights);
        let bias = graph.constant_f32("hidden_bias", &[n_hidden], hidden_bias.values());
        let hidden = graph.gemm_transposed(encoded, &weights, &bias);
        let hidden = graph.relu(&hidden);
        write_output(graph, &hidden, output, output_bias, self.config.normalize);
    }
}

//! Encoder and adapter as one ONNX graph.

use autotag_onnx::graph::{GraphBuilder, Value};

use super::{AdapterNetwork, AdapterParameters, input_scale};
use crate::layers::{OutputLayer, write_answer};
use crate::model::Answer;
use crate::rows::RowMajor as _;

impl AdapterNetwork {
    /// Writes the adapter behind an encoder's representation of length 1, [batch, D], which is in
    /// the graph already.
    ///
    /// The factor sqrt(D) is multiplied into W.
    pub(super) fn write(&self, graph: &mut GraphBuilder, encoded: &Value) -> Answer {
        let AdapterParameters { hidden, hidden_bias, output, output_bias } = &self.parameters;
        let (n_hidden, dimensions) = hidden.dim();
        let weights = input_scale(dimensions) * hidden;
        let shape = [n_hidden, dimensions];
        let weights = graph.constant_f32("adapter_hidden", &shape, weights.values());
        let bias = hidden_bias.to_vec();
        let bias = graph.constant_f32("adapter_hidden_bias", &[n_hidden], &bias);
        let hidden = graph.gemm_transposed(encoded, &weights, &bias);
        let hidden = graph.relu(&hidden);
        let layer = OutputLayer { output, bias: output_bias };
        write_answer(graph, "adapter", &hidden, &layer, self.config.normalize)
    }
}

//! Encoder and adapter as one ONNX graph.

use autotag_onnx::graph::{GraphBuilder, Value};

use super::{AdapterNetwork, AdapterParameters, input_scale};
use crate::layers::{OutputLayer, write_answer};
use crate::model::Answer;

impl AdapterNetwork {
    /// Writes the adapter behind an encoder's representation of length 1, [batch, D], which is in
    /// the graph already.
    ///
    /// The factor sqrt(D) is multiplied into W.
    pub(super) fn write(&self, graph: &mut GraphBuilder, encoded: &Value) -> Answer {
        let AdapterParameters { hidden, hidden_bias, output, output_bias } = &self.parameters;
        let (n_hidden, dimensions) = (hidden.n_rows(), hidden.n_cols());
        let scale = input_scale(dimensions);
        let weights: Vec<f32> = hidden.values().iter().map(|value| scale * value).collect();
        let weights = graph.constant_f32("adapter_hidden", &[n_hidden, dimensions], &weights);
        let bias = hidden_bias.values();
        let bias = graph.constant_f32("adapter_hidden_bias", &[n_hidden], bias);
        let hidden = graph.gemm_transposed(encoded, &weights, &bias);
        let hidden = graph.relu(&hidden);
        let layer = OutputLayer { output, bias: output_bias };
        write_answer(graph, "adapter", &hidden, &layer, self.config.normalize)
    }
}

//! The wide model as an ONNX graph.

use autotag_onnx::graph::{Dim, GraphBuilder, Reduced};
use autotag_onnx::proto::ElementType;

use super::{WideNetwork, WideParameters};
use crate::layers::{Answer, OutputLayer, finish, write_answer};

impl WideNetwork {
    /// Writes the model with inputs `feature_ids` int64 and `feature_weights` float32
    /// [batch, features], and outputs `embedding` [batch, R] and `scores` [batch, L].
    ///
    /// An n-gram of weight 0 is padding.
    pub fn to_onnx(&self) -> Vec<u8> {
        let mut graph = GraphBuilder::new("wide");
        let answer = self.write(&mut graph);
        let output = &self.parameters.output;
        finish(graph, &answer, output.n_cols(), output.n_rows())
    }

    /// Writes the model into a graph, its inputs included.
    pub(crate) fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let WideParameters { table, output, output_bias } = &self.parameters;
        let shape = [Dim::Symbol("batch"), Dim::Symbol("features")];
        let ids = graph.input("feature_ids", ElementType::Int64, &shape);
        let weights = graph.input("feature_weights", ElementType::Float, &shape);
        let table =
            graph.constant_f32("wide_table", &[table.n_rows(), table.n_cols()], table.values());
        let rows = graph.gather(&table, &ids, 0);
        let weights = graph.unsqueeze(&weights, &[2]);
        let rows = graph.mul(&rows, &weights);
        let sums = graph.reduce_sum(&rows, &[1], Reduced::Dropped);
        let hidden = graph.relu(&sums);
        let layer = OutputLayer { output, bias: output_bias };
        write_answer(graph, "wide", &hidden, &layer, self.config.normalize)
    }
}

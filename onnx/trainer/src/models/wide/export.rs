//! The wide model as an ONNX graph.

use half::f16;

use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;

use super::{WideNetwork, WideParameters};
use crate::layers::{OutputLayer, normalized, write_answer, write_side_by_side};
use crate::model::Answer;
use crate::model::Lexical;
use crate::rows::RowMajor as _;

impl WideNetwork {
    /// Writes the model with inputs `feature_ids` int64 and `feature_weights` float32
    /// [batch, features]: its answer is a representation [batch, R + D] and scores [batch, L].
    ///
    /// An n-gram of weight 0 is padding.
    pub(crate) fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let (mut answer, lexical) = self.write_parts(graph);
        if let Some(Lexical { part, share }) = lexical {
            let parts = [((1.0 - share).sqrt(), &answer.embedding), (share.sqrt(), &part)];
            answer.embedding = write_side_by_side(graph, &parts);
        }
        answer
    }

    /// Writes the model, with the parts of the representation apart.
    pub(crate) fn write_parts(&self, graph: &mut GraphBuilder) -> (Answer, Option<Lexical<Value>>) {
        let WideParameters { table, output, output_bias } = &self.parameters;
        let shape = [Dim::Symbol("batch"), Dim::Symbol("features")];
        let ids = graph.input("feature_ids", ElementType::Int64, &shape);
        let weights = graph.input("feature_weights", ElementType::Float, &shape);
        let weights = graph.unsqueeze(&weights, &[2]);
        let shape = [table.nrows(), table.ncols()];
        let table = graph.constant_f32("wide_table", &shape, table.values());
        let rows = graph.gather(&table, &ids, 0);
        let sums = weighted_sum(graph, &rows, &weights);
        let hidden = graph.relu(&sums);
        let layer = OutputLayer { output, bias: output_bias };
        let answer = write_answer(graph, "wide", &hidden, &layer, self.config.normalize);
        let lexical = (self.config.lexical > 0).then(|| Lexical {
            part: self.write_lexical(graph, &ids, &weights),
            share: self.config.lexical_share,
        });
        (answer, lexical)
    }

    /// Writes g; the basis has the precision that it is stored in.
    fn write_lexical(&self, graph: &mut GraphBuilder, ids: &Value, weights: &Value) -> Value {
        let basis = &self.lexical;
        let bits: Vec<u16> = basis.iter().map(|&value| f16::from_f32(value).to_bits()).collect();
        let shape = [basis.nrows(), basis.ncols()];
        let basis = graph.constant_f16("wide_lexical", &shape, &bits);
        let rows = graph.gather(&basis, ids, 0);
        let rows = graph.cast(&rows, ElementType::Float);
        let sums = weighted_sum(graph, &rows, weights);
        normalized(graph, &sums)
    }
}

/// Sums rows [batch, features, n] with weights [batch, features, 1]: [batch, n].
fn weighted_sum(graph: &mut GraphBuilder, rows: &Value, weights: &Value) -> Value {
    let rows = graph.mul(rows, weights);
    graph.reduce_sum(&rows, &[1], Reduced::Dropped)
}

//! The wide model as an ONNX graph.

use autotag_onnx::QuantizedTable;
use autotag_onnx::graph::{Dim, GraphBuilder, Value};
use autotag_onnx::proto::ElementType;

use super::config::table_format;
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
        let table = QuantizedTable::new(table.values(), table_format(table.ncols()));
        let sums = graph.embedding_bag("wide_table", &table, &ids, &weights);
        let hidden = graph.relu(&sums);
        let layer = OutputLayer { output, bias: output_bias };
        let answer = write_answer(graph, "wide", &hidden, &layer, self.config.normalize);
        let lexical = (self.config.lexical > 0).then(|| Lexical {
            part: self.write_lexical(graph, &ids, &weights),
            share: self.config.lexical_share,
        });
        (answer, lexical)
    }

    /// Writes g.
    fn write_lexical(&self, graph: &mut GraphBuilder, ids: &Value, weights: &Value) -> Value {
        let basis = QuantizedTable::new(self.lexical.values(), table_format(self.lexical.ncols()));
        let sums = graph.embedding_bag("wide_lexical", &basis, ids, weights);
        normalized(graph, &sums)
    }
}

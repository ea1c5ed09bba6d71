use ndarray::Array2;

use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;

use super::batch::MASKED;
use super::forward::SLOPE;
use super::weights::{
    DIRECTIONS, DYNAMIC_GRAPH, EMBEDDING, GATES_BIAS, GIVES, INPUT, OUTPUT, OUTPUT_BIAS, QUERIES,
    RECURRENT, STATIC_GRAPH, TAKES, of,
};
use crate::autodiff::Weights;
use crate::layers::normalized;
use crate::model::Answer;
use crate::rows::RowMajor as _;

/// Writes the model with inputs `input_ids` and `attention_mask`, int64 [batch, length].
///
/// The LSTM is told each text's length: without it the second direction would begin in the padding.
pub(super) fn write(
    graph: &mut GraphBuilder,
    weights: &Weights,
    label_graph: &Array2<f32>,
    normalize: bool,
) -> Answer {
    let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
    let ids = graph.input("input_ids", ElementType::Int64, &shape);
    let mask = graph.input("attention_mask", ElementType::Int64, &shape);
    let mut writer = Writer { graph, weights };
    let states = writer.states(&ids, &mask);
    let own = writer.attended(&states, &mask);
    let by_set = writer.over_label_graph(&own, label_graph);
    let by_text = writer.over_text_graph(&by_set);
    writer.answer(&by_set, &by_text, normalize)
}

struct Writer<'a> {
    graph: &'a mut GraphBuilder,
    weights: &'a Weights,
}

impl Writer<'_> {
    /// Reads the texts in both directions: [batch, length, 2 H].
    fn states(&mut self, ids: &Value, mask: &Value) -> Value {
        let table = self.constant(EMBEDDING);
        let embedded = self.graph.gather(&table, ids, 0);
        let steps = self.graph.transpose(&embedded, &[1, 0, 2]);
        let n_state = self.weights.get(&of(DIRECTIONS[0], RECURRENT)).nrows();
        let n_dimensions = self.weights.get(EMBEDDING).ncols();
        let input = self.both_directions(INPUT, &[2, 4 * n_state, n_dimensions]);
        let recurrent = self.both_directions(RECURRENT, &[2, 4 * n_state, n_state]);
        let bias = self.bias(n_state);
        let lengths = self.graph.reduce_sum(mask, &[1], Reduced::Dropped);
        let lengths = self.graph.cast(&lengths, ElementType::Int32);
        let inputs = [&steps, &input, &recurrent, &bias, &lengths];
        let states = self.graph.lstm(inputs, n_state);
        let states = self.graph.transpose(&states, &[2, 0, 1, 3]);
        self.graph.reshape(&states, &[0, 0, 2 * n_state as i64])
    }

    /// Joins what both directions have of one part, as rows per gate.
    fn both_directions(&mut self, part: &str, shape: &[usize; 3]) -> Value {
        let values: Vec<f32> = DIRECTIONS
            .iter()
            .flat_map(|direction| turned(self.weights.get(&of(direction, part))))
            .collect();
        self.graph.constant_f32(part, shape, &values)
    }

    /// ONNX has two biases, which are added: the second is zero.
    fn bias(&mut self, n_state: usize) -> Value {
        let mut values = Vec::with_capacity(16 * n_state);
        for direction in DIRECTIONS {
            values.extend_from_slice(self.weights.get(&of(direction, GATES_BIAS)).values());
            values.resize(values.len() + 4 * n_state, 0.0);
        }
        self.graph.constant_f32(GATES_BIAS, &[2, 8 * n_state], &values)
    }

    /// Attends with each label's query to the states: [batch, L, 2 H].
    fn attended(&mut self, states: &Value, mask: &Value) -> Value {
        let queries = self.weights.get(QUERIES);
        let shape = [queries.ncols(), queries.nrows()];
        let queries = self.graph.constant_f32(QUERIES, &shape, &turned(queries));
        let attention = self.graph.matmul(states, &queries);
        let padding = self.padding(mask);
        let attention = self.graph.add(&attention, &padding);
        let attention = self.graph.softmax(&attention, 1);
        let attention = self.graph.transpose(&attention, &[0, 2, 1]);
        self.graph.matmul(&attention, states)
    }

    /// Makes 0 at tokens and [`MASKED`] at padding: [batch, length, 1].
    fn padding(&mut self, mask: &Value) -> Value {
        let mask = self.graph.cast(mask, ElementType::Float);
        let one = self.graph.scalar(1.0);
        let masked = self.graph.scalar(MASKED);
        let padding = self.graph.sub(&one, &mask);
        let padding = self.graph.mul(&padding, &masked);
        self.graph.unsqueeze(&padding, &[2])
    }

    /// Convolves over the graph of labels that occur together: [batch, L, G].
    fn over_label_graph(&mut self, own: &Value, label_graph: &Array2<f32>) -> Value {
        let given = self.times(own, STATIC_GRAPH);
        let label_graph = self.matrix("label_graph", label_graph);
        let heard = self.graph.matmul(&label_graph, &given);
        self.graph.leaky_relu(&heard, SLOPE)
    }

    /// Convolves over the graph of labels that are similar in this text: [batch, L, G].
    fn over_text_graph(&mut self, x: &Value) -> Value {
        let (gives, takes) = (self.times(x, GIVES), self.times(x, TAKES));
        let takes = self.graph.transpose(&takes, &[0, 2, 1]);
        let alike = self.graph.matmul(&gives, &takes);
        let root_of_values = (self.weights.get(GIVES).ncols() as f32).sqrt();
        let root_of_values = self.graph.scalar(root_of_values);
        let alike = self.graph.div(&alike, &root_of_values);
        let text_graph = self.graph.sigmoid(&alike);
        let sums = self.graph.reduce_sum(&text_graph, &[2], Reduced::Kept);
        let root = self.graph.sqrt(&sums);
        let given = self.times(x, DYNAMIC_GRAPH);
        let given = self.graph.div(&given, &root);
        let heard = self.graph.matmul(&text_graph, &given);
        let heard = self.graph.div(&heard, &root);
        self.graph.leaky_relu(&heard, SLOPE)
    }

    /// Joins each label's vectors, scores it, and represents the text by their maximum.
    fn answer(&mut self, by_set: &Value, by_text: &Value, normalize: bool) -> Answer {
        let joined = self.graph.concat(&[by_set, by_text], 2);
        let output = self.constant(OUTPUT);
        let scored = self.graph.mul(&joined, &output);
        let logits = self.graph.reduce_sum(&scored, &[2], Reduced::Dropped);
        let bias = self.constant(OUTPUT_BIAS);
        let logits = self.graph.add(&logits, &bias);
        let scores = self.graph.sigmoid(&logits);
        let highest = self.graph.reduce_max(&joined, &[1], Reduced::Dropped);
        let embedding = if normalize { normalized(self.graph, &highest) } else { highest };
        Answer { embedding, scores }
    }

    fn times(&mut self, x: &Value, name: &str) -> Value {
        let weights = self.constant(name);
        self.graph.matmul(x, &weights)
    }

    fn constant(&mut self, name: &str) -> Value {
        self.matrix(name, self.weights.get(name))
    }

    fn matrix(&mut self, name: &str, matrix: &Array2<f32>) -> Value {
        self.graph.constant_f32(name, &[matrix.nrows(), matrix.ncols()], matrix.values())
    }
}

/// Returns the transposed matrix's values.
fn turned(matrix: &Array2<f32>) -> Vec<f32> {
    let columns = 0..matrix.ncols();
    columns.flat_map(|column| (0..matrix.nrows()).map(move |row| matrix[[row, column]])).collect()
}

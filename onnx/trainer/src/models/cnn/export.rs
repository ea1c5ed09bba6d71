//! The CNN as an ONNX graph, folded or plain.
//!
//! Both forms are batch-invariant and have the windows that `tokens.rs` defines: a window counts when the
//! mask has its last token, and the first one counts always.

use autotag_onnx::QuantizedTable;
use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;
use ndarray::s;

use super::forward::widest;
use super::{CnnParameters, Folded, Network};
use crate::layers::{OutputLayer, write_answer};
use crate::model::Answer;
use crate::rows::RowMajor as _;

/// Added to a window that does not count.
const EXCLUDED: f32 = -1e30;

const TO_THE_END: i64 = i64::MAX;

impl Folded<'_> {
    /// Writes the model with inputs `input_ids` and `attention_mask`, int64 [batch, length]: its answer
    /// is a representation [batch, R] and scores [batch, L].
    ///
    /// Each width has a table, [V, width filters], whose rows' slices are summed over a window.
    pub(super) fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let [ids, mask] = inputs(graph);
        let config = &self.network().config;
        let mut pooled = Vec::with_capacity(config.widths.len());
        for (&width, start) in config.widths.iter().zip(config.slice_starts()) {
            let columns = start..start + width * config.filters;
            let table = self.table().slice(s![.., columns]).as_standard_layout().into_owned();
            let name = format!("width_{width}");
            let table = QuantizedTable::new(table.values(), config.table_format(width));
            pooled.push(graph.window_max(&name, &table, &ids, &mask));
        }
        self.network().answer(graph, &pooled)
    }
}

impl Network {
    /// Writes the model as [`Folded::write`] does, with embedding and convolution apart.
    pub(super) fn write_plain(&self, graph: &mut GraphBuilder) -> Answer {
        let texts = Texts::new(graph, widest(&self.config));
        let pooled = self.pool_plain(graph, &texts);
        self.answer(graph, &pooled)
    }

    /// Writes the convolution of the embedded tokens.
    fn pool_plain(&self, graph: &mut GraphBuilder, texts: &Texts) -> Vec<Value> {
        let embedding = &self.parameters.embedding;
        let shape = [embedding.nrows(), embedding.ncols()];
        let table = graph.constant_f32("token_table", &shape, embedding.values());
        let embedded = graph.gather(&table, &texts.padded_ids, 0);
        let embedded = graph.transpose(&embedded, &[0, 2, 1]);
        let (zero, excluded) = (graph.scalar(0.0), graph.scalar(EXCLUDED));
        let no_bias =
            graph.constant_f32("no_bias", &[self.config.filters], &vec![0.0; self.config.filters]);
        let mut pooled = Vec::with_capacity(self.config.widths.len());
        for (&width, start) in self.config.widths.iter().zip(self.config.slice_starts()) {
            let shape = [self.config.filters, embedding.ncols(), width];
            let kernel = self.convolution_kernel(width, start);
            let kernel = graph.constant_f32(&format!("kernel_{width}"), &shape, &kernel);
            let convolved = graph.conv1d(&embedded, &kernel, &no_bias);
            let convolved = texts.first_windows(graph, &convolved, width);
            let is_within = texts.counting_windows(graph, width);
            let penalty = graph.where_(&is_within, &zero, &excluded);
            let penalty = graph.unsqueeze(&penalty, &[1]);
            let windows = graph.add(&convolved, &penalty);
            pooled.push(graph.reduce_max(&windows, &[2], Reduced::Dropped));
        }
        pooled
    }

    /// Orders one width's slices as ONNX's Conv has them: [filter, dimension, offset].
    fn convolution_kernel(&self, width: usize, start: usize) -> Vec<f32> {
        let (n_filters, kernel) = (self.config.filters, &self.parameters.kernel);
        let mut values = Vec::with_capacity(width * n_filters * kernel.ncols());
        for filter in start..start + n_filters {
            for dimension in 0..kernel.ncols() {
                let slices = (0..width).map(|offset| filter + offset * n_filters);
                values.extend(slices.map(|slice| kernel[[slice, dimension]]));
            }
        }
        values
    }

    /// Adds bias and ReLU, the output layer, and the normalization where it was trained.
    fn answer(&self, graph: &mut GraphBuilder, pooled: &[Value]) -> Answer {
        let pooled = graph.concat(&pooled.iter().collect::<Vec<_>>(), 1);
        let n_filters = self.config.n_filters();
        let bias = self.parameters.kernel_bias.to_vec();
        let bias = graph.constant_f32("kernel_bias", &[n_filters], &bias);
        let hidden = graph.add(&pooled, &bias);
        let hidden = graph.relu(&hidden);
        let CnnParameters { output, output_bias, .. } = &self.parameters;
        let layer = OutputLayer { output, bias: output_bias };
        write_answer(graph, "cnn", &hidden, &layer, self.config.normalize)
    }
}

fn inputs(graph: &mut GraphBuilder) -> [Value; 2] {
    let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
    ["input_ids", "attention_mask"].map(|name| graph.input(name, ElementType::Int64, &shape))
}

/// The inputs, padded by as many tokens as the widest window may reach beyond a text.
struct Texts {
    mask: Value,
    padded_ids: Value,
    padded_mask: Value,
    widest: i64,
}

impl Texts {
    fn new(graph: &mut GraphBuilder, widest: usize) -> Self {
        let [ids, mask] = inputs(graph);
        let ids = graph.mul(&ids, &mask);
        let pads = [0, 0, 0, widest as i64 - 1];
        let zero = graph.constant_i64("padding", &[], &[0]);
        Texts {
            padded_ids: graph.pad(&ids, &pads, &zero),
            padded_mask: graph.pad(&mask, &pads, &zero),
            mask,
            widest: widest as i64,
        }
    }

    /// Returns the mask of the windows that count, by their first position: bool [batch, length].
    fn counting_windows(&self, graph: &mut GraphBuilder, width: usize) -> Value {
        let width = width as i64;
        let first = graph.slice(&self.mask, &[0], &[1], &[1]);
        let end = self.end(self.widest - width);
        let rest = graph.slice(&self.padded_mask, &[width], &[end], &[1]);
        let counts = graph.concat(&[&first, &rest], 1);
        graph.cast(&counts, ElementType::Bool)
    }

    /// Cuts a width's convolution to the windows that begin within the inputs' length.
    fn first_windows(&self, graph: &mut GraphBuilder, convolved: &Value, width: usize) -> Value {
        let end = self.end(self.widest - width as i64);
        graph.slice(convolved, &[0], &[end], &[2])
    }

    /// Returns the end of a slice that leaves out the last `n` positions.
    fn end(&self, n: i64) -> i64 {
        if n == 0 { TO_THE_END } else { -n }
    }
}

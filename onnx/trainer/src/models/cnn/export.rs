//! The CNN as an ONNX graph, folded or plain.
//!
//! Both forms are batch-invariant and have the windows that `tokens.rs` defines: a window counts when the
//! mask has its last token, and the first one counts always.

use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;
use ndarray::s;

use super::config::GraphForm;
use super::forward::widest;
use super::{CnnConfig, CnnParameters, Network};
use crate::layers::{OutputLayer, write_answer};
use crate::model::Answer;
use crate::rows::RowMajor as _;

/// Added to a window that does not count.
const EXCLUDED: f32 = -1e30;

const TO_THE_END: i64 = i64::MAX;

impl Network {
    /// Writes the model with inputs `input_ids` and `attention_mask`, int64 [batch, length]: its answer
    /// is a representation [batch, R] and scores [batch, L].
    pub(crate) fn write(&self, graph: &mut GraphBuilder, form: GraphForm) -> Answer {
        let texts = Texts::inputs(graph, widest(&self.config));
        let pooled: Vec<Value> = match form {
            GraphForm::Folded => self.pool_folded(graph, &texts),
            GraphForm::Plain => self.pool_plain(graph, &texts),
        };
        let pooled = graph.concat(&pooled.iter().collect::<Vec<_>>(), 1);
        self.answer(graph, &pooled)
    }

    /// Writes the lookup of every window: the sum of one table row per token.
    fn pool_folded(&self, graph: &mut GraphBuilder, texts: &Texts) -> Vec<Value> {
        let folded = self.fold();
        let n_tokens = self.parameters.embedding.nrows();
        let beyond = graph.integers(&[n_tokens as i64]);
        let widths = self.config.widths.iter().zip(self.config.slice_starts());
        let mut pooled = Vec::with_capacity(self.config.widths.len());
        for (&width, start) in widths {
            let is_within = texts.counting_windows(graph, width);
            let mut sum: Option<Value> = None;
            for offset in 0..width {
                let mut tokens = texts.tokens_at(graph, offset);
                let mut table = folded.slices(&self.config, start, offset);
                if offset + 1 == width {
                    // One row behind the vocabulary rules out windows that reach beyond the text.
                    tokens = graph.where_(&is_within, &tokens, &beyond);
                    table.extend(std::iter::repeat_n(EXCLUDED, self.config.filters));
                }
                let shape = [table.len() / self.config.filters, self.config.filters];
                let table =
                    graph.constant_f32(&format!("width_{width}_token_{offset}"), &shape, &table);
                let part = graph.gather(&table, &tokens, 0);
                sum = Some(match sum {
                    Some(sum) => graph.add(&sum, &part),
                    None => part,
                });
            }
            let sum = sum.expect("a width is at least 1");
            pooled.push(graph.reduce_max(&sum, &[1], Reduced::Dropped));
        }
        pooled
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
    fn answer(&self, graph: &mut GraphBuilder, pooled: &Value) -> Answer {
        let n_filters = self.config.n_filters();
        let bias = self.parameters.kernel_bias.to_vec();
        let bias = graph.constant_f32("kernel_bias", &[n_filters], &bias);
        let hidden = graph.add(pooled, &bias);
        let hidden = graph.relu(&hidden);
        let CnnParameters { output, output_bias, .. } = &self.parameters;
        let layer = OutputLayer { output, bias: output_bias };
        write_answer(graph, "cnn", &hidden, &layer, self.config.normalize)
    }
}

impl super::Folded<'_> {
    /// Returns the table's part for one width's kernel slices at one offset: [V, filters].
    fn slices(&self, config: &CnnConfig, start: usize, offset: usize) -> Vec<f32> {
        let first = start + offset * config.filters;
        self.table().slice(s![.., first..first + config.filters]).iter().copied().collect()
    }
}

/// The inputs, padded by as many tokens as the widest window may reach beyond a text.
struct Texts {
    mask: Value,
    padded_ids: Value,
    padded_mask: Value,
    widest: i64,
}

impl Texts {
    fn inputs(graph: &mut GraphBuilder, widest: usize) -> Self {
        let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
        let ids = graph.input("input_ids", ElementType::Int64, &shape);
        let mask = graph.input("attention_mask", ElementType::Int64, &shape);
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

    /// Returns the token at an offset from each position: [batch, length].
    fn tokens_at(&self, graph: &mut GraphBuilder, offset: usize) -> Value {
        let offset = offset as i64;
        let end = self.end(self.widest - 1 - offset);
        graph.slice(&self.padded_ids, &[offset], &[end], &[1])
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

//! The forward pass: products of distinct tokens, windows, maxima, output layer.

use std::borrow::Cow;

use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;

use super::tokens::DistinctTokens;
use super::{CnnConfig, Network};
use crate::layers::{OutputLayer, normalize_rows};
use crate::model::Predicted;
use crate::rows::{RowMajor as _, product};

/// The outcome of max-over-time pooling for each text and filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Pooled {
    /// h after the bias and ReLU: [B, R].
    pub(super) values: Array2<f32>,
    /// The first token of the window with the maximum: [B, R].
    pub(super) positions: Vec<u32>,
}

impl Pooled {
    /// Computes `h = relu(max over windows + bias)`.
    ///
    /// Bias and ReLU come after the maximum: both are monotonic, so that the order changes nothing, and
    /// they are computed once per filter rather than once per window.
    pub(super) fn fill(
        &mut self,
        config: &CnnConfig,
        batch: &DistinctTokens,
        products: &Array2<f32>,
        bias: &Array1<f32>,
    ) {
        let n_filters = config.n_filters();
        self.values.resize(batch.n_texts(), n_filters);
        self.positions.resize(batch.n_texts() * n_filters, 0);
        self.values
            .values_mut()
            .par_chunks_mut(n_filters)
            .zip(self.positions.par_chunks_mut(n_filters))
            .enumerate()
            .for_each(|(text, (values, positions))| {
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || pool_text(config, batch, text, products, values, positions),
                );
                for (value, bias) in values.iter_mut().zip(bias) {
                    *value = (*value + bias).max(0.0);
                }
            });
    }
}

#[inline(always)]
fn pool_text(
    config: &CnnConfig,
    batch: &DistinctTokens,
    text: usize,
    products: &Array2<f32>,
    values: &mut [f32],
    positions: &mut [u32],
) {
    values.fill(f32::NEG_INFINITY);
    let n = config.filters;
    let mut start = 0;
    for (i, &width) in config.widths.iter().enumerate() {
        let values = &mut values[i * n..][..n];
        let positions = &mut positions[i * n..][..n];
        for (position, window) in batch.windows(text, width).enumerate() {
            pool_window(start, n, window, position as u32, products, values, positions);
        }
        start += width * n;
    }
}

/// Raises the maxima of one width's filters where this window's value is higher.
///
/// Why spell out the widths? Each sum is then one vectorized pass over the filters; the general form
/// walks each filter's rows on its own.
#[inline(always)]
fn pool_window(
    start: usize,
    n: usize,
    window: &[u32],
    position: u32,
    products: &Array2<f32>,
    values: &mut [f32],
    positions: &mut [u32],
) {
    let slice = |j: usize| &products.row_slice(window[j] as usize)[start + j * n..][..n];
    let mut raise = |f: usize, value: f32| {
        let higher = value > values[f];
        values[f] = if higher { value } else { values[f] };
        positions[f] = if higher { position } else { positions[f] };
    };
    match window.len() {
        1 => {
            let a = slice(0);
            (0..n).for_each(|f| raise(f, a[f]));
        }
        2 => {
            let (a, b) = (slice(0), slice(1));
            (0..n).for_each(|f| raise(f, a[f] + b[f]));
        }
        3 => {
            let (a, b, c) = (slice(0), slice(1), slice(2));
            (0..n).for_each(|f| raise(f, a[f] + b[f] + c[f]));
        }
        4 => {
            let (a, b, c, d) = (slice(0), slice(1), slice(2), slice(3));
            (0..n).for_each(|f| raise(f, a[f] + b[f] + c[f] + d[f]));
        }
        5 => {
            let (a, b, c, d, e) = (slice(0), slice(1), slice(2), slice(3), slice(4));
            (0..n).for_each(|f| raise(f, a[f] + b[f] + c[f] + d[f] + e[f]));
        }
        width => (0..n).for_each(|f| raise(f, (0..width).map(|j| slice(j)[f]).sum())),
    }
}

/// A CNN whose embedding is multiplied into its kernel: a lookup table [V, C] for windows.
///
/// A window's convolution is linear in its tokens' embeddings, so that the products can be computed once
/// per token of the vocabulary. Scores are those of the unfolded model, without a matrix product before
/// the output layer; the ONNX export holds the same table.
#[derive(Clone, Debug)]
pub struct Folded<'a> {
    network: &'a Network,
    table: Cow<'a, Array2<f32>>,
}

/// The texts of a prediction batch.
const PREDICT_BATCH: usize = 256;

impl Network {
    /// Folds the embedding into the kernel.
    pub fn fold(&self) -> Folded<'_> {
        let table = product(self.parameters.embedding.view(), self.parameters.kernel.t());
        Folded { network: self, table: Cow::Owned(table) }
    }

    /// Takes a table that was folded before.
    pub(super) fn folded<'a>(&'a self, table: &'a Array2<f32>) -> Folded<'a> {
        Folded { network: self, table: Cow::Borrowed(table) }
    }
}

impl Folded<'_> {
    /// Returns the table in the precision that it is exported in.
    pub(super) fn rounded(self) -> Array2<f32> {
        let mut table = self.table.into_owned();
        let config = &self.network.config;
        config.table_format(config.widths.iter().sum()).round(table.values_mut());
        table
    }

    /// Returns the unfolded model.
    pub(super) fn network(&self) -> &Network {
        self.network
    }

    /// Returns the table [V, C] of every token's product with every kernel slice.
    pub fn table(&self) -> &Array2<f32> {
        &self.table
    }

    /// Predicts texts, given as token ids below V.
    pub fn predict(&self, texts: &[&[u32]]) -> Predicted {
        let n_labels = self.network.parameters.output.nrows();
        let mut embeddings = Array2::zeros((texts.len(), self.network.config.n_filters()));
        let mut scores = Array2::zeros((texts.len(), n_labels));
        let batches = texts
            .chunks(PREDICT_BATCH)
            .zip(embeddings.axis_chunks_iter_mut(Axis(0), PREDICT_BATCH))
            .zip(scores.axis_chunks_iter_mut(Axis(0), PREDICT_BATCH));
        for ((texts, mut embeddings), mut scores) in batches {
            let predicted = self.predict_batch(texts);
            embeddings.assign(&predicted.embeddings);
            scores.assign(&predicted.scores);
        }
        Predicted { embeddings, scores }
    }

    fn predict_batch(&self, texts: &[&[u32]]) -> Predicted {
        let Network { config, parameters } = self.network;
        // The table's rows are token ids, so the "distinct tokens" are all tokens in order.
        let batch = DistinctTokens::identity(texts, widest(config));
        let mut pooled = Pooled::default();
        pooled.fill(config, &batch, &self.table, &parameters.kernel_bias);
        let mut embeddings = pooled.values;
        let layer = OutputLayer { output: &parameters.output, bias: &parameters.output_bias };
        let scores = layer.scores(&embeddings);
        if config.normalize {
            normalize_rows(&mut embeddings);
        }
        Predicted { embeddings, scores }
    }
}

/// Returns the width of the widest window: texts are padded to at least this length.
pub(super) fn widest(config: &CnnConfig) -> usize {
    config.widths.iter().copied().max().unwrap_or(1)
}

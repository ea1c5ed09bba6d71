//! A training step: losses, and sparse gradients.
//!
//! The gradient of a maximum flows to the window that attained it, so that each filter and text has one
//! window to go back through. Kernel and embeddings get their gradients from these alone, in time
//! proportional to texts x filters x width, whatever the texts' lengths (compare the dense backward pass
//! of a convolution, which visits every window).

use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;

use autotag::LabelSet;

use super::forward::widest;
use super::tokens::DistinctTokens;
use super::{Cnn, CnnConfig, Network, Scratch};
use crate::layers::{OutputGradients, OutputLayer, Regularization, add_scaled, fill_dropout_mask};
use crate::loss::ContrastiveConfig;
use crate::model::StepLoss;
use crate::optimizer::{AdamConfig, Gradient};
use crate::rows::{RowMajor as _, multiply};

/// The gradients of a step, shaped as the parameters; the embedding's has one row for each distinct
/// token of the batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Gradients {
    pub(super) embedded: Array2<f32>,
    pub(super) kernel: Array2<f32>,
    pub(super) kernel_bias: Array1<f32>,
    pub(super) head: OutputGradients,
}

impl Cnn {
    /// Trains on one batch of texts, given as token ids below V, and their labels.
    pub fn step(
        &mut self,
        texts: &[&[u32]],
        labels: &[&LabelSet],
        contrastive: &ContrastiveConfig,
        adam: &AdamConfig,
    ) -> StepLoss {
        let Network { config, parameters } = &mut self.network;
        let batch = &mut self.scratch.batch;
        batch.fill(texts, parameters.embedding.nrows(), widest(config));
        let is_in_batch = |token| batch.position(token).is_some();
        self.optimizer.sync_lazy_rows(adam, &mut parameters.embedding, is_in_batch);
        let loss = self.gradients(labels, contrastive);
        self.apply(adam);
        loss
    }

    /// Brings every embedding row up to date; required before the model is read.
    pub fn sync_lazy_rows(&mut self, adam: &AdamConfig) {
        self.optimizer.sync_lazy_rows(adam, &mut self.network.parameters.embedding, |_| true);
    }

    /// Computes the losses of the batch in `scratch` and their gradients.
    fn gradients(&mut self, labels: &[&LabelSet], weights: &ContrastiveConfig) -> StepLoss {
        let Cnn { network: Network { config, parameters }, optimizer, scratch, seed } = self;
        let Scratch { batch, embedded, embedding_mask, products, pooled, gradients } = scratch;
        let seed = optimizer.step_seed(*seed);
        embed(
            &parameters.embedding,
            batch,
            config.embedding_dropout,
            seed,
            embedded,
            embedding_mask,
        );
        multiply(products, embedded.view(), parameters.kernel.t());
        pooled.fill(config, batch, products, &parameters.kernel_bias);

        let layer = OutputLayer { output: &parameters.output, bias: &parameters.output_bias };
        let regularization = Regularization {
            dropout: config.dropout,
            seed: !seed,
            normalize: config.normalize,
            contrastive: weights,
        };
        let head = &mut gradients.head;
        let loss = layer.gradients(&pooled.values, labels, &regularization, head);
        gradients.kernel_bias = head.hidden.sum_axis(Axis(0));
        let paths = Paths { config, batch, positions: &pooled.positions, slope: &head.hidden };
        paths.kernel_gradient(embedded, &mut gradients.kernel);
        paths.embedded_gradient(&parameters.kernel, embedding_mask, &mut gradients.embedded);
        loss
    }

    /// Moves every parameter against its gradient.
    fn apply(&mut self, adam: &AdamConfig) {
        let Scratch { batch, gradients, .. } = &self.scratch;
        let Gradients { embedded, kernel, kernel_bias, head } = gradients;
        // Row 0 is padding and stays zero.
        let position = |token| if token == 0 { None } else { batch.position(token) };
        let embedding = Gradient::Rows { rows: embedded.view(), position: &position };
        let (output, bias) = ((&head.output).into(), (&head.output_bias).into());
        let gradients = [embedding, kernel.into(), kernel_bias.into(), output, bias];
        self.optimizer.step(adam, &mut self.network, &gradients);
    }
}

/// Copies the distinct tokens' embeddings with dropout.
///
/// The mask is seeded by the token, so that it does not depend on the order of the texts or threads.
fn embed(
    embedding: &Array2<f32>,
    batch: &DistinctTokens,
    dropout: f32,
    seed: u64,
    embedded: &mut Array2<f32>,
    mask: &mut Array2<f32>,
) {
    let n_dimensions = embedding.ncols();
    embedded.resize(batch.ids().len(), n_dimensions);
    mask.resize(batch.ids().len(), n_dimensions);
    embedded
        .values_mut()
        .par_chunks_mut(n_dimensions)
        .zip(mask.values_mut().par_chunks_mut(n_dimensions))
        .zip(batch.ids())
        .with_min_len(64)
        .for_each(|((values, mask), &token)| {
            fill_dropout_mask(mask, dropout, seed.wrapping_add(u64::from(token) << 20));
            let row = embedding.row_slice(token as usize);
            for ((value, mask), embedding) in values.iter_mut().zip(mask).zip(row) {
                *value = *mask * embedding;
            }
        });
}

/// The paths of the gradient from the representation back through one window per text and filter.
struct Paths<'a> {
    config: &'a CnnConfig,
    batch: &'a DistinctTokens,
    positions: &'a [u32],
    /// dL/dh, 0 where the filter is not active: [B, R].
    slope: &'a Array2<f32>,
}

impl Paths<'_> {
    /// Computes each kernel slice's gradient, a sum of its windows' embeddings: [C, D].
    fn kernel_gradient(&self, embedded: &Array2<f32>, gradient: &mut Array2<f32>) {
        let (n, n_filters) = (self.config.filters, self.config.n_filters());
        gradient.resize(self.config.n_slices(), embedded.ncols());
        let slices = self.slices();
        gradient.values_mut().par_chunks_mut(embedded.ncols()).zip(&slices).for_each(
            |(gradient, &(width, offset, f))| {
                gradient.fill(0.0);
                let filter = width * n + f;
                for text in 0..self.batch.n_texts() {
                    let slope = self.slope[[text, filter]];
                    if slope != 0.0 {
                        let position = self.positions[text * n_filters + filter] as usize;
                        let row = self.batch.text(text)[position + offset];
                        add_scaled(gradient, slope, embedded.row_slice(row as usize));
                    }
                }
            },
        );
    }

    /// Returns each slice's width (as its position among the widths), offset and filter.
    fn slices(&self) -> Vec<(usize, usize, usize)> {
        let mut slices = Vec::with_capacity(self.config.n_slices());
        for (i, &width) in self.config.widths.iter().enumerate() {
            for offset in 0..width {
                slices.extend((0..self.config.filters).map(|f| (i, offset, f)));
            }
        }
        slices
    }

    /// Computes each distinct token's gradient, a sum of the kernel slices that met it: [U, D].
    ///
    /// Why sort by token first? Each row then is the work of one thread, in a fixed order of additions:
    /// no locks, and the same bits whatever the number of threads.
    fn embedded_gradient(
        &self,
        kernel: &Array2<f32>,
        mask: &Array2<f32>,
        gradient: &mut Array2<f32>,
    ) {
        let n_dimensions = kernel.ncols();
        let (starts, visits) = self.visits_by_token();
        gradient.resize(self.batch.ids().len(), n_dimensions);
        gradient
            .values_mut()
            .par_chunks_mut(n_dimensions)
            .zip(mask.values().par_chunks(n_dimensions))
            .enumerate()
            .with_min_len(16)
            .for_each(|(row, (gradient, mask))| {
                gradient.fill(0.0);
                for &(slice, slope) in &visits[starts[row]..starts[row + 1]] {
                    add_scaled(gradient, slope, kernel.row_slice(slice as usize));
                }
                for (gradient, mask) in gradient.iter_mut().zip(mask) {
                    *gradient *= mask;
                }
            });
    }

    /// Sorts every (slice, slope) by its distinct token, by counting sort.
    fn visits_by_token(&self) -> (Vec<usize>, Vec<(u32, f32)>) {
        let mut starts = vec![0; self.batch.ids().len() + 1];
        self.for_each_visit(|row, _, _| starts[row + 1] += 1);
        for row in 0..self.batch.ids().len() {
            starts[row + 1] += starts[row];
        }
        let mut visits = vec![(0, 0.0); starts[self.batch.ids().len()]];
        let mut next = starts.clone();
        self.for_each_visit(|row, slice, slope| {
            visits[next[row]] = (slice, slope);
            next[row] += 1;
        });
        (starts, visits)
    }

    fn for_each_visit(&self, mut visit: impl FnMut(usize, u32, f32)) {
        let n = self.config.filters;
        let n_filters = self.config.n_filters();
        let starts = self.config.slice_starts();
        for text in 0..self.batch.n_texts() {
            let tokens = self.batch.text(text);
            for (filter, &slope) in self.slope.row_slice(text).iter().enumerate() {
                if slope == 0.0 {
                    continue;
                }
                let (i, f) = (filter / n, filter % n);
                let position = self.positions[text * n_filters + filter] as usize;
                for offset in 0..self.config.widths[i] {
                    let slice = starts[i] + offset * n + f;
                    visit(tokens[position + offset] as usize, slice as u32, slope);
                }
            }
        }
    }
}

#[cfg(all(test, feature = "burn"))]
mod by_autodiff;
#[cfg(test)]
mod tests;

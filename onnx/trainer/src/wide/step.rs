//! A training step: losses, and gradients for the n-grams that occur.

use ndarray::Array2;

use autotag::LabelSet;
use autotag_onnx::Features;

use super::{Wide, WideNetwork, WideParameters, rectify};
use crate::layers::{OutputGradients, OutputLayer, Regularization};
use crate::loss::ContrastiveConfig;
use crate::model::StepLoss;
use crate::optimizer::{AdamConfig, Step};

/// The gradients of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Gradients {
    /// One row for each distinct n-gram of the batch, as wide as the table.
    pub(super) table: Array2<f32>,
    pub(super) head: OutputGradients,
}

impl Wide {
    /// Trains on one batch of texts, given as n-grams with ids below V, and their labels.
    pub fn step(
        &mut self,
        texts: &[&Features],
        labels: &[&LabelSet],
        contrastive: &ContrastiveConfig,
        adam: &AdamConfig,
    ) -> StepLoss {
        let n_steps = self.optimizer.n_steps;
        let seed = self.seed.wrapping_add((n_steps as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let table = &mut self.network.parameters.table;
        self.batch.fill(texts, table.nrows(), self.network.config.ngram_dropout, seed);
        let is_in_batch = |ngram| self.batch.position(ngram).is_some();
        self.optimizer.table.catch_up(adam, n_steps, table, is_in_batch);
        let loss = self.gradients(labels, contrastive, !seed);
        self.apply(adam);
        loss
    }

    /// Brings every row of the table up to date, as is needed before the model is read.
    pub fn settle(&mut self, adam: &AdamConfig) {
        let table = &mut self.network.parameters.table;
        self.optimizer.table.catch_up(adam, self.optimizer.n_steps, table, |_| true);
    }

    /// Computes the losses of the batch and their gradients.
    pub(super) fn gradients(
        &mut self,
        labels: &[&LabelSet],
        contrastive: &ContrastiveConfig,
        seed: u64,
    ) -> StepLoss {
        let Wide { network, batch, gradients, .. } = self;
        let WideNetwork { config, parameters, .. } = network;
        let mut hidden = batch.sums(&parameters.table);
        rectify(&mut hidden);
        let layer = OutputLayer { output: &parameters.output, bias: &parameters.output_bias };
        let (dropout, normalize) = (config.dropout, config.normalize);
        let regularization = Regularization { dropout, seed, normalize, contrastive };
        let head = &mut gradients.head;
        let loss = layer.gradients(&hidden, labels, &regularization, head);
        batch.table_gradient(&head.hidden, &mut gradients.table);
        loss
    }

    /// Moves every parameter against its gradient.
    fn apply(&mut self, adam: &AdamConfig) {
        let Wide { network, optimizer, batch, gradients, .. } = self;
        let WideParameters { table, output, output_bias } = &mut network.parameters;
        optimizer.n_steps += 1;
        let all = [
            gradients.table.view().into_dyn(),
            gradients.head.output.view().into_dyn(),
            gradients.head.output_bias.view().into_dyn(),
        ];
        let step = Step::at(adam, optimizer.n_steps).clipped(adam, all);
        optimizer.output.update(step, output, &gradients.head.output);
        optimizer.output_bias.update(step, output_bias, &gradients.head.output_bias);
        optimizer.table.update(step, table, &gradients.table, |ngram| batch.position(ngram));
    }
}

#[cfg(test)]
mod tests;

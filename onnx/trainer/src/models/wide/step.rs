//! A training step: losses, and sparse gradients for the n-grams that occur.

use ndarray::Array2;

use autotag::LabelSet;
use autotag_onnx::Features;

use super::{Wide, WideNetwork, rectify};
use crate::layers::{OutputGradients, OutputLayer, Regularization};
use crate::loss::ContrastiveConfig;
use crate::model::StepLoss;
use crate::optimizer::{AdamConfig, Gradient};

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
        let seed = self.optimizer.step_seed(self.seed);
        let table = &mut self.network.parameters.table;
        self.batch.fill(texts, table.nrows(), self.network.config.ngram_dropout, seed);
        let is_in_batch = |ngram| self.batch.position(ngram).is_some();
        self.optimizer.sync_lazy_rows(adam, table, is_in_batch);
        let loss = self.gradients(labels, contrastive, !seed);
        self.apply(adam);
        loss
    }

    /// Brings every row of the table up to date; required before the model is read.
    pub fn sync_lazy_rows(&mut self, adam: &AdamConfig) {
        let table = &mut self.network.parameters.table;
        self.optimizer.sync_lazy_rows(adam, table, |_| true);
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
        let Gradients { table, head } = &self.gradients;
        let position = |ngram| self.batch.position(ngram);
        let table = Gradient::Rows { rows: table.view(), position: &position };
        let gradients = [table, (&head.output).into(), (&head.output_bias).into()];
        self.optimizer.step(adam, &mut self.network, &gradients);
    }
}

#[cfg(test)]
mod tests;

//! A training step: losses, gradients, Adam.

use ndarray::{Array1, Array2, Axis};

use autotag::LabelSet;

use super::{Adapter, AdapterNetwork, scaled};
use crate::layers::{OutputGradients, OutputLayer, Regularization, dropout_mask};
use crate::loss::ContrastiveConfig;
use crate::model::StepLoss;
use crate::optimizer::AdamConfig;
use crate::rows::multiply;

/// The gradients of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Gradients {
    pub(super) hidden: Array2<f32>,
    pub(super) hidden_bias: Array1<f32>,
    pub(super) head: OutputGradients,
}

impl Adapter {
    /// Trains on one batch of texts, given as the encoder represents them, and their labels.
    pub fn step(
        &mut self,
        texts: &[&[f32]],
        labels: &[&LabelSet],
        contrastive: &ContrastiveConfig,
        adam: &AdamConfig,
    ) -> StepLoss {
        let seed = self.optimizer.step_seed(self.seed);
        let mut inputs = scaled(texts);
        inputs *= &dropout_mask(inputs.dim(), self.network.config.input_dropout, seed);
        let loss = self.gradients(&inputs, labels, contrastive, !seed);
        self.apply(adam);
        loss
    }

    /// Computes the losses of a batch of scaled inputs [B, D], and their gradients.
    pub(super) fn gradients(
        &mut self,
        inputs: &Array2<f32>,
        labels: &[&LabelSet],
        contrastive: &ContrastiveConfig,
        seed: u64,
    ) -> StepLoss {
        let Adapter { network: AdapterNetwork { config, parameters }, gradients, .. } = self;
        let hidden = parameters.hidden_layer(inputs);
        let layer = OutputLayer { output: &parameters.output, bias: &parameters.output_bias };
        let (dropout, normalize) = (config.dropout, config.normalize);
        let regularization = Regularization { dropout, seed, normalize, contrastive };
        let loss = layer.gradients(&hidden, labels, &regularization, &mut gradients.head);
        let slopes = &gradients.head.hidden;
        multiply(&mut gradients.hidden, slopes.t(), inputs.view());
        gradients.hidden_bias = slopes.sum_axis(Axis(0));
        loss
    }

    /// Moves every parameter against its gradient.
    fn apply(&mut self, adam: &AdamConfig) {
        let Gradients { hidden, hidden_bias, head } = &self.gradients;
        let (output, bias) = ((&head.output).into(), (&head.output_bias).into());
        let gradients = [hidden.into(), hidden_bias.into(), output, bias];
        self.optimizer.step(adam, &mut self.network, &gradients);
    }
}

#[cfg(test)]
mod tests;

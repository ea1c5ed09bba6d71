//! Adam over the CNN's parameters.

use super::CnnParameters;
use super::backward::Gradients;
use super::tokens::DistinctTokens;
use crate::matrix::Matrix;
use crate::optimizer::{AdamConfig, Moments, RowMoments, Step};

/// The running means of every parameter, and the number of steps.
#[derive(Clone, Debug)]
pub(super) struct Adam {
    embedding: RowMoments,
    kernel: Moments,
    kernel_bias: Moments,
    output: Moments,
    output_bias: Moments,
    n_steps: i32,
}

impl Adam {
    pub(super) fn new(parameters: &CnnParameters) -> Self {
        Adam {
            embedding: RowMoments::of(&parameters.embedding),
            kernel: Moments::of(&parameters.kernel),
            kernel_bias: Moments::of(&parameters.kernel_bias),
            output: Moments::of(&parameters.output),
            output_bias: Moments::of(&parameters.output_bias),
            n_steps: 0,
        }
    }

    /// Brings embedding rows up to date before they are read.
    pub(super) fn catch_up(
        &mut self,
        config: &AdamConfig,
        embedding: &mut Matrix,
        is_needed: impl Fn(usize) -> bool + Sync,
    ) {
        self.embedding.catch_up(config, self.n_steps, embedding, is_needed);
    }

    /// Moves every parameter against its gradient.
    pub(super) fn step(
        &mut self,
        config: &AdamConfig,
        parameters: &mut CnnParameters,
        gradients: &Gradients,
        batch: &DistinctTokens,
    ) {
        self.n_steps += 1;
        let step = Step::at(config, self.n_steps);
        let head = &gradients.head;
        self.kernel.update(step, &mut parameters.kernel, &gradients.kernel);
        self.kernel_bias.update(step, &mut parameters.kernel_bias, &gradients.kernel_bias);
        self.output.update(step, &mut parameters.output, &head.output);
        self.output_bias.update(step, &mut parameters.output_bias, &head.output_bias);
        // Row 0 is padding and stays zero.
        let position = |token| if token == 0 { None } else { batch.position(token) };
        self.embedding.update(step, &mut parameters.embedding, &gradients.embedded, position);
    }
}

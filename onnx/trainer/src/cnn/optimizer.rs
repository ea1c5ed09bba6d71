//! Adam over the CNN's parameters.

use ndarray::Array2;

use super::CnnParameters;
use super::backward::Gradients;
use super::tokens::DistinctTokens;

use crate::optimizer::{AdamConfig, Moments, RowMoments, Step};
use crate::state::{State, StateError};

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

    /// Returns what is kept of every parameter.
    pub(super) fn state(&self) -> State<'_> {
        let mut state = State::default();
        state.put_counts("n_steps", vec![self.n_steps as u64]);
        state.put_all("embedding/", self.embedding.state());
        state.put_all("kernel/", self.kernel.state());
        state.put_all("kernel_bias/", self.kernel_bias.state());
        state.put_all("output/", self.output.state());
        state.put_all("output_bias/", self.output_bias.state());
        state
    }

    /// Takes it back.
    pub(super) fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.n_steps = state.count("n_steps")? as i32;
        self.embedding.restore(&state.below("embedding/"))?;
        self.kernel.restore(&state.below("kernel/"))?;
        self.kernel_bias.restore(&state.below("kernel_bias/"))?;
        self.output.restore(&state.below("output/"))?;
        self.output_bias.restore(&state.below("output_bias/"))
    }

    /// Brings embedding rows up to date before they are read.
    pub(super) fn catch_up(
        &mut self,
        config: &AdamConfig,
        embedding: &mut Array2<f32>,
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
        let Gradients { embedded, kernel, kernel_bias, head } = gradients;
        let all = [
            embedded.view().into_dyn(),
            kernel.view().into_dyn(),
            kernel_bias.view().into_dyn(),
            head.output.view().into_dyn(),
            head.output_bias.view().into_dyn(),
        ];
        let step = Step::at(config, self.n_steps).clipped(config, all);
        self.kernel.update(step, &mut parameters.kernel, kernel);
        self.kernel_bias.update(step, &mut parameters.kernel_bias, kernel_bias);
        self.output.update(step, &mut parameters.output, &head.output);
        self.output_bias.update(step, &mut parameters.output_bias, &head.output_bias);
        // Row 0 is padding and stays zero.
        let position = |token| if token == 0 { None } else { batch.position(token) };
        self.embedding.update(step, &mut parameters.embedding, embedded, position);
    }
}

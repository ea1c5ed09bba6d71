//! Adam, one fused pass; for the embedding only over the rows that a batch touches.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::CnnParameters;
use super::backward::Gradients;
use super::tokens::DistinctTokens;
use crate::matrix::Matrix;

/// Adam's parameters (Kingma and Ba, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamConfig {
    /// The step size.
    pub learning_rate: f32,
    /// The decay of the gradient's running mean.
    pub beta_1: f32,
    /// The decay of the squared gradient's running mean.
    pub beta_2: f32,
    /// Keeps the division finite.
    pub epsilon: f32,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }
    }
}

/// The running means of every parameter, and the number of steps.
#[derive(Clone, Debug)]
pub(super) struct Adam {
    embedding: Moments,
    kernel: Moments,
    kernel_bias: Moments,
    output: Moments,
    output_bias: Moments,
    n_steps: i32,
    /// For each token, the step up to which its embedding row is updated.
    embedding_steps: Vec<i32>,
}

/// The running means of the gradient and of its square.
#[derive(Clone, Debug)]
struct Moments {
    first: Matrix,
    second: Matrix,
}

impl Moments {
    fn of(parameter: &Matrix) -> Self {
        let zeros = Matrix::zeros(parameter.n_rows(), parameter.n_cols());
        Moments { first: zeros.clone(), second: zeros }
    }
}

/// What one step's formula needs: the decays, and the step size with its bias corrections.
#[derive(Clone, Copy)]
struct Step {
    beta_1: f32,
    beta_2: f32,
    /// learning rate / (1 - beta_1^t)
    rate: f32,
    /// 1 / sqrt(1 - beta_2^t)
    second_scale: f32,
    epsilon: f32,
}

impl Step {
    fn at(config: &AdamConfig, t: i32) -> Self {
        Step {
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            rate: config.learning_rate / (1.0 - config.beta_1.powi(t)),
            second_scale: 1.0 / (1.0 - config.beta_2.powi(t)).sqrt(),
            epsilon: config.epsilon,
        }
    }
}

/// A row untouched for longer than this has stopped moving: 0.9^128 is 1e-6.
const MOVING_STEPS: i32 = 128;

impl Adam {
    pub(super) fn new(parameters: &CnnParameters) -> Self {
        Adam {
            embedding: Moments::of(&parameters.embedding),
            kernel: Moments::of(&parameters.kernel),
            kernel_bias: Moments::of(&parameters.kernel_bias),
            output: Moments::of(&parameters.output),
            output_bias: Moments::of(&parameters.output_bias),
            n_steps: 0,
            embedding_steps: vec![0; parameters.embedding.n_rows()],
        }
    }

    /// Brings embedding rows up to date before they are read.
    ///
    /// A row whose token did not occur keeps moving by its running mean, as under plain Adam. The
    /// steps missed are made up at once: with m and v decaying, their sum is a factor times
    /// m / sqrt(v), the same for the whole row.
    pub(super) fn catch_up(
        &mut self,
        config: &AdamConfig,
        embedding: &mut Matrix,
        is_needed: impl Fn(usize) -> bool + Sync,
    ) {
        let n_steps = self.n_steps;
        self.embedding_rows(embedding).for_each(|(token, row)| {
            if *row.step == n_steps || !is_needed(token) {
                return;
            }
            if *row.step > 0 {
                let factor = missed_factor(config, *row.step, n_steps);
                let n_missed = n_steps - *row.step;
                let decays = (config.beta_1.powi(n_missed), config.beta_2.powi(n_missed));
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || make_up(row.values, row.first, row.second, factor, decays, config.epsilon),
                );
            }
            *row.step = n_steps;
        });
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
        update(step, &mut parameters.kernel, &gradients.kernel, &mut self.kernel);
        update(step, &mut parameters.kernel_bias, &gradients.kernel_bias, &mut self.kernel_bias);
        update(step, &mut parameters.output, &gradients.output, &mut self.output);
        update(step, &mut parameters.output_bias, &gradients.output_bias, &mut self.output_bias);

        let n_steps = self.n_steps;
        self.embedding_rows(&mut parameters.embedding).for_each(|(token, row)| {
            // Row 0 is padding and stays zero.
            if let (1.., Some(distinct)) = (token, batch.position(token)) {
                let gradient = gradients.embedded.row(distinct);
                move_values(step, row.values, gradient, row.first, row.second);
                *row.step = n_steps;
            }
        });
    }

    /// Goes through the embedding's rows with what Adam keeps of each.
    fn embedding_rows<'a>(
        &'a mut self,
        embedding: &'a mut Matrix,
    ) -> impl ParallelIterator<Item = (usize, EmbeddingRow<'a>)> {
        let n_dimensions = embedding.n_cols();
        let Moments { first, second } = &mut self.embedding;
        embedding
            .values_mut()
            .par_chunks_mut(n_dimensions)
            .zip(first.values_mut().par_chunks_mut(n_dimensions))
            .zip(second.values_mut().par_chunks_mut(n_dimensions))
            .zip(self.embedding_steps.par_iter_mut())
            .with_min_len(256)
            .enumerate()
            .map(|(token, (((values, first), second), step))| {
                (token, EmbeddingRow { values, first, second, step })
            })
    }
}

/// A token's embedding, its running means, and the step up to which they are updated.
struct EmbeddingRow<'a> {
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    step: &'a mut i32,
}

/// Returns sum_{i=1..n} of the step sizes that m and v, decayed by i steps, would have made, in
/// units of m / sqrt(v).
fn missed_factor(config: &AdamConfig, last: i32, now: i32) -> f32 {
    let ratio = config.beta_1 / config.beta_2.sqrt();
    let mut factor = 0.0;
    for i in 1..=(now - last).min(MOVING_STEPS) {
        let step = Step::at(config, last + i);
        factor += step.rate / step.second_scale * ratio.powi(i);
    }
    factor
}

#[inline(always)]
fn make_up(
    row: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    factor: f32,
    (decay_1, decay_2): (f32, f32),
    epsilon: f32,
) {
    for ((value, first), second) in row.iter_mut().zip(first).zip(second) {
        *value -= factor * *first / (second.sqrt() + epsilon);
        *first *= decay_1;
        *second *= decay_2;
    }
}

/// The values that one task updates; small matrices stay on one thread.
const CHUNK: usize = 1 << 14;

fn update(step: Step, parameter: &mut Matrix, gradient: &Matrix, moments: &mut Moments) {
    parameter
        .values_mut()
        .par_chunks_mut(CHUNK)
        .zip(gradient.values().par_chunks(CHUNK))
        .zip(moments.first.values_mut().par_chunks_mut(CHUNK))
        .zip(moments.second.values_mut().par_chunks_mut(CHUNK))
        .for_each(|(((values, gradients), first), second)| {
            move_values(step, values, gradients, first, second);
        });
}

fn move_values(
    step: Step,
    values: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let moments = first.iter_mut().zip(second.iter_mut());
            for ((value, &gradient), (first, second)) in
                values.iter_mut().zip(gradients).zip(moments)
            {
                *first += (1.0 - step.beta_1) * (gradient - *first);
                *second += (1.0 - step.beta_2) * (gradient * gradient - *second);
                *value -= step.rate * *first / (second.sqrt() * step.second_scale + step.epsilon);
            }
        },
    );
}

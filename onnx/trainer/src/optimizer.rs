//! Adam, one fused pass; for large tables only over the rows that a batch touches.

use ndarray::{
    Array, Array2, ArrayD, ArrayRef, ArrayView2, ArrayViewD, ArrayViewMut2, ArrayViewMutD,
    Dimension,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::check::{is_positive, is_true};
use crate::parameters::Parameters;
use crate::state::{State, StateError};

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
    /// The norm, over all parameters, that a longer gradient is scaled down to; 0 for no bound.
    #[serde(default)]
    pub max_gradient_norm: f32,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig {
            learning_rate: 1e-3,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            max_gradient_norm: 0.0,
        }
    }
}

impl AdamConfig {
    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        let (rate, epsilon) = (self.learning_rate, self.epsilon);
        is_true("learning rate", rate, is_positive(rate), "greater than 0")?;
        is_true("epsilon", epsilon, is_positive(epsilon), "greater than 0")?;
        for (name, beta) in [("beta 1", self.beta_1), ("beta 2", self.beta_2)] {
            let is_decay = (0.0..1.0).contains(&beta);
            is_true(name, beta, is_decay, "0 or more, less than 1")?;
        }
        let norm = self.max_gradient_norm;
        let is_bound = norm >= 0.0 && norm.is_finite();
        is_true("max gradient norm", norm, is_bound, "0 or more")
    }

    /// Returns the settings with a share of the learning rate.
    pub(crate) fn at(&self, rate: f32) -> Self {
        AdamConfig { learning_rate: rate * self.learning_rate, ..*self }
    }
}

/// Adam's running means of every parameter of a network, and the number of steps.
///
/// The first parameter may be a large table of which a batch touches some rows only. Its other rows are
/// lazy: they miss the steps of the batches that lack them, until [`Adam::sync_lazy_rows`].
#[derive(Clone, Debug)]
pub(crate) struct Adam {
    /// In the order of the network's parameters.
    moments: Vec<Moments>,
    n_steps: i32,
}

/// The gradient of one parameter.
pub(crate) enum Gradient<'g> {
    /// Of every value.
    Dense(ArrayViewD<'g, f32>),
    /// Of some rows of a table; `position` maps the table's rows to these.
    Rows { rows: ArrayView2<'g, f32>, position: &'g (dyn Fn(usize) -> Option<usize> + Sync) },
}

impl<'g, D: Dimension> From<&'g Array<f32, D>> for Gradient<'g> {
    fn from(gradient: &'g Array<f32, D>) -> Self {
        Gradient::Dense(gradient.view().into_dyn())
    }
}

impl Adam {
    /// Starts at zero for a network whose parameters all move in every step.
    pub(crate) fn new(network: &impl Parameters) -> Self {
        let zeros = |(_, array): (_, ArrayViewD<'_, f32>)| Moments::zeros(array.shape());
        Adam { moments: network.arrays().into_iter().map(zeros).collect(), n_steps: 0 }
    }

    /// Starts at zero for a network whose first parameter is a table with lazy rows.
    pub(crate) fn with_lazy_table(network: &impl Parameters) -> Self {
        let mut adam = Adam::new(network);
        adam.moments[0].row_steps = vec![0; adam.moments[0].first.shape()[0]];
        adam
    }

    /// Returns the seed of all that the next step draws at random: a function of the training's seed and
    /// the number of steps, so that no generator's state has to be kept.
    pub(crate) fn step_seed(&self, seed: u64) -> u64 {
        seed.wrapping_add(step_hash(self.n_steps as u64))
    }

    /// Returns a network's parameters, their running means and the number of steps.
    pub(crate) fn state<'s>(&'s self, network: &'s impl Parameters) -> State<'s> {
        let mut state = network.state();
        state.put_counts("adam/n_steps", vec![self.n_steps as u64]);
        for ((name, _), moments) in network.arrays().into_iter().zip(&self.moments) {
            state.put_all(&format!("adam/{name}/"), moments.state());
        }
        state
    }

    /// Restores what [`Adam::state`] returned.
    pub(crate) fn restore(
        &mut self,
        network: &mut impl Parameters,
        state: &State<'_>,
    ) -> Result<(), StateError> {
        network.restore(state)?;
        self.n_steps = state.count("adam/n_steps")? as i32;
        for ((name, _), moments) in network.arrays().into_iter().zip(&mut self.moments) {
            moments.restore(&state.below(&format!("adam/{name}/")))?;
        }
        Ok(())
    }

    /// Brings rows of the network's table up to date with the steps done so far, before they are read.
    ///
    /// Why move rows that have no gradient? Under plain Adam they keep moving by their running means
    /// m and v, which decay by beta_1 and beta_2 in each step. Missed step i after the last would move a
    /// value by
    ///
    /// ```text
    /// rate_i beta_1^i m / (sqrt(beta_2^i v) scale_i + epsilon)
    /// ```
    ///
    /// With epsilon left out of the ratio between the steps, their sum is m / sqrt(v) times a factor that
    /// is the same for the whole row ([`Missed`]), so that a row costs one pass however many steps
    /// it missed. The sum is exact where the rate is constant and the root is far above epsilon.
    pub(crate) fn sync_lazy_rows(
        &mut self,
        config: &AdamConfig,
        table: &mut Array2<f32>,
        is_needed: impl Fn(usize) -> bool + Sync,
    ) {
        let n_steps = self.n_steps;
        let missed = MissedTable::new(config, n_steps);
        self.moments[0].rows(table.view_mut()).for_each(|(number, row)| {
            if *row.step == n_steps || !is_needed(number) {
                return;
            }
            if *row.step > 0 {
                let missed = missed.since(*row.step);
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || make_up(row.values, row.first, row.second, missed, config.epsilon),
                );
            }
            *row.step = n_steps;
        });
    }

    /// Moves every parameter against its gradient, in the order of the parameters; rows of a table that
    /// have a gradient must be up to date.
    pub(crate) fn step(
        &mut self,
        config: &AdamConfig,
        network: &mut impl Parameters,
        gradients: &[Gradient<'_>],
    ) {
        self.n_steps += 1;
        let step = Step::at(config, self.n_steps).clipped(config, gradients);
        let parameters = network.arrays_mut().into_iter().zip(gradients);
        for (((_, parameter), gradient), moments) in parameters.zip(&mut self.moments) {
            match gradient {
                Gradient::Dense(gradient) => moments.update(step, parameter, gradient.view()),
                Gradient::Rows { rows, position } => {
                    let table = parameter.into_dimensionality().expect("a table is a matrix");
                    moments.update_rows(step, table, *rows, position);
                }
            }
        }
    }
}

/// Returns a number for each step: multiples of 2^64 / phi, which spread evenly (Knuth, The
/// Art of Computer Programming 3, 6.4).
pub(crate) fn step_hash(n_steps: u64) -> u64 {
    n_steps.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The running means of the gradient and of its square, for one parameter.
#[derive(Clone, Debug)]
struct Moments {
    first: ArrayD<f32>,
    second: ArrayD<f32>,
    /// For each row of a table with lazy rows, the step up to which it is updated.
    row_steps: Vec<i32>,
}

impl Moments {
    fn zeros(shape: &[usize]) -> Self {
        let zeros = ArrayD::zeros(shape);
        Moments { first: zeros.clone(), second: zeros, row_steps: Vec::new() }
    }

    fn state(&self) -> State<'_> {
        let mut state = State::default();
        state.put("first", self.first.view());
        state.put("second", self.second.view());
        if !self.row_steps.is_empty() {
            let steps: Vec<u64> = self.row_steps.iter().map(|&step| step as u64).collect();
            state.put_counts("steps", steps);
        }
        state
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        state.fill("first", self.first.view_mut())?;
        state.fill("second", self.second.view_mut())?;
        if !self.row_steps.is_empty() {
            let steps = state.counts("steps", self.row_steps.len())?;
            self.row_steps.iter_mut().zip(steps).for_each(|(step, &found)| *step = found as i32);
        }
        Ok(())
    }

    /// Moves a parameter against its gradient.
    fn update(
        &mut self,
        step: Step,
        mut parameter: ArrayViewMutD<'_, f32>,
        gradient: ArrayViewD<'_, f32>,
    ) {
        values_mut(&mut parameter)
            .par_chunks_mut(CHUNK)
            .zip(values(&gradient).par_chunks(CHUNK))
            .zip(values_mut(&mut self.first).par_chunks_mut(CHUNK))
            .zip(values_mut(&mut self.second).par_chunks_mut(CHUNK))
            .for_each(|(((values, gradients), first), second)| {
                move_values(step, values, gradients, first, second);
            });
    }

    /// Moves the rows of a table that have a gradient against it.
    fn update_rows(
        &mut self,
        step: Step,
        table: ArrayViewMut2<'_, f32>,
        gradients: ArrayView2<'_, f32>,
        position: &(dyn Fn(usize) -> Option<usize> + Sync),
    ) {
        self.rows(table).for_each(|(number, row)| {
            if let Some(position) = position(number) {
                let gradient = gradients.row(position);
                move_values(step, row.values, values(&gradient), row.first, row.second);
                *row.step = step.number;
            }
        });
    }

    /// Returns a table's rows with what Adam keeps of each.
    fn rows<'a>(
        &'a mut self,
        table: ArrayViewMut2<'a, f32>,
    ) -> impl ParallelIterator<Item = (usize, TableRow<'a>)> {
        let n_cols = table.ncols();
        let Moments { first, second, row_steps } = self;
        table
            .into_slice()
            .expect("standard layout")
            .par_chunks_mut(n_cols)
            .zip(values_mut(first).par_chunks_mut(n_cols))
            .zip(values_mut(second).par_chunks_mut(n_cols))
            .zip(row_steps.par_iter_mut())
            .with_min_len(256)
            .enumerate()
            .map(|(number, (((values, first), second), step))| {
                (number, TableRow { values, first, second, step })
            })
    }
}

fn values<D: Dimension>(array: &ArrayRef<f32, D>) -> &[f32] {
    array.as_slice().expect("standard layout")
}

fn values_mut<D: Dimension>(array: &mut ArrayRef<f32, D>) -> &mut [f32] {
    array.as_slice_mut().expect("standard layout")
}

/// The values that one task updates; small arrays stay on one thread.
const CHUNK: usize = 1 << 14;

/// A row of a table, its running means, and the step up to which they are updated.
struct TableRow<'a> {
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    step: &'a mut i32,
}

/// The coefficients of one step: the decays, and the step size with its bias corrections.
#[derive(Clone, Copy)]
struct Step {
    /// t, from 1.
    number: i32,
    beta_1: f32,
    beta_2: f32,
    /// learning rate / (1 - beta_1^t)
    rate: f32,
    /// 1 / sqrt(1 - beta_2^t)
    second_scale: f32,
    epsilon: f32,
    /// The factor that clips the gradient.
    gradient_scale: f32,
}

impl Step {
    /// Returns the coefficients of step t.
    fn at(config: &AdamConfig, t: i32) -> Self {
        Step {
            number: t,
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            rate: config.learning_rate / (1.0 - config.beta_1.powi(t)),
            second_scale: 1.0 / (1.0 - config.beta_2.powi(t)).sqrt(),
            epsilon: config.epsilon,
            gradient_scale: 1.0,
        }
    }

    /// Scales the gradient of all parameters down to the norm that the settings allow.
    ///
    /// A gradient that is not finite stays as it is.
    fn clipped(self, config: &AdamConfig, gradients: &[Gradient<'_>]) -> Self {
        let bound = config.max_gradient_norm;
        if bound == 0.0 {
            return self;
        }
        let squares = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let part = |gradient: &Gradient<'_>| match gradient {
            Gradient::Dense(gradient) => {
                values(gradient).par_chunks(CHUNK).map(squares).sum::<f64>()
            }
            Gradient::Rows { rows, .. } => values(rows).par_chunks(CHUNK).map(squares).sum(),
        };
        let norm = gradients.iter().map(part).sum::<f64>().sqrt() as f32;
        let is_longer = norm.is_finite() && norm > bound;
        Step { gradient_scale: if is_longer { bound / norm } else { 1.0 }, ..self }
    }
}

/// The steps that a row missed, as one.
#[derive(Clone, Copy, Debug)]
struct Missed {
    /// sum_{i=1..n} of the step sizes that m and v, decayed by i steps, would have made, in units of
    /// m / sqrt(v).
    factor: f32,
    /// beta_1^n
    decay_1: f32,
    /// beta_2^n
    decay_2: f32,
}

/// A row untouched for longer than this has stopped moving: 0.9^128 is 1e-6.
const MOVING_STEPS: i32 = 128;

/// Below this a decayed mean is taken as 0: what is left of it moves nothing, and subnormal numbers are
/// slow.
const NO_DECAY_LEFT: f64 = 1e-30;

impl Missed {
    fn new(factor: f64, decay_1: f64, decay_2: f64) -> Self {
        let left = |decay: f64| if decay < NO_DECAY_LEFT { 0.0 } else { decay as f32 };
        Missed { factor: factor as f32, decay_1: left(decay_1), decay_2: left(decay_2) }
    }

    /// Returns the steps after `last`, up to `now`.
    fn between(config: &AdamConfig, last: i32, now: i32) -> Self {
        let sizes = StepSizes::new(config, last);
        let moving = sizes.take((now - last).min(MOVING_STEPS) as usize);
        let ratio = decay_ratio(config);
        let (factor, _) = moving.fold((0.0, ratio), |(sum, decay), size| {
            (sum + decay * size, decay * ratio)
        });
        let decay = |beta: f32| f64::from(beta).powi(now - last);
        Missed::new(factor, decay(config.beta_1), decay(config.beta_2))
    }
}

/// The latest steps whose [`Missed`] are tabulated; few rows are older.
const TABULATED_STEPS: i32 = 4096;

/// The missed steps of all rows that were last updated in the same step.
struct MissedTable<'c> {
    config: &'c AdamConfig,
    now: i32,
    /// Of the rows updated last in step `now - 1`, `now - 2` and so on.
    by_age: Vec<Missed>,
}

impl<'c> MissedTable<'c> {
    /// Tabulates the latest steps up to `now`, from the last one backwards.
    ///
    /// With r = beta_1 / sqrt(beta_2) the factor of a row last updated in step t is
    /// F(t) = r (size(t + 1) + F(t + 1)), and F(now) = 0.
    fn new(config: &'c AdamConfig, now: i32) -> Self {
        let first = (now - TABULATED_STEPS).max(0);
        let sizes: Vec<f64> = StepSizes::new(config, first).take((now - first) as usize).collect();
        let ratio = decay_ratio(config);
        let (mut factor, mut decay_1, mut decay_2) = (0.0, 1.0, 1.0);
        let missed = sizes.iter().rev().map(|size| {
            factor = ratio * (size + factor);
            decay_1 *= f64::from(config.beta_1);
            decay_2 *= f64::from(config.beta_2);
            Missed::new(factor, decay_1, decay_2)
        });
        MissedTable { config, now, by_age: missed.collect() }
    }

    /// Returns the steps that a row missed which was last updated in step `last`, before `now`.
    fn since(&self, last: i32) -> Missed {
        let age = (self.now - last - 1) as usize;
        let tabulated = self.by_age.get(age).copied();
        tabulated.unwrap_or_else(|| Missed::between(self.config, last, self.now))
    }
}

fn decay_ratio(config: &AdamConfig) -> f64 {
    f64::from(config.beta_1) / f64::from(config.beta_2).sqrt()
}

/// The step sizes after a step, in units of m / sqrt(v): rate sqrt(1 - beta_2^t) / (1 - beta_1^t).
struct StepSizes {
    rate: f64,
    betas: (f64, f64),
    /// beta_1^t and beta_2^t of the last step.
    powers: (f64, f64),
}

impl StepSizes {
    fn new(config: &AdamConfig, last: i32) -> Self {
        let betas = (f64::from(config.beta_1), f64::from(config.beta_2));
        let powers = (betas.0.powi(last), betas.1.powi(last));
        StepSizes { rate: f64::from(config.learning_rate), betas, powers }
    }
}

impl Iterator for StepSizes {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.powers = (self.powers.0 * self.betas.0, self.powers.1 * self.betas.1);
        Some(self.rate * (1.0 - self.powers.1).sqrt() / (1.0 - self.powers.0))
    }
}

#[inline(always)]
fn make_up(row: &mut [f32], first: &mut [f32], second: &mut [f32], missed: Missed, epsilon: f32) {
    let Missed { factor, decay_1, decay_2 } = missed;
    for ((value, first), second) in row.iter_mut().zip(first).zip(second) {
        *value -= factor * *first / (second.sqrt() + epsilon);
        *first *= decay_1;
        *second *= decay_2;
    }
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
                let gradient = step.gradient_scale * gradient;
                *first += (1.0 - step.beta_1) * (gradient - *first);
                *second += (1.0 - step.beta_2) * (gradient * gradient - *second);
                *value -= step.rate * *first / (second.sqrt() * step.second_scale + step.epsilon);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds the sizes of the steps after `last` one by one, as Adam defines them.
    fn summed(config: &AdamConfig, last: i32, now: i32) -> f64 {
        let size = |t: i32, i: i32| {
            let (beta_1, beta_2) = (f64::from(config.beta_1), f64::from(config.beta_2));
            let rate = f64::from(config.learning_rate) / (1.0 - beta_1.powi(t));
            rate * (1.0 - beta_2.powi(t)).sqrt() * (beta_1 / beta_2.sqrt()).powi(i)
        };
        (1..=now - last).map(|i| size(last + i, i)).sum()
    }

    #[test]
    fn the_table_has_the_sums_of_the_missed_steps() {
        let config = AdamConfig { learning_rate: 0.03, ..AdamConfig::default() };
        for now in [1, 2, 200, 10_000] {
            let table = MissedTable::new(&config, now);
            for n_missed in [1, 2, 5, 127, 128, 129, 1000, 4096, 4097, 9999] {
                let last = now - n_missed;
                if last < 1 {
                    continue;
                }
                let Missed { factor, decay_1, decay_2 } = table.since(last);
                let expected = summed(&config, last, now);
                let error = (f64::from(factor) / expected - 1.0).abs();
                assert!(error < 1e-5, "step {last} of {now}: {factor}, not {expected}");
                let expected = (0.9f64.powi(n_missed), 0.999f64.powi(n_missed));
                assert!((f64::from(decay_1) - expected.0).abs() < 1e-6);
                assert!((f64::from(decay_2) - expected.1).abs() < 1e-3 * expected.1);
            }
        }
    }
}

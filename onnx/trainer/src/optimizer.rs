//! Adam, one fused pass; for large tables only over the rows that a batch touches.

use ndarray::{Array, Array2, ArrayD, ArrayRef, ArrayViewD, Dimension};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::check::{is_positive, is_true};
use crate::rows::RowMajor as _;
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
    /// Checks every setting's range; `of` tells whose they are, as "the wide model's ".
    pub(crate) fn check(&self, of: &str) -> Result<()> {
        let (rate, epsilon) = (self.learning_rate, self.epsilon);
        is_true(&format!("{of}learning rate"), rate, is_positive(rate), "greater than 0")?;
        is_true(&format!("{of}epsilon"), epsilon, is_positive(epsilon), "greater than 0")?;
        for (name, beta) in [("beta 1", self.beta_1), ("beta 2", self.beta_2)] {
            let is_decay = (0.0..1.0).contains(&beta);
            is_true(&format!("{of}{name}"), beta, is_decay, "0 or more, less than 1")?;
        }
        let norm = self.max_gradient_norm;
        let is_bound = norm >= 0.0 && norm.is_finite();
        is_true(&format!("{of}max gradient norm"), norm, is_bound, "0 or more")
    }

    /// Returns the settings with a share of the learning rate.
    pub(crate) fn at(&self, rate: f32) -> Self {
        AdamConfig { learning_rate: rate * self.learning_rate, ..*self }
    }
}

/// The running means of the gradient and of its square, for a parameter that every step moves.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    first: ArrayD<f32>,
    second: ArrayD<f32>,
}

impl Moments {
    /// Starts at zero.
    pub(crate) fn of<D: Dimension>(parameter: &Array<f32, D>) -> Self {
        let zeros = ArrayD::zeros(parameter.shape());
        Moments { first: zeros.clone(), second: zeros }
    }

    /// Returns both means.
    pub(crate) fn state(&self) -> State<'_> {
        let mut state = State::default();
        state.put("first", self.first.view());
        state.put("second", self.second.view());
        state
    }

    /// Takes both means back.
    pub(crate) fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        state.fill("first", self.first.view_mut())?;
        state.fill("second", self.second.view_mut())
    }

    /// Moves a parameter against its gradient.
    pub(crate) fn update<D: Dimension>(
        &mut self,
        step: Step,
        parameter: &mut Array<f32, D>,
        gradient: &Array<f32, D>,
    ) {
        values_mut(parameter)
            .par_chunks_mut(CHUNK)
            .zip(values(gradient).par_chunks(CHUNK))
            .zip(values_mut(&mut self.first).par_chunks_mut(CHUNK))
            .zip(values_mut(&mut self.second).par_chunks_mut(CHUNK))
            .for_each(|(((values, gradients), first), second)| {
                move_values(step, values, gradients, first, second);
            });
    }
}

fn values<D: Dimension>(array: &ArrayRef<f32, D>) -> &[f32] {
    array.as_slice().expect("standard layout")
}

fn values_mut<D: Dimension>(array: &mut ArrayRef<f32, D>) -> &mut [f32] {
    array.as_slice_mut().expect("standard layout")
}

/// The values that one task updates; small matrices stay on one thread.
const CHUNK: usize = 1 << 14;

/// The running means for a table of which a batch touches some rows only.
#[derive(Clone, Debug)]
pub(crate) struct RowMoments {
    moments: Moments,
    /// For each row, the step up to which it is updated.
    steps: Vec<i32>,
}

impl RowMoments {
    /// Starts at zero.
    pub(crate) fn of(table: &Array2<f32>) -> Self {
        RowMoments { moments: Moments::of(table), steps: vec![0; table.nrows()] }
    }

    /// Returns both means, and the step up to which each row is updated.
    pub(crate) fn state(&self) -> State<'_> {
        let mut state = self.moments.state();
        let steps: Vec<u64> = self.steps.iter().map(|&step| step as u64).collect();
        state.put_counts("steps", steps);
        state
    }

    /// Takes both means and the steps back.
    pub(crate) fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.moments.restore(state)?;
        let steps = state.counts("steps", self.steps.len())?;
        self.steps.iter_mut().zip(steps).for_each(|(step, &found)| *step = found as i32);
        Ok(())
    }

    /// Brings rows up to date with the steps done so far, before they are read.
    ///
    /// A row that no batch touched keeps moving by its running mean, as under plain Adam. The steps
    /// missed are made up at once: with m and v decaying, their sum is a factor times m / sqrt(v),
    /// the same for the whole row.
    pub(crate) fn catch_up(
        &mut self,
        config: &AdamConfig,
        n_steps: i32,
        table: &mut Array2<f32>,
        is_needed: impl Fn(usize) -> bool + Sync,
    ) {
        self.rows(table).for_each(|(number, row)| {
            if *row.step == n_steps || !is_needed(number) {
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

    /// Moves the rows that a batch touched, which must be up to date, against their gradients.
    ///
    /// `position` gives a row's place among `gradients`' rows.
    pub(crate) fn update(
        &mut self,
        step: Step,
        table: &mut Array2<f32>,
        gradients: &Array2<f32>,
        position: impl Fn(usize) -> Option<usize> + Sync,
    ) {
        self.rows(table).for_each(|(number, row)| {
            if let Some(position) = position(number) {
                move_values(step, row.values, gradients.row_slice(position), row.first, row.second);
                *row.step = step.number;
            }
        });
    }

    /// Goes through a table's rows with what Adam keeps of each.
    fn rows<'a>(
        &'a mut self,
        table: &'a mut Array2<f32>,
    ) -> impl ParallelIterator<Item = (usize, TableRow<'a>)> {
        let n_cols = table.ncols();
        let Moments { first, second } = &mut self.moments;
        table
            .values_mut()
            .par_chunks_mut(n_cols)
            .zip(values_mut(first).par_chunks_mut(n_cols))
            .zip(values_mut(second).par_chunks_mut(n_cols))
            .zip(self.steps.par_iter_mut())
            .with_min_len(256)
            .enumerate()
            .map(|(number, (((values, first), second), step))| {
                (number, TableRow { values, first, second, step })
            })
    }
}

/// A row of a table, its running means, and the step up to which they are updated.
struct TableRow<'a> {
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    step: &'a mut i32,
}

/// What one step's formula needs: the decays, and the step size with its bias corrections.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// t, from 1.
    number: i32,
    beta_1: f32,
    beta_2: f32,
    /// learning rate / (1 - beta_1^t)
    rate: f32,
    /// 1 / sqrt(1 - beta_2^t)
    second_scale: f32,
    epsilon: f32,
    /// What the gradient is multiplied by.
    gradient_scale: f32,
}

impl Step {
    /// Returns what step t needs.
    pub(crate) fn at(config: &AdamConfig, t: i32) -> Self {
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

    /// Scales the gradient, given in parts, down to the norm that the settings allow.
    ///
    /// A gradient that is not finite stays as it is.
    pub(crate) fn clipped<'g>(
        self,
        config: &AdamConfig,
        gradients: impl IntoIterator<Item = ArrayViewD<'g, f32>>,
    ) -> Self {
        let bound = config.max_gradient_norm;
        if bound == 0.0 {
            return self;
        }
        let squares = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        let total: f64 = gradients
            .into_iter()
            .map(|gradient| values(&gradient).par_chunks(CHUNK).map(squares).sum::<f64>())
            .sum();
        let norm = total.sqrt() as f32;
        let is_longer = norm.is_finite() && norm > bound;
        Step { gradient_scale: if is_longer { bound / norm } else { 1.0 }, ..self }
    }
}

/// A row untouched for longer than this has stopped moving: 0.9^128 is 1e-6.
const MOVING_STEPS: i32 = 128;

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

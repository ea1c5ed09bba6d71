//! Adam, one fused pass; for large tables only over the rows that a batch touches.

mod config;
mod missed;

use ndarray::{
    Array, Array2, ArrayD, ArrayRef, ArrayView2, ArrayViewD, ArrayViewMut2, ArrayViewMutD,
    Dimension,
};
use rayon::prelude::*;

use crate::parameters::Parameters;
use crate::state::{State, StateError};
pub use config::AdamConfig;
use missed::{Missed, MissedTable};

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

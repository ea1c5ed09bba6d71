//! AdamW (Loshchilov and Hutter, 2019), with the gradient's norm bounded.

use burn::tensor::{Device, Tensor};

use super::groups::{Gradients, each};
use super::{DeviceWeights, Weights, matrix_of};
use crate::optimizer::AdamConfig;
use crate::rows::RowMajor as _;
use crate::state::{State, StateError};

/// The learning rate and weight decay of one of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// The learning rate.
    pub(crate) rate: f32,
    /// The share of the weight, times the learning rate, that it loses in each step.
    pub(crate) decay: f32,
}

/// Weights in training on a device, and the running means of their gradients.
#[derive(Clone, Debug)]
pub(crate) struct AdamW {
    values: DeviceWeights,
    first: DeviceWeights,
    second: DeviceWeights,
    n_steps: u64,
}

impl AdamW {
    /// Starts from weights.
    pub(crate) fn new(weights: &Weights, device: &Device) -> Self {
        let values = weights.to_device(device);
        let (first, second) = (values.zeros_like(), values.zeros_like());
        AdamW { values, first, second, n_steps: 0 }
    }

    /// Returns the weights as of the last step.
    pub(crate) fn values(&self) -> &DeviceWeights {
        &self.values
    }

    /// Returns the number of steps made.
    pub(crate) fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// Moves every weight that has a gradient against it.
    ///
    /// ```text
    /// m = beta_1 m + (1 - beta_1) g,   v = beta_2 v + (1 - beta_2) g^2
    /// w = w - rate (m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon) + decay w)
    /// ```
    ///
    /// `pace` tells each weight's rate and decay by its name; the settings' own rate is not read.
    pub(crate) fn step(
        &mut self,
        config: &AdamConfig,
        pace: impl Fn(&str) -> Pace,
        mut gradients: Gradients,
    ) {
        let scale = clipping(&gradients, config.max_gradient_norm);
        self.n_steps += 1;
        let t = i32::try_from(self.n_steps).unwrap_or(i32::MAX);
        let device = self.values.device();
        let means = self.first.iter_mut().zip(self.second.iter_mut());
        let weights = self.values.iter_mut().zip(means);
        let weights = weights.filter_map(|((name, value), ((_, first), (_, second)))| {
            let gradient = gradients.remove(name)?;
            Some((Weight { value, first, second }, gradient, pace(name)))
        });
        each(&device, weights.collect(), |(weight, gradient, pace)| {
            weight.step(config, t, gradient * scale, pace);
        });
    }

    /// Returns the weights, the running means and the number of steps.
    pub(crate) fn state(&self) -> State<'static> {
        let mut state = State::default();
        state.put_counts("n_steps", vec![self.n_steps]);
        for (part, weights) in
            [("", &self.values), ("first/", &self.first), ("second/", &self.second)]
        {
            for (name, tensor) in weights.iter() {
                let values = matrix_of(tensor.clone());
                let name = format!("{part}{name}");
                state.put_values(name, values.shape(), values.values().to_vec());
            }
        }
        state
    }

    /// Restores what [`AdamW::state`] returned.
    pub(crate) fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.n_steps = state.count("n_steps")?;
        for (part, weights) in
            [("", &mut self.values), ("first/", &mut self.first), ("second/", &mut self.second)]
        {
            weights.restore(part, state)?;
        }
        Ok(())
    }
}

/// One of the weights, and the running means of its gradient and of the gradient's square.
struct Weight<'a> {
    value: &'a mut Tensor<2>,
    first: &'a mut Tensor<2>,
    second: &'a mut Tensor<2>,
}

impl Weight<'_> {
    /// Takes the t-th step.
    fn step(self, config: &AdamConfig, t: i32, gradient: Tensor<2>, pace: Pace) {
        let &AdamConfig { beta_1, beta_2, epsilon, .. } = config;
        let Weight { value, first, second } = self;
        *first = first.clone() * beta_1 + gradient.clone() * (1.0 - beta_1);
        *second = second.clone() * beta_2 + gradient.square() * (1.0 - beta_2);
        let root = second.clone().sqrt() / (1.0 - beta_2.powi(t)).sqrt() + epsilon;
        let rate = pace.rate / (1.0 - beta_1.powi(t));
        let moved = first.clone() / root * rate;
        *value = value.clone() * (1.0 - pace.rate * pace.decay) - moved;
    }
}

/// Returns what to multiply all gradients by so that their norm is at most `bound`; 0 is no bound.
///
/// A gradient that is not finite stays as it is.
fn clipping(gradients: &Gradients, bound: f32) -> f32 {
    if bound == 0.0 {
        return 1.0;
    }
    let squares = gradients.values().map(|gradient| gradient.clone().square().sum());
    let Some(total) = squares.reduce(|a, b| a + b) else { return 1.0 };
    let norm: f32 = total.sqrt().into_scalar();
    if norm.is_finite() && norm > bound { bound / norm } else { 1.0 }
}

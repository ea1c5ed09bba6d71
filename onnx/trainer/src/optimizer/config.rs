//! Adam's parameters.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::check::{is_positive, is_true};

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

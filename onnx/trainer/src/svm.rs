//! Linear support vector machines on sparse features.
//!
//! A machine minimizes `|w|^2 / 2 + C sum_i max(0, 1 - y_i w.x_i)^2`, with y_i = 1 where text i has the label
//! and -1 elsewhere. It is found by dual coordinate descent (Hsieh et al., "A Dual Coordinate Descent Method
//! for Large-scale Linear SVM", ICML 2008).

use autotag_onnx::Features;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

/// The settings of a machine's training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SvmConfig {
    /// C: the cost of an error beside the weights' length, greater than 0.
    pub cost: f32,
    /// The most passes over the training texts.
    pub passes: usize,
    /// The spread of the projected gradient at which a machine is found.
    pub tolerance: f32,
}

impl Default for SvmConfig {
    fn default() -> Self {
        SvmConfig { cost: 1.0, passes: 100, tolerance: 0.05 }
    }
}

/// A label's weights, with that of a feature that is 1 in every text.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSvm {
    /// w.
    pub weights: Vec<f32>,
    /// The weight of the feature that is 1 in every text.
    pub bias: f32,
}

impl LinearSvm {
    /// Finds the weights of features with ids below `n_features`: each step makes the dual as large as it can
    /// become by one text's alpha. `y` has 1 or -1 for each text.
    pub fn train(
        x: &[Features],
        y: &[f32],
        n_features: usize,
        config: &SvmConfig,
        seed: u64,
    ) -> Self {
        let mut machine = LinearSvm { weights: vec![0.0; n_features], bias: 0.0 };
        let diagonal = 0.5 / config.cost;
        let lengths: Vec<f32> = x.iter().map(|x| 1.0 + diagonal + squared_length(x)).collect();
        let mut alpha = vec![0.0f32; x.len()];
        let mut rows: Vec<usize> = (0..x.len()).collect();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        // Texts far on the right side are set aside until the others are settled.
        let (mut n_active, mut bound) = (x.len(), f32::INFINITY);
        for _ in 0..config.passes {
            rows[..n_active].shuffle(&mut rng);
            let (mut largest, mut smallest) = (f32::NEG_INFINITY, f32::INFINITY);
            let mut position = 0;
            while position < n_active {
                let row = rows[position];
                let gradient = y[row] * machine.margin(&x[row]) - 1.0 + alpha[row] * diagonal;
                if alpha[row] == 0.0 && gradient > bound {
                    n_active -= 1;
                    rows.swap(position, n_active);
                    continue;
                }
                position += 1;
                let projected = if alpha[row] == 0.0 { gradient.min(0.0) } else { gradient };
                (largest, smallest) = (largest.max(projected), smallest.min(projected));
                if projected != 0.0 {
                    let new = (alpha[row] - gradient / lengths[row]).max(0.0);
                    machine.add(&x[row], (new - alpha[row]) * y[row]);
                    alpha[row] = new;
                }
            }
            if largest - smallest <= config.tolerance || n_active == 0 {
                if n_active == x.len() {
                    break;
                }
                (n_active, bound) = (x.len(), f32::INFINITY);
                continue;
            }
            bound = if largest > 0.0 { largest } else { f32::INFINITY };
        }
        machine
    }

    /// Returns w.x and the bias: above 0 where the text seems to have the label.
    pub fn margin(&self, x: &Features) -> f32 {
        let products = x.ids.iter().zip(&x.weights);
        self.bias + products.map(|(&id, weight)| self.weights[id as usize] * weight).sum::<f32>()
    }

    fn add(&mut self, x: &Features, step: f32) {
        for (&id, weight) in x.ids.iter().zip(&x.weights) {
            self.weights[id as usize] += step * weight;
        }
        self.bias += step;
    }
}

fn squared_length(x: &Features) -> f32 {
    x.weights.iter().map(|weight| weight * weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(values: [f32; 2]) -> Features {
        Features { ids: vec![0, 1], weights: values.to_vec() }
    }

    fn objective(machine: &LinearSvm, x: &[Features], y: &[f32], cost: f32) -> f32 {
        let weights = machine.weights.iter().chain([&machine.bias]);
        let length: f32 = weights.map(|weight| weight * weight).sum();
        let miss = |(x, y): (&Features, &f32)| (1.0 - y * machine.margin(x)).max(0.0).powi(2);
        length / 2.0 + cost * x.iter().zip(y).map(miss).sum::<f32>()
    }

    #[test]
    fn no_weights_near_the_machines_are_better() {
        let x: Vec<Features> =
            [[1.0, 0.2], [0.8, 0.5], [0.6, 0.6], [0.1, 0.9], [0.3, 1.0], [0.9, 0.4]]
                .map(point)
                .to_vec();
        let y = [1.0, 1.0, -1.0, -1.0, -1.0, -1.0];
        let config = SvmConfig { tolerance: 1e-6, passes: 10_000, ..SvmConfig::default() };
        let machine = LinearSvm::train(&x, &y, 2, &config, 0);
        let best = objective(&machine, &x, &y, config.cost);
        for (weight, step) in [(0, 0.01), (0, -0.01), (1, 0.01), (1, -0.01), (2, 0.01), (2, -0.01)]
        {
            let mut moved = machine.clone();
            match weight {
                2 => moved.bias += step,
                _ => moved.weights[weight] += step,
            }
            assert!(objective(&moved, &x, &y, config.cost) > best, "{weight} {step}");
        }
    }
}

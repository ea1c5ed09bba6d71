//! The losses and their gradients: binary cross-entropy and the multi-label contrastive loss.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use autotag::LabelSet;

use crate::check::{is_positive, is_true};
use crate::error::Result;
use crate::rows::{RowMajor as _, multiply, product};

/// C_ij, from which beta_ij is made: the weight of a pair of texts for the labels that it shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coefficient {
    /// C_ij = y_i . y_j: as many times as it shares labels.
    #[default]
    Dynamic,
    /// C_ij cut to 1: a pair that shares labels counts once, however many they are.
    Cut,
}

/// The weight and temperature of the contrastive loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContrastiveConfig {
    /// gamma: the weight beside BCE; 0 leaves the loss out.
    pub gamma: f32,
    /// tau'.
    pub temperature: f32,
    /// C_ij.
    #[serde(default)]
    pub coefficient: Coefficient,
}

impl Default for ContrastiveConfig {
    /// Returns the paper's setting for AAPD.
    fn default() -> Self {
        ContrastiveConfig { gamma: 0.1, temperature: 10.0, coefficient: Coefficient::Dynamic }
    }
}

impl ContrastiveConfig {
    /// Returns a loss that is left out, with a temperature that suits representations of length 1.
    pub(crate) fn off_on_the_unit_sphere() -> Self {
        ContrastiveConfig { gamma: 0.0, temperature: 0.1, ..ContrastiveConfig::default() }
    }

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        let ContrastiveConfig { gamma, temperature, .. } = *self;
        is_true("gamma", gamma, gamma >= 0.0 && gamma.is_finite(), "0 or more")?;
        is_true("tau'", temperature, is_positive(temperature), "greater than 0")
    }
}

/// Added to squared distances, so that the root's gradient stays finite where texts coincide.
pub(crate) const DISTANCE_EPSILON: f32 = 1e-6;

/// Computes binary cross-entropy, summed over labels and averaged over the batch.
///
/// `BCE = 1/B sum_b sum_l -(y log s + (1 - y) log(1 - s))` with `s = sigmoid(logit)`. `logits` is
/// [batch, labels] and is overwritten with the gradient, `(s - y) / B`. Returns the loss.
pub fn binary_cross_entropy(logits: &mut Array2<f32>, labels: &[&LabelSet]) -> f32 {
    let n_rows = logits.nrows();
    let scale = 1.0 / n_rows.max(1) as f32;
    let mut total = 0.0;
    for (row, labels) in labels.iter().enumerate().take(n_rows) {
        let logits = logits.row_slice_mut(row);
        // softplus(x) - x y, in the form that does not overflow.
        for &label in labels.ids() {
            total -= f64::from(logits[label.index()]);
        }
        for logit in logits.iter_mut() {
            total += f64::from(logit.max(0.0) + (-logit.abs()).exp().ln_1p());
            *logit = sigmoid(*logit) * scale;
        }
        for &label in labels.ids() {
            logits[label.index()] -= scale;
        }
    }
    (total * f64::from(scale)) as f32
}

/// Returns 1 / (1 + e^-x).
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Computes the multi-label contrastive loss of a batch, averaged over its B anchors.
///
/// ```text
/// L = 1/B sum_i sum_{j != i} -beta_ij log( e^(-d(z_i,z_j)/tau') / sum_{k != i} e^(-d(z_i,z_k)/tau') )
/// C_ij = y_i . y_j,   beta_ij = C_ij / sum_{k != i} C_ik
/// ```
///
/// [`Coefficient`] says whether C_ij is that number or cut to 1.
/// An anchor that shares no label with the batch adds nothing. `z` is [batch, dimensions];
/// `gradient` is overwritten with dL/dz. Returns the loss.
pub fn contrastive(
    z: &Array2<f32>,
    labels: &[&LabelSet],
    temperature: f32,
    coefficient: Coefficient,
    gradient: &mut Array2<f32>,
) -> f32 {
    let n = z.nrows();
    let distances = distances(z);
    let mut pull = Array2::zeros((n, n));
    let mut total = 0.0;
    for i in 0..n {
        let beta = beta(labels, i, coefficient);
        if beta.iter().all(|&beta| beta == 0.0) {
            continue;
        }
        let log_p = log_softmax_without(i, distances.row_slice(i), temperature);
        for j in (0..n).filter(|&j| j != i) {
            if beta[j] > 0.0 {
                total -= f64::from(beta[j] * log_p[j]);
            }
            // dL/dd_ij = (beta_ij - p_ij) / (B tau'); the pair pulls on both its ends.
            let slope = (beta[j] - log_p[j].exp()) / (n as f32 * temperature);
            let force = slope / distances[[i, j]];
            pull[[i, j]] += force;
            pull[[j, i]] += force;
        }
    }
    // dL/dz_i = sum_j pull_ij (z_i - z_j)
    multiply(gradient, pull.view(), z.view());
    for i in 0..n {
        let weight: f32 = pull.row_slice(i).iter().sum();
        for (gradient, z) in gradient.row_slice_mut(i).iter_mut().zip(z.row_slice(i)) {
            *gradient = weight * z - *gradient;
        }
    }
    (total / n.max(1) as f64) as f32
}

/// Returns beta_i: how much of the labels that anchor i shares with the batch each row has.
pub(crate) fn beta(labels: &[&LabelSet], i: usize, coefficient: Coefficient) -> Vec<f32> {
    let most = match coefficient {
        Coefficient::Dynamic => usize::MAX,
        Coefficient::Cut => 1,
    };
    let shared = |other: &&LabelSet| labels[i].shared(other).min(most) as f32;
    let mut shared: Vec<f32> = labels.iter().map(shared).collect();
    shared[i] = 0.0;
    let total: f32 = shared.iter().sum();
    if total > 0.0 {
        shared.iter_mut().for_each(|shared| *shared /= total);
    }
    shared
}

fn distances(z: &Array2<f32>) -> Array2<f32> {
    let mut distances = product(z.view(), z.t());
    let squares = distances.diag().to_owned();
    for ((i, j), product) in distances.indexed_iter_mut() {
        let square = (squares[i] + squares[j] - 2.0 * *product).max(0.0);
        *product = (square + DISTANCE_EPSILON).sqrt();
    }
    distances
}

/// Returns log softmax_{k != i}(-d_k / tau'); the value at i itself is minus infinity.
fn log_softmax_without(i: usize, distances: &[f32], temperature: f32) -> Vec<f32> {
    let mut logits: Vec<f32> = distances.iter().map(|d| -d / temperature).collect();
    logits[i] = f32::NEG_INFINITY;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let log_total = largest + total.ln();
    logits.iter().map(|logit| logit - log_total).collect()
}

#[cfg(test)]
mod tests {
    use autotag::LabelId;

    use super::*;
    use crate::rows::row_major;

    fn labels(ids: &[u32]) -> LabelSet {
        ids.iter().copied().map(LabelId).collect()
    }

    /// A fixed sequence of values within -1..1.
    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + 13) % 1000) as f32 / 500.0 - 1.0).collect()
    }

    fn check_gradient(x: &Array2<f32>, gradient: &Array2<f32>, loss: impl Fn(&Array2<f32>) -> f32) {
        let step = 1e-2;
        for i in 0..x.values().len() {
            let mut moved = x.clone();
            moved.values_mut()[i] += step;
            let above = loss(&moved);
            moved.values_mut()[i] -= 2.0 * step;
            let slope = (above - loss(&moved)) / (2.0 * step);
            let computed = gradient.values()[i];
            assert!((slope - computed).abs() < 2e-3, "value {i}: {slope} against {computed}");
        }
    }

    #[test]
    fn the_gradient_of_cross_entropy_is_its_slope() {
        let sets = [labels(&[0, 2]), labels(&[])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let logits = row_major(2, 3, values(6));
        let mut gradient = logits.clone();
        binary_cross_entropy(&mut gradient, &sets);
        check_gradient(&logits, &gradient, |x| binary_cross_entropy(&mut x.clone(), &sets));
    }

    #[test]
    fn the_gradient_of_the_contrastive_loss_is_its_slope() {
        let sets = [labels(&[0, 1]), labels(&[1]), labels(&[0, 1]), labels(&[2]), labels(&[])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let z = row_major(5, 4, values(20));
        let mut gradient = Array2::zeros((0, 0));
        for coefficient in [Coefficient::Dynamic, Coefficient::Cut] {
            let loss = |z: &Array2<f32>, gradient: &mut Array2<f32>| {
                contrastive(z, &sets, 0.5, coefficient, gradient)
            };
            loss(&z, &mut gradient);
            check_gradient(&z, &gradient, |z| loss(z, &mut Array2::zeros((0, 0))));
        }
    }

    #[test]
    fn texts_that_coincide_have_a_finite_gradient() {
        let sets = [labels(&[0]), labels(&[0]), labels(&[1])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let z = row_major(3, 2, vec![1.0; 6]);
        let mut gradient = Array2::zeros((0, 0));
        assert!(contrastive(&z, &sets, 10.0, Coefficient::Dynamic, &mut gradient).is_finite());
        assert!(gradient.values().iter().all(|value| value.is_finite()));
    }

    #[test]
    fn a_batch_that_shares_no_label_adds_nothing() {
        let sets = [labels(&[0]), labels(&[1]), labels(&[])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let z = row_major(3, 2, values(6));
        let mut gradient = Array2::zeros((0, 0));
        assert_eq!(contrastive(&z, &sets, 10.0, Coefficient::Dynamic, &mut gradient), 0.0);
        assert!(gradient.values().iter().all(|&value| value == 0.0));
    }

    #[test]
    fn beta_sums_to_one_over_the_rows_that_share() {
        let sets = [labels(&[0, 1]), labels(&[0, 1]), labels(&[1]), labels(&[2])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        assert_eq!(beta(&sets, 0, Coefficient::Dynamic), [0.0, 2.0 / 3.0, 1.0 / 3.0, 0.0]);
        assert_eq!(beta(&sets, 0, Coefficient::Cut), [0.0, 0.5, 0.5, 0.0]);
    }
}

//! The losses and their gradients: binary cross-entropy and the multi-label contrastive loss.

use std::fmt;

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

/// tau', the temperature of the contrastive loss.
///
/// Why two forms? The softmax over a batch's pairs depends on how far tau' is from the spread of their
/// distances, which differs between models and changes in training. With distances of 10 +- 1.8 and the
/// paper's tau' of 10 the softmax is nearly uniform, and the loss hardly has a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ContrastiveTemperature {
    /// In units of distance, as in the paper. JSON: a number.
    Absolute(f32),
    /// In units of the standard deviation of the batch's pair distances. JSON: `{"relative": 0.5}`.
    ///
    /// The deviation is that of each batch by itself, so no running mean has to be kept, and it takes
    /// part in the gradient, so the loss does not depend on the scale of the representations at all.
    Relative {
        /// The number of standard deviations.
        #[serde(rename = "relative")]
        factor: f32,
    },
}

impl ContrastiveTemperature {
    /// Returns tau' for a batch whose pair distances have this standard deviation.
    fn at(self, spread: f32) -> f32 {
        match self {
            ContrastiveTemperature::Absolute(temperature) => temperature,
            ContrastiveTemperature::Relative { factor } => {
                factor * (spread * spread + DISTANCE_EPSILON).sqrt()
            }
        }
    }

    /// Checks the range.
    fn check(self) -> Result<()> {
        let value = match self {
            ContrastiveTemperature::Absolute(temperature) => temperature,
            ContrastiveTemperature::Relative { factor } => factor,
        };
        is_true("tau'", value, is_positive(value), "greater than 0")
    }
}

/// Writes `10` or `relative:0.5`.
impl fmt::Display for ContrastiveTemperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContrastiveTemperature::Absolute(temperature) => temperature.fmt(f),
            ContrastiveTemperature::Relative { factor } => write!(f, "relative:{factor}"),
        }
    }
}

/// The weight and temperature of the contrastive loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContrastiveConfig {
    /// gamma: the weight beside BCE; 0 leaves the loss out.
    pub gamma: f32,
    /// tau'.
    pub temperature: ContrastiveTemperature,
    /// C_ij.
    #[serde(default)]
    pub coefficient: Coefficient,
}

impl Default for ContrastiveConfig {
    /// Returns the paper's setting for AAPD.
    fn default() -> Self {
        let temperature = ContrastiveTemperature::Absolute(10.0);
        ContrastiveConfig { gamma: 0.1, temperature, coefficient: Coefficient::Dynamic }
    }
}

impl ContrastiveConfig {
    /// Returns a loss that is left out, with a temperature that suits representations of any scale.
    pub(crate) fn off() -> Self {
        let temperature = ContrastiveTemperature::Relative { factor: 0.5 };
        ContrastiveConfig { gamma: 0.0, temperature, ..ContrastiveConfig::default() }
    }

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        let ContrastiveConfig { gamma, temperature, .. } = *self;
        is_true("gamma", gamma, gamma >= 0.0 && gamma.is_finite(), "0 or more")?;
        temperature.check()
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

/// The pairs of a batch of B representations, which the multi-label contrastive loss compares.
///
/// ```text
/// L = 1/B sum_i sum_{j != i} -beta_ij log( e^(-d(z_i,z_j)/tau') / sum_{k != i} e^(-d(z_i,z_k)/tau') )
/// C_ij = y_i . y_j,   beta_ij = C_ij / sum_{k != i} C_ik
/// ```
///
/// [`Coefficient`] says whether C_ij is that number or cut to 1, [`ContrastiveTemperature`] whether tau'
/// follows the distances. An anchor i that shares no label with the batch adds nothing.
#[derive(Clone, Debug)]
pub struct Pairs<'z> {
    /// [B, dimensions].
    z: &'z Array2<f32>,
    /// d(z_i, z_j): [B, B].
    distances: Array2<f32>,
    /// The mean of the distances with i != j.
    mean: f32,
    /// Their standard deviation.
    spread: f32,
}

/// A representation as the loss compares it with the others.
struct Anchor {
    i: usize,
    beta: Vec<f32>,
    /// log softmax_{k != i}(-d_ik / tau').
    log_p: Vec<f32>,
}

impl<'z> Pairs<'z> {
    /// Measures the distances between representations [B, dimensions].
    pub fn new(z: &'z Array2<f32>) -> Self {
        let distances = distances(z);
        let n_pairs = n_pairs(z.nrows());
        let apart = || distances.indexed_iter().filter(|((i, j), _)| i != j);
        let mean = apart().map(|(_, &d)| f64::from(d)).sum::<f64>() / n_pairs;
        let squares = apart().map(|(_, &d)| (f64::from(d) - mean).powi(2));
        let spread = (squares.sum::<f64>() / n_pairs).sqrt() as f32;
        Pairs { z, distances, mean: mean as f32, spread }
    }

    /// Returns the standard deviation of the distances; 0 for fewer than three representations.
    pub fn spread(&self) -> f32 {
        self.spread
    }

    /// Computes the loss; `labels` has those of each representation, and gamma is not read.
    pub fn loss(&self, labels: &[&LabelSet], config: &ContrastiveConfig) -> f32 {
        self.mean_over_anchors(self.anchors(labels, config).map(|anchor| anchor.loss()).sum())
    }

    /// Computes the loss as [`Pairs::loss`] does, and overwrites `gradient` with dL/dz:
    /// [B, dimensions].
    pub fn loss_and_gradient(
        &self,
        labels: &[&LabelSet],
        config: &ContrastiveConfig,
        gradient: &mut Array2<f32>,
    ) -> f32 {
        let n = self.z.nrows();
        let temperature = config.temperature.at(self.spread);
        let mut slopes = Array2::zeros((n, n));
        let mut total = 0.0;
        for anchor in self.anchors(labels, config) {
            total += anchor.loss();
            let Anchor { i, beta, log_p } = anchor;
            // dL/dd_ij = (beta_ij - p_ij) / (B tau')
            for j in (0..n).filter(|&j| j != i) {
                slopes[[i, j]] = (beta[j] - log_p[j].exp()) / (n as f32 * temperature);
            }
        }
        if let ContrastiveTemperature::Relative { .. } = config.temperature {
            self.add_slopes_through_spread(&mut slopes);
        }
        self.gradient(&slopes, gradient);
        self.mean_over_anchors(total)
    }

    /// Compares each representation with the others; those that share no label with them are left out.
    fn anchors(
        &self,
        labels: &[&LabelSet],
        config: &ContrastiveConfig,
    ) -> impl Iterator<Item = Anchor> {
        let temperature = config.temperature.at(self.spread);
        (0..self.z.nrows()).filter_map(move |i| {
            let beta = beta(labels, i, config.coefficient);
            let shares = beta.iter().any(|&beta| beta > 0.0);
            shares.then(|| {
                let log_p = log_softmax_without(i, self.distances.row_slice(i), temperature);
                Anchor { i, beta, log_p }
            })
        })
    }

    fn mean_over_anchors(&self, total: f64) -> f32 {
        (total / self.z.nrows().max(1) as f64) as f32
    }

    /// Adds to the slopes dL/dd_ij at a fixed tau' those by way of tau' = c s, where s^2 is the variance
    /// of the N distances with i != j, plus a small constant.
    ///
    /// ```text
    /// dL/dtau' = -1/tau' sum_ij d_ij dL/dd_ij,   dtau'/dd_kl = tau' (d_kl - mean) / (N s^2)
    /// ```
    fn add_slopes_through_spread(&self, slopes: &mut Array2<f32>) {
        let by_scale: f64 = self
            .distances
            .iter()
            .zip(slopes.iter())
            .map(|(&distance, &slope)| f64::from(distance) * f64::from(slope))
            .sum();
        let variance = f64::from(self.spread).powi(2) + f64::from(DISTANCE_EPSILON);
        let factor = (by_scale / (n_pairs(self.z.nrows()) * variance)) as f32;
        for ((i, j), slope) in slopes.indexed_iter_mut().filter(|((i, j), _)| i != j) {
            *slope -= factor * (self.distances[[i, j]] - self.mean);
        }
    }

    /// Computes dL/dz from the slopes dL/dd_ij: a pair pulls on both its ends.
    fn gradient(&self, slopes: &Array2<f32>, gradient: &mut Array2<f32>) {
        let n = self.z.nrows();
        let mut pull = Array2::zeros((n, n));
        for ((i, j), slope) in slopes.indexed_iter() {
            let force = slope / self.distances[[i, j]];
            pull[[i, j]] += force;
            pull[[j, i]] += force;
        }
        // dL/dz_i = sum_j pull_ij (z_i - z_j)
        multiply(gradient, pull.view(), self.z.view());
        for i in 0..n {
            let weight: f32 = pull.row_slice(i).iter().sum();
            for (gradient, z) in gradient.row_slice_mut(i).iter_mut().zip(self.z.row_slice(i)) {
                *gradient = weight * z - *gradient;
            }
        }
    }
}

impl Anchor {
    fn loss(&self) -> f64 {
        let pairs = self.beta.iter().zip(&self.log_p).filter(|(beta, _)| **beta > 0.0);
        -pairs.map(|(beta, log_p)| f64::from(beta * log_p)).sum::<f64>()
    }
}

/// Returns the number of ordered pairs of different ones, at least 1.
pub(crate) fn n_pairs(n: usize) -> f64 {
    (n * n.saturating_sub(1)).max(1) as f64
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

    const FIXED: ContrastiveTemperature = ContrastiveTemperature::Absolute(0.5);
    const RELATIVE: ContrastiveTemperature = ContrastiveTemperature::Relative { factor: 0.5 };

    fn config(temperature: ContrastiveTemperature, coefficient: Coefficient) -> ContrastiveConfig {
        ContrastiveConfig { gamma: 1.0, temperature, coefficient }
    }

    fn loss_and_gradient(
        z: &Array2<f32>,
        labels: &[&LabelSet],
        config: &ContrastiveConfig,
    ) -> (f32, Array2<f32>) {
        let mut gradient = Array2::zeros((0, 0));
        let loss = Pairs::new(z).loss_and_gradient(labels, config, &mut gradient);
        (loss, gradient)
    }

    #[test]
    fn the_gradient_of_the_contrastive_loss_is_its_slope() {
        let sets = [labels(&[0, 1]), labels(&[1]), labels(&[0, 1]), labels(&[2]), labels(&[])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let z = row_major(5, 4, values(20));
        for temperature in [FIXED, RELATIVE] {
            for coefficient in [Coefficient::Dynamic, Coefficient::Cut] {
                let config = config(temperature, coefficient);
                let (loss, gradient) = loss_and_gradient(&z, &sets, &config);
                assert_eq!(loss, Pairs::new(&z).loss(&sets, &config));
                assert!(gradient.values().iter().any(|value| value.abs() > 0.01));
                check_gradient(&z, &gradient, |z| Pairs::new(z).loss(&sets, &config));
            }
        }
    }

    #[test]
    fn a_relative_temperature_makes_the_loss_independent_of_the_scale() {
        let sets = [labels(&[0, 1]), labels(&[1]), labels(&[0, 1]), labels(&[2]), labels(&[])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let z = row_major(5, 4, values(20));
        let loss = |scale: f32, temperature| {
            let scaled = &z * scale;
            Pairs::new(&scaled).loss(&sets, &config(temperature, Coefficient::Dynamic))
        };
        for scale in [0.1, 7.0, 1000.0] {
            let difference = loss(scale, RELATIVE) - loss(1.0, RELATIVE);
            assert!(difference.abs() < 1e-3, "scale {scale}: {difference}");
            assert!((loss(scale, FIXED) - loss(1.0, FIXED)).abs() > 0.1);
        }
        // So no step asks for longer representations: the gradient is orthogonal to them.
        let along = |temperature| {
            let (_, gradient) =
                loss_and_gradient(&z, &sets, &config(temperature, Coefficient::Dynamic));
            (&z * &gradient).sum()
        };
        assert!(along(RELATIVE).abs() < 1e-4, "{}", along(RELATIVE));
        assert!(along(FIXED).abs() > 0.1, "{}", along(FIXED));
    }

    #[test]
    fn the_spread_is_the_standard_deviation_of_the_pair_distances() {
        // Distances of 3, 4 and 5.
        let z = row_major(3, 2, vec![0.0, 0.0, 3.0, 0.0, 0.0, 4.0]);
        assert!((Pairs::new(&z).spread() - (2f32 / 3.0).sqrt()).abs() < 1e-5);
        for n in 0..3 {
            assert_eq!(Pairs::new(&row_major(n, 2, values(2 * n))).spread(), 0.0, "{n} texts");
        }
    }

    #[test]
    fn temperatures_in_json_are_numbers_or_relative() {
        for (temperature, json) in [(FIXED, "0.5"), (RELATIVE, r#"{"relative":0.5}"#)] {
            assert_eq!(serde_json::to_string(&temperature).unwrap(), json);
            assert_eq!(serde_json::from_str::<ContrastiveTemperature>(json).unwrap(), temperature);
        }
        assert_eq!(
            (FIXED.to_string(), RELATIVE.to_string()),
            ("0.5".into(), "relative:0.5".into())
        );
        for factor in [0.0, -1.0, f32::NAN] {
            let config = config(ContrastiveTemperature::Relative { factor }, Coefficient::Dynamic);
            assert!(config.check().unwrap_err().to_string().starts_with("tau' = "));
        }
    }

    #[test]
    fn texts_that_coincide_have_a_finite_gradient() {
        let sets = [labels(&[0]), labels(&[0]), labels(&[1])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let z = row_major(3, 2, vec![1.0; 6]);
        for temperature in [FIXED, RELATIVE] {
            let config = config(temperature, Coefficient::Dynamic);
            let (loss, gradient) = loss_and_gradient(&z, &sets, &config);
            assert!(loss.is_finite());
            assert!(gradient.values().iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn a_batch_that_shares_no_label_adds_nothing() {
        let sets = [labels(&[0]), labels(&[1]), labels(&[])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        let z = row_major(3, 2, values(6));
        for temperature in [FIXED, RELATIVE] {
            let config = config(temperature, Coefficient::Dynamic);
            let (loss, gradient) = loss_and_gradient(&z, &sets, &config);
            assert_eq!(loss, 0.0);
            assert!(gradient.values().iter().all(|&value| value == 0.0));
        }
    }

    #[test]
    fn beta_sums_to_one_over_the_rows_that_share() {
        let sets = [labels(&[0, 1]), labels(&[0, 1]), labels(&[1]), labels(&[2])];
        let sets: Vec<&LabelSet> = sets.iter().collect();
        assert_eq!(beta(&sets, 0, Coefficient::Dynamic), [0.0, 2.0 / 3.0, 1.0 / 3.0, 0.0]);
        assert_eq!(beta(&sets, 0, Coefficient::Cut), [0.0, 0.5, 0.5, 0.0]);
    }
}

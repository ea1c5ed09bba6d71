use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};

use autotag::LabelSet;

use super::matrix_of;
use crate::layers::NORM_EPSILON;
use crate::layers::row_norms;
use crate::loss::{
    ContrastiveConfig, ContrastiveTemperature, DISTANCE_EPSILON, Pairs, beta, n_pairs,
};
use crate::model::StepLoss;

/// A model's answer to a batch, on its device.
pub(crate) struct Answer {
    /// [B, R].
    pub(crate) representations: Tensor<2>,
    /// [B, L].
    pub(crate) logits: Tensor<2>,
}

/// The two parts of a batch's loss, on the device.
pub(crate) struct Losses {
    /// Binary cross-entropy, summed over labels, mean over the batch.
    pub(crate) bce: Tensor<1>,
    /// The contrastive loss before gamma, mean over the batch; `None` where gamma is 0.
    pub(crate) contrastive: Option<Tensor<1>>,
}

impl Losses {
    /// Returns `bce + gamma contrastive`.
    pub(crate) fn whole(&self, gamma: f32) -> Tensor<1> {
        match &self.contrastive {
            Some(contrastive) => self.bce.clone() + contrastive.clone() * gamma,
            None => self.bce.clone(),
        }
    }

    /// Returns the figures; `z` has the representations that the losses are of.
    ///
    /// Where gamma is 0 the contrastive loss is computed here, without a graph of operations.
    pub(crate) fn figures(
        self,
        z: Tensor<2>,
        labels: &[&LabelSet],
        config: &ContrastiveConfig,
    ) -> StepLoss {
        let z = matrix_of(z.inner());
        let pairs = Pairs::new(&z);
        let norms = row_norms(&z);
        let contrastive = match self.contrastive {
            Some(loss) => loss.into_scalar(),
            None => pairs.loss(labels, config),
        };
        StepLoss {
            bce: self.bce.into_scalar(),
            contrastive,
            norm: norms.iter().sum::<f32>() / norms.len().max(1) as f32,
            spread: pairs.spread(),
        }
    }
}

/// Computes both losses of a batch.
pub(crate) fn losses(answer: Answer, labels: &[&LabelSet], weights: &ContrastiveConfig) -> Losses {
    let Answer { representations, logits } = answer;
    let is_wanted = weights.gamma > 0.0;
    Losses {
        bce: binary_cross_entropy(logits, labels),
        contrastive: is_wanted.then(|| contrastive(representations, labels, weights)),
    }
}

/// Computes what [`binary_cross_entropy`](crate::loss::binary_cross_entropy) computes.
pub(super) fn binary_cross_entropy(logits: Tensor<2>, labels: &[&LabelSet]) -> Tensor<1> {
    let [n_rows, n_labels] = logits.dims();
    let mut targets = vec![0f32; n_rows * n_labels];
    for (row, labels) in targets.chunks_mut(n_labels.max(1)).zip(labels) {
        labels.ids().iter().for_each(|label| row[label.index()] = 1.0);
    }
    let targets = constant(targets, [n_rows, n_labels], &logits.device());
    // softplus(x) - x y, in the form that does not overflow.
    let softplus = relu(logits.clone()) + logits.clone().abs().neg().exp().log1p();
    (softplus - logits * targets).sum() / n_rows.max(1) as f32
}

/// Makes the softmax over an anchor's pairs leave the anchor itself out: e^-1e9 is 0.
const MASKED: f32 = -1e9;

/// Computes what [`Pairs::loss`] computes.
pub(super) fn contrastive(
    z: Tensor<2>,
    labels: &[&LabelSet],
    weights: &ContrastiveConfig,
) -> Tensor<1> {
    let &ContrastiveConfig { temperature, coefficient, .. } = weights;
    let [n, _] = z.dims();
    let device = z.device();
    let beta: Vec<f32> = (0..n).flat_map(|i| beta(labels, i, coefficient)).collect();
    let mut itself = vec![0.0; n * n];
    (0..n).for_each(|i| itself[i * n + i] = MASKED);

    let squares = z.clone().square().sum_dim(1);
    let products = z.clone().matmul(z.transpose());
    let squared = relu(squares.clone() + squares.transpose() - products * 2.0);
    let distances = (squared + DISTANCE_EPSILON).sqrt();
    let logits = match temperature {
        ContrastiveTemperature::Absolute(temperature) => distances / -temperature,
        ContrastiveTemperature::Relative { factor } => {
            distances.clone() / (spread(distances) * -factor)
        }
    };
    let log_p = log_softmax(logits + constant(itself, [n, n], &device), 1);
    (constant(beta, [n, n], &device) * log_p).sum() / -(n.max(1) as f32)
}

/// Returns the standard deviation of the distances [B, B] between different representations: [1, 1].
fn spread(distances: Tensor<2>) -> Tensor<2> {
    let [n, _] = distances.dims();
    let n_pairs = n_pairs(n) as f32;
    let apart = (0..n * n).map(|at| if at % (n + 1) == 0 { 0.0 } else { 1.0 });
    let apart = constant(apart.collect(), [n, n], &distances.device());
    let mean = (distances.clone() * apart.clone()).sum() / n_pairs;
    let centered = (distances - mean.reshape([1, 1])) * apart;
    let variance = centered.square().sum() / n_pairs;
    (variance + DISTANCE_EPSILON).sqrt().reshape([1, 1])
}

/// Scales each row to length 1, where it is not zero.
pub(crate) fn normalized_rows(x: Tensor<2>) -> Tensor<2> {
    // Too small to change a sum, and large enough for the root to have a gradient at 0.
    const TINY: f32 = 1e-20;
    let norms = (x.clone().square().sum_dim(1) + TINY).sqrt() + NORM_EPSILON;
    x / norms
}

fn constant(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

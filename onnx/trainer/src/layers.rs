//! Layers shared by the models: output layer with both losses, dropout, normalization.

use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut1, Axis, Zip};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use autotag::LabelSet;
use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;

use crate::loss::{ContrastiveConfig, Pairs, binary_cross_entropy, sigmoid};
use crate::model::{Answer, StepLoss};
use crate::rows::{RowMajor as _, multiply, product};

/// The layer from the representation to the labels' logits.
pub(crate) struct OutputLayer<'a> {
    /// [L, R].
    pub(crate) output: &'a Array2<f32>,
    /// `[L]`.
    pub(crate) bias: &'a Array1<f32>,
}

/// Regularization of the representation, in training only.
pub(crate) struct Regularization<'a> {
    /// The share of the representation that is dropped before the output layer.
    pub(crate) dropout: f32,
    /// The seed of the dropout mask.
    pub(crate) seed: u64,
    /// Scales representations to length 1 before the contrastive loss.
    pub(crate) normalize: bool,
    /// The contrastive loss.
    pub(crate) contrastive: &'a ContrastiveConfig,
}

/// The gradients of the output layer and of its input.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputGradients {
    /// dL/dh, 0 where ReLU let nothing through: [B, R].
    pub(crate) hidden: Array2<f32>,
    /// [L, R].
    pub(crate) output: Array2<f32>,
    /// `[L]`.
    pub(crate) output_bias: Array1<f32>,
}

impl OutputLayer<'_> {
    /// Scores representations [B, R]: [B, L].
    pub(crate) fn scores(&self, hidden: &Array2<f32>) -> Array2<f32> {
        let mut scores = self.logits(hidden);
        scores.mapv_inplace(sigmoid);
        scores
    }

    fn logits(&self, hidden: &Array2<f32>) -> Array2<f32> {
        product(hidden.view(), self.output.t()) + self.bias
    }

    /// Computes both losses of a batch of rectified representations [B, R], and their gradients.
    pub(crate) fn gradients(
        &self,
        hidden: &Array2<f32>,
        labels: &[&LabelSet],
        regularization: &Regularization<'_>,
        gradients: &mut OutputGradients,
    ) -> StepLoss {
        let Regularization { dropout, seed, .. } = *regularization;
        let mask = dropout_mask(hidden.dim(), dropout, seed);
        let kept = hidden * &mask;
        let mut logits = self.logits(&kept);
        let bce = binary_cross_entropy(&mut logits, labels);
        multiply(&mut gradients.output, logits.t(), kept.view());
        gradients.output_bias = logits.sum_axis(Axis(0));
        multiply(&mut gradients.hidden, logits.view(), self.output.view());
        gradients.hidden *= &mask;

        let loss = add_contrastive(hidden, labels, regularization, &mut gradients.hidden);
        gate(&mut gradients.hidden, hidden);
        StepLoss { bce, ..loss }
    }
}

/// Measures a batch's representations, and adds gamma dL_con/dh to the gradient where gamma is above 0;
/// returns all figures but the cross-entropy.
fn add_contrastive(
    hidden: &Array2<f32>,
    labels: &[&LabelSet],
    regularization: &Regularization<'_>,
    gradient: &mut Array2<f32>,
) -> StepLoss {
    let Regularization { normalize, contrastive: config, .. } = *regularization;
    let mut z = hidden.clone();
    let norms = if normalize { normalize_rows(&mut z) } else { row_norms(&z) };
    let pairs = Pairs::new(&z);
    let contrastive = if config.gamma > 0.0 {
        let mut z_gradient = Array2::zeros((0, 0));
        let loss = pairs.loss_and_gradient(labels, config, &mut z_gradient);
        if normalize {
            through_normalization(&z, &norms, &mut z_gradient);
        }
        gradient.scaled_add(config.gamma, &z_gradient);
        loss
    } else {
        pairs.loss(labels, config)
    };
    let norm = norms.iter().sum::<f32>() / norms.len().max(1) as f32;
    StepLoss { bce: 0.0, contrastive, norm, spread: pairs.spread() }
}

/// Turns dL/dz into dL/dh, where z = h / |h|: dL/dh = (dL/dz - z (z . dL/dz)) / |h|.
fn through_normalization(z: &Array2<f32>, norms: &[f32], gradient: &mut Array2<f32>) {
    for (row, norm) in norms.iter().enumerate() {
        let z = z.row_slice(row);
        let along: f32 = z.iter().zip(gradient.row_slice(row)).map(|(z, g)| z * g).sum();
        for (gradient, z) in gradient.row_slice_mut(row).iter_mut().zip(z) {
            *gradient = (*gradient - along * z) / norm;
        }
    }
}

/// Returns a dropout mask of a shape.
pub(crate) fn dropout_mask(shape: (usize, usize), dropout: f32, seed: u64) -> Array2<f32> {
    let mut mask = Array2::zeros(shape);
    fill_dropout_mask(mask.values_mut(), dropout, seed);
    mask
}

/// Fills a mask with 0 for the share dropped and 1 / (1 - share) for the rest.
pub(crate) fn fill_dropout_mask(mask: &mut [f32], dropout: f32, seed: u64) {
    if dropout == 0.0 {
        return mask.fill(1.0);
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let kept = 1.0 / (1.0 - dropout);
    let limit = (dropout * 65536.0) as u64;
    for values in mask.chunks_mut(4) {
        let mut bits = rng.next_u64();
        for value in values {
            *value = if bits & 0xFFFF < limit { 0.0 } else { kept };
            bits >>= 16;
        }
    }
}

/// Adds `scale` times a row.
pub(crate) fn add_scaled(sum: &mut [f32], scale: f32, row: &[f32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += scale * value),
    );
}

/// Sets the gradient to 0 where ReLU let nothing through.
fn gate(gradient: &mut Array2<f32>, hidden: &Array2<f32>) {
    Zip::from(gradient).and(hidden).for_each(|gradient, &hidden| {
        if hidden <= 0.0 {
            *gradient = 0.0;
        }
    });
}

/// Added to a norm before it divides.
pub(crate) const NORM_EPSILON: f32 = 1e-6;

/// Scales each row to length 1; returns the norms that were divided by.
pub(crate) fn normalize_rows(matrix: &mut Array2<f32>) -> Vec<f32> {
    let scale = |mut row: ArrayViewMut1<'_, f32>| {
        let norm = norm(row.view()) + NORM_EPSILON;
        row /= norm;
        norm
    };
    matrix.rows_mut().into_iter().map(scale).collect()
}

/// Returns each row's Euclidean norm.
pub(crate) fn row_norms(matrix: &Array2<f32>) -> Vec<f32> {
    matrix.rows().into_iter().map(norm).collect()
}

fn norm(row: ArrayView1<'_, f32>) -> f32 {
    row.iter().map(|value| value * value).sum::<f32>().sqrt()
}

/// Concatenates matrices along the columns, each scaled by a factor.
pub(crate) fn side_by_side(parts: &[(f32, &Array2<f32>)]) -> Array2<f32> {
    let n_rows = parts.first().map_or(0, |(_, part)| part.nrows());
    let n_cols = parts.iter().map(|(_, part)| part.ncols()).sum();
    let mut whole = Array2::zeros((n_rows, n_cols));
    let mut rest = whole.view_mut();
    for &(factor, part) in parts {
        let (columns, behind) = rest.split_at(Axis(1), part.ncols());
        Zip::from(columns).and(part).for_each(|to, from| *to = factor * from);
        rest = behind;
    }
    whole
}

/// Writes the output layer behind a rectified representation [batch, R], and the normalization where it
/// was trained. `part` is the prefix of the constants' names.
pub(crate) fn write_answer(
    graph: &mut GraphBuilder,
    part: &str,
    hidden: &Value,
    layer: &OutputLayer<'_>,
    normalize: bool,
) -> Answer {
    let (n_labels, n_hidden) = (layer.output.nrows(), layer.output.ncols());
    let values = layer.output.values();
    let output = graph.constant_f32(&format!("{part}_output"), &[n_labels, n_hidden], values);
    let bias = &layer.bias.to_vec();
    let bias = graph.constant_f32(&format!("{part}_output_bias"), &[n_labels], bias);
    let logits = graph.gemm_transposed(hidden, &output, &bias);
    let scores = graph.sigmoid(&logits);
    let embedding = if normalize { normalized(graph, hidden) } else { hidden.clone() };
    Answer { embedding, scores }
}

/// Writes the concatenation of parts [batch, ...], each scaled by a factor.
pub(crate) fn write_side_by_side(graph: &mut GraphBuilder, parts: &[(f32, &Value)]) -> Value {
    let mut scaled = Vec::with_capacity(parts.len());
    for &(factor, part) in parts {
        let factor = graph.scalar(factor);
        scaled.push(graph.mul(part, &factor));
    }
    graph.concat(&scaled.iter().collect::<Vec<_>>(), 1)
}

/// Finishes a graph with a model's answer as its outputs `embedding` [batch, R] and `scores` [batch, L].
pub(crate) fn finish(
    mut graph: GraphBuilder,
    answer: &Answer,
    n_hidden: usize,
    n_labels: usize,
) -> Vec<u8> {
    let (batch, float) = (Dim::Symbol("batch"), ElementType::Float);
    graph.output("embedding", &answer.embedding, float, &[batch, Dim::Fixed(n_hidden)]);
    graph.output("scores", &answer.scores, float, &[batch, Dim::Fixed(n_labels)]);
    graph.finish()
}

/// Scales each row of a value [batch, R] to length 1.
pub(crate) fn normalized(graph: &mut GraphBuilder, hidden: &Value) -> Value {
    let squares = graph.mul(hidden, hidden);
    let sum = graph.reduce_sum(&squares, &[1], Reduced::Kept);
    let norm = graph.sqrt(&sum);
    let epsilon = graph.scalar(NORM_EPSILON);
    let norm = graph.add(&norm, &epsilon);
    graph.div(hidden, &norm)
}

//! What the models share: the output layer with both losses, dropout, normalization.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use autotag::LabelSet;
use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;

use crate::loss::ContrastiveConfig;
use crate::loss::{binary_cross_entropy, contrastive, sigmoid};
use crate::matrix::{Matrix, multiply};
use crate::model::{Answer, StepLoss};

/// The layer from the representation to the labels' logits.
pub(crate) struct OutputLayer<'a> {
    /// [L, R].
    pub(crate) output: &'a Matrix,
    /// [1, L].
    pub(crate) bias: &'a Matrix,
}

/// What is done with a representation in training only.
pub(crate) struct Regularization<'a> {
    /// The share of the representation that is dropped before the output layer.
    pub(crate) dropout: f32,
    /// What dropout is drawn from.
    pub(crate) seed: u64,
    /// Whether the contrastive loss sees representations scaled to length 1.
    pub(crate) normalize: bool,
    /// The contrastive loss.
    pub(crate) contrastive: &'a ContrastiveConfig,
}

/// The gradients of the output layer and of what it was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputGradients {
    /// dL/dh, 0 where ReLU let nothing through: [B, R].
    pub(crate) hidden: Matrix,
    /// dL/dlogits: [B, L].
    pub(crate) logits: Matrix,
    /// [L, R].
    pub(crate) output: Matrix,
    /// [1, L].
    pub(crate) output_bias: Matrix,
}

impl OutputLayer<'_> {
    /// Scores representations [B, R]: [B, L].
    pub(crate) fn scores(&self, hidden: &Matrix) -> Matrix {
        let mut scores = self.logits(hidden);
        scores.values_mut().iter_mut().for_each(|score| *score = sigmoid(*score));
        scores
    }

    fn logits(&self, hidden: &Matrix) -> Matrix {
        let mut logits = Matrix::default();
        multiply(&mut logits, hidden.view(), self.output.transposed());
        for row in 0..logits.n_rows() {
            let logits = logits.row_mut(row).iter_mut();
            logits.zip(self.bias.values()).for_each(|(logit, bias)| *logit += bias);
        }
        logits
    }

    /// Computes both losses of a batch of rectified representations [B, R], and their gradients.
    pub(crate) fn gradients(
        &self,
        hidden: &Matrix,
        labels: &[&LabelSet],
        regularization: &Regularization<'_>,
        gradients: &mut OutputGradients,
    ) -> StepLoss {
        let Regularization { dropout, seed, normalize, contrastive } = *regularization;
        let mut mask = Matrix::zeros(hidden.n_rows(), hidden.n_cols());
        fill_dropout_mask(mask.values_mut(), dropout, seed);
        let mut kept = hidden.clone();
        multiply_values(&mut kept, &mask);
        let mut logits = self.logits(&kept);
        let bce = binary_cross_entropy(&mut logits, labels);
        multiply(&mut gradients.output, logits.transposed(), kept.view());
        sum_rows(&mut gradients.output_bias, &logits);
        multiply(&mut gradients.hidden, logits.view(), self.output.view());
        multiply_values(&mut gradients.hidden, &mask);
        gradients.logits = logits;

        let mut loss = StepLoss { bce, contrastive: 0.0 };
        if contrastive.gamma > 0.0 {
            loss.contrastive =
                add_contrastive(hidden, normalize, labels, contrastive, &mut gradients.hidden);
        }
        gate(&mut gradients.hidden, hidden);
        loss
    }
}

/// Adds gamma dL_con/dh to the gradient; returns the loss before gamma.
fn add_contrastive(
    hidden: &Matrix,
    normalize: bool,
    labels: &[&LabelSet],
    weights: &ContrastiveConfig,
    gradient: &mut Matrix,
) -> f32 {
    let mut z = hidden.clone();
    let norms = if normalize { normalize_rows(&mut z) } else { Vec::new() };
    let mut z_gradient = Matrix::default();
    let ContrastiveConfig { temperature, coefficient, .. } = *weights;
    let loss = contrastive(&z, labels, temperature, coefficient, &mut z_gradient);
    for (row, norm) in norms.iter().enumerate() {
        // z = h / |h|: dL/dh = (dL/dz - z (z . dL/dz)) / |h|
        let z = z.row(row);
        let along: f32 = z.iter().zip(z_gradient.row(row)).map(|(z, g)| z * g).sum();
        for (gradient, z) in z_gradient.row_mut(row).iter_mut().zip(z) {
            *gradient = (*gradient - along * z) / norm;
        }
    }
    for (gradient, z_gradient) in gradient.values_mut().iter_mut().zip(z_gradient.values()) {
        *gradient += weights.gamma * z_gradient;
    }
    loss
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
fn gate(gradient: &mut Matrix, hidden: &Matrix) {
    for (gradient, &hidden) in gradient.values_mut().iter_mut().zip(hidden.values()) {
        if hidden <= 0.0 {
            *gradient = 0.0;
        }
    }
}

/// Multiplies a matrix by factors, value by value.
pub(crate) fn multiply_values(matrix: &mut Matrix, factors: &Matrix) {
    for (value, factor) in matrix.values_mut().iter_mut().zip(factors.values()) {
        *value *= factor;
    }
}

/// Sums a matrix's rows: [1, columns].
pub(crate) fn sum_rows(sum: &mut Matrix, matrix: &Matrix) {
    sum.reshape(1, matrix.n_cols());
    sum.values_mut().fill(0.0);
    for row in 0..matrix.n_rows() {
        for (sum, value) in sum.values_mut().iter_mut().zip(matrix.row(row)) {
            *sum += value;
        }
    }
}

/// Added to a norm before it divides.
pub(crate) const NORM_EPSILON: f32 = 1e-6;

/// Scales each row to length 1; returns the norms that were divided by.
pub(crate) fn normalize_rows(matrix: &mut Matrix) -> Vec<f32> {
    let mut norms = Vec::with_capacity(matrix.n_rows());
    for row in 0..matrix.n_rows() {
        let values = matrix.row_mut(row);
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt() + NORM_EPSILON;
        values.iter_mut().for_each(|value| *value /= norm);
        norms.push(norm);
    }
    norms
}

/// Sets matrices of as many rows side by side, each times a factor.
pub(crate) fn side_by_side(parts: &[(f32, &Matrix)]) -> Matrix {
    let n_rows = parts.first().map_or(0, |(_, part)| part.n_rows());
    let n_cols = parts.iter().map(|(_, part)| part.n_cols()).sum();
    let mut values = Vec::with_capacity(n_rows * n_cols);
    for row in 0..n_rows {
        for &(factor, part) in parts {
            values.extend(part.row(row).iter().map(|value| factor * value));
        }
    }
    Matrix::from_values(n_rows, n_cols, values)
}

/// Writes what follows a rectified representation [batch, R]: the output layer, and the normalization
/// where it was trained. `part` begins the constants' names.
pub(crate) fn write_answer(
    graph: &mut GraphBuilder,
    part: &str,
    hidden: &Value,
    layer: &OutputLayer<'_>,
    normalize: bool,
) -> Answer {
    let (n_labels, n_hidden) = (layer.output.n_rows(), layer.output.n_cols());
    let values = layer.output.values();
    let output = graph.constant_f32(&format!("{part}_output"), &[n_labels, n_hidden], values);
    let values = layer.bias.values();
    let bias = graph.constant_f32(&format!("{part}_output_bias"), &[n_labels], values);
    let logits = graph.gemm_transposed(hidden, &output, &bias);
    let scores = graph.sigmoid(&logits);
    let embedding = if normalize { normalized(graph, hidden) } else { hidden.clone() };
    Answer { embedding, scores }
}

/// Writes parts [batch, ...] side by side, each times a factor.
pub(crate) fn write_side_by_side(graph: &mut GraphBuilder, parts: &[(f32, &Value)]) -> Value {
    let mut scaled = Vec::with_capacity(parts.len());
    for &(factor, part) in parts {
        let factor = graph.scalar(factor);
        scaled.push(graph.mul(part, &factor));
    }
    graph.concat(&scaled.iter().collect::<Vec<_>>(), 1)
}

/// Ends a graph with a model's answer as its outputs `embedding` [batch, R] and `scores` [batch, L].
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

//! The hand-written gradients against those of automatic differentiation.

use std::collections::BTreeMap;

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use ndarray::{ArrayView2, ArrayViewD};

use super::tests::{N_TOKENS, WEIGHTS, config, embedding_gradient, label_sets, loss_of, texts};
use super::*;
use crate::autodiff::{
    Answer, DeviceWeights, Weights, indices, losses, matrix_of, normalized_rows,
};
use crate::parameters::Parameters;

/// Computes the same network's representations, one text at a time: [B, R].
fn hidden(config: &CnnConfig, weights: &DeviceWeights) -> Tensor<2> {
    let rows = texts().into_iter().map(|mut text| {
        let length = text.len();
        text.resize(length.max(widest(config)), 0);
        let tokens: Vec<usize> = text.iter().map(|&token| token as usize).collect();
        let embedded = weights.get("embedding");
        let embedded = embedded.clone().select(0, indices(&tokens, &embedded.device()));
        let widths = config.widths.iter().zip(config.slice_starts());
        let pooled = widths.map(|(&width, start)| {
            let n_windows = length.max(width) - width + 1;
            let windows = (0..width).map(|offset| {
                let kernel = weights.get("kernel");
                let kernel = kernel.narrow(0, start + offset * config.filters, config.filters);
                embedded.clone().narrow(0, offset, n_windows).matmul(kernel.transpose())
            });
            windows.reduce(|a, b| a + b).unwrap().max_dim(0)
        });
        Tensor::cat(pooled.collect(), 1)
    });
    relu(Tensor::cat(rows.collect(), 0) + weights.get("kernel_bias"))
}

fn check(normalize: bool) {
    let mut cnn = Cnn::new(config(normalize), N_TOKENS, 3, None, 7);
    // Larger than they start: the gradient of a loss that does not depend on the scale shrinks with it.
    cnn.network.parameters.embedding *= 5.0;
    let computed_loss = loss_of(&mut cnn);
    let named = cnn.network.arrays().into_iter();
    let named: BTreeMap<String, Array2<f32>> =
        named.map(|(name, array)| (name.to_owned(), one_row(array))).collect();
    let weights = Weights::new(named).to_device(&Device::flex()).tracked();

    let hidden = hidden(&cnn.network.config, &weights);
    let logits = hidden.clone().matmul(weights.get("output").transpose());
    let logits = logits + weights.get("output_bias");
    let z = if normalize { normalized_rows(hidden) } else { hidden };
    let labels = label_sets();
    let answer = Answer { representations: z, logits };
    let losses = losses(answer, &labels.iter().collect::<Vec<_>>(), &WEIGHTS);
    let whole = losses.whole(WEIGHTS.gamma);
    let gradients = whole.backward();
    let loss: f32 = whole.into_scalar();
    assert!((f64::from(loss) - computed_loss).abs() < 1e-4, "{loss} {computed_loss}");

    let Gradients { kernel, kernel_bias, head, .. } = &cnn.scratch.gradients;
    let mut expected_embedding = matrix_of(weights.get("embedding").grad(&gradients).unwrap());
    // Padding is never trained.
    expected_embedding.row_mut(0).fill(0.0);
    let mut computed_embedding = embedding_gradient(&cnn);
    computed_embedding.row_mut(0).fill(0.0);
    assert_near("embedding", computed_embedding.view(), expected_embedding.view());
    for (name, computed) in [
        ("kernel", kernel.view()),
        ("kernel_bias", kernel_bias.view().insert_axis(Axis(0))),
        ("output", head.output.view()),
        ("output_bias", head.output_bias.view().insert_axis(Axis(0))),
    ] {
        let expected = matrix_of(weights.get(name).grad(&gradients).unwrap());
        assert_near(name, computed, expected.view());
    }
}

/// Makes a vector a matrix of one row, as Burn's network has it.
fn one_row(array: ArrayViewD<'_, f32>) -> Array2<f32> {
    let array = if array.ndim() == 1 { array.insert_axis(Axis(0)) } else { array };
    array.into_dimensionality().unwrap().to_owned()
}

fn assert_near(name: &str, computed: ArrayView2<'_, f32>, expected: ArrayView2<'_, f32>) {
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 1e-3, "{name}: there is no gradient to compare with");
    for (computed, expected) in computed.iter().zip(&expected) {
        assert!((computed - expected).abs() < 1e-4, "{name}: {computed} {expected}");
    }
}

#[test]
fn automatic_differentiation_gives_the_same_gradients() {
    check(false);
    check(true);
}

use burn::tensor::{Device, Tensor, TensorData};
use ndarray::Array2;

use autotag::{LabelId, LabelSet};

use super::groups::{Gradients, gradients};
use super::loss::{binary_cross_entropy, contrastive};
use super::*;
use crate::loss;
use crate::loss::{Coefficient, ContrastiveConfig, ContrastiveTemperature, Pairs};
use crate::model::StepLoss;
use crate::optimizer::AdamConfig;
use crate::rows::{RowMajor as _, row_major};

fn label_sets() -> Vec<LabelSet> {
    let ids: [&[u32]; 6] = [&[0, 1], &[1], &[0, 1], &[2], &[], &[2, 3]];
    ids.iter().map(|ids| ids.iter().copied().map(LabelId).collect()).collect()
}

/// A fixed sequence of values within -1..1.
fn matrix(n_rows: usize, n_cols: usize) -> Array2<f32> {
    let values = (0..n_rows * n_cols).map(|i| ((i * 7919 + 13) % 1000) as f32 / 500.0 - 1.0);
    row_major(n_rows, n_cols, values.collect())
}

fn check(
    x: &Array2<f32>,
    by_hand: impl Fn(&mut Array2<f32>) -> f32,
    by_burn: impl Fn(Tensor<2>) -> Tensor<1>,
) {
    let mut gradient = x.clone();
    let loss = by_hand(&mut gradient);
    let x = tensor_of(x, &Device::flex()).autodiff().require_grad();
    let tensor = by_burn(x.clone());
    let expected = matrix_of(x.grad(&tensor.backward()).unwrap());
    let expected_loss: f32 = tensor.into_scalar();
    assert!((loss - expected_loss).abs() < 1e-4, "{loss} {expected_loss}");
    for (computed, expected) in gradient.values().iter().zip(expected.values()) {
        assert!((computed - expected).abs() < 1e-4, "{computed} {expected}");
    }
}

#[test]
fn both_losses_have_the_gradients_written_by_hand() {
    let sets = label_sets();
    let sets: Vec<&LabelSet> = sets.iter().collect();
    check(
        &matrix(6, 4),
        |gradient| loss::binary_cross_entropy(gradient, &sets),
        |logits| binary_cross_entropy(logits, &sets),
    );
    for (temperature, coefficient) in [
        (ContrastiveTemperature::Absolute(0.5), Coefficient::Dynamic),
        (ContrastiveTemperature::Absolute(10.0), Coefficient::Cut),
        (ContrastiveTemperature::Relative { factor: 0.5 }, Coefficient::Dynamic),
        (ContrastiveTemperature::Relative { factor: 2.0 }, Coefficient::Cut),
    ] {
        let z = matrix(6, 3);
        let weights = ContrastiveConfig { gamma: 1.0, temperature, coefficient };
        check(
            &z,
            |gradient| Pairs::new(&z).loss_and_gradient(&sets, &weights, gradient),
            |z| contrastive(z, &sets, &weights),
        );
    }
}

#[test]
fn texts_that_coincide_have_a_finite_gradient() {
    let sets = label_sets();
    let sets: Vec<&LabelSet> = sets.iter().take(3).collect();
    let z = row_major(3, 2, vec![1.0; 6]);
    let z = tensor_of(&z, &Device::flex()).autodiff().require_grad();
    for temperature in
        [ContrastiveTemperature::Absolute(0.1), ContrastiveTemperature::Relative { factor: 0.1 }]
    {
        let weights = ContrastiveConfig { temperature, ..ContrastiveConfig::default() };
        let loss = contrastive(normalized_rows(z.clone()), &sets, &weights);
        let gradient = matrix_of(z.grad(&loss.backward()).unwrap());
        assert!(gradient.values().iter().all(|value| value.is_finite()));
    }
}

/// Takes steps on the loss (w - 1)^2 for a weight of 4 values and a bias.
fn step(optimizer: &mut AdamW, max_norm: f32) {
    let adam = AdamConfig { max_gradient_norm: max_norm, ..AdamConfig::default() };
    let pace = |name: &str| Pace { rate: 0.1, decay: if name == "w" { 0.5 } else { 0.0 } };
    let gradient = |(name, w): (&String, &Tensor<2>)| (name.clone(), (w.clone() - 1.0) * 2.0);
    let gradients: Gradients = optimizer.values().iter().map(gradient).collect();
    optimizer.step(&adam, pace, gradients);
}

fn optimizer() -> AdamW {
    let mut weights = Weights::default();
    weights.insert("w", row_major(2, 2, vec![2.0, 0.0, -3.0, 1.5]));
    weights.insert("b", row_major(1, 1, vec![3.0]));
    AdamW::new(&weights, &Device::flex())
}

#[test]
fn the_first_step_is_the_rate_and_only_weights_decay() {
    let mut optimizer = optimizer();
    step(&mut optimizer, 0.0);
    let weights = optimizer.values().to_host();
    // Adam's first step is the rate, against the sign of the gradient.
    let expect = [2.0 * 0.95 - 0.1, 0.1, -3.0 * 0.95 + 0.1, 1.5 * 0.95 - 0.1];
    for (found, expect) in weights.get("w").values().iter().zip(expect) {
        assert!((found - expect).abs() < 1e-5, "{found} {expect}");
    }
    assert!((weights.get("b").values()[0] - 2.9).abs() < 1e-5);
}

#[test]
fn the_gradients_norm_is_bounded() {
    let norm = |max_norm| {
        let mut optimizer = optimizer();
        step(&mut optimizer, max_norm);
        // The first running mean is a tenth of the gradient.
        let state = optimizer.state();
        let values = [state.values("first/w", &[2, 2]), state.values("first/b", &[1, 1])];
        let squares = values.iter().flat_map(|values| *values.as_ref().unwrap());
        squares.map(|value| (10.0 * value).powi(2)).sum::<f32>().sqrt()
    };
    let free = norm(0.0);
    assert!(free > 9.0, "{free}");
    assert!((norm(2.0) - 2.0).abs() < 1e-3);
    assert!((norm(100.0) - free).abs() < 1e-3);
}

#[test]
fn an_optimizer_restored_goes_on_the_same() {
    let mut first = optimizer();
    step(&mut first, 0.0);
    let mut second = optimizer();
    second.restore(&first.state()).unwrap();
    for optimizer in [&mut first, &mut second] {
        step(optimizer, 1.0);
    }
    assert_eq!(first.state(), second.state());
}

#[test]
fn dropout_repeats_with_the_seed_and_keeps_the_mean() {
    let ones =
        Tensor::<1>::from_data(TensorData::new(vec![1f32; 10_000], [10_000]), &Device::flex());
    let dropped = |seed| dropout(ones.clone(), 0.25, seed).try_into_vec_as::<f32>().unwrap();
    assert_eq!(dropped(1), dropped(1));
    assert_ne!(dropped(1), dropped(2));
    let mean = dropped(1).iter().sum::<f32>() / 10_000.0;
    assert!((mean - 1.0).abs() < 0.03, "{mean}");
}

/// Computes the losses and gradients of 6 texts about 5 tokens, scored for 4 labels.
fn in_groups(group_size: usize, n_threads: usize, gamma: f32) -> (StepLoss, Weights) {
    let texts: [&[u32]; 6] = [&[0, 1, 2], &[1], &[3, 4], &[2, 2, 4, 0], &[4], &[3, 1]];
    let sets = label_sets();
    let sets: Vec<&LabelSet> = sets.iter().collect();
    let mut weights = Weights::default();
    weights.insert("table", matrix(5, 3));
    weights.insert("output", matrix(3, 4));
    let weights = weights.to_device(&Device::flex());
    let answer = |weights: &DeviceWeights, texts: &[&[u32]], _| {
        let rows = texts.iter().map(|text| {
            let tokens: Vec<usize> = text.iter().map(|&token| token as usize).collect();
            weights.get("table").select(0, indices(&tokens, &Device::flex())).mean_dim(0)
        });
        let representations = Tensor::cat(rows.collect(), 0);
        Answer { logits: representations.clone().matmul(weights.get("output")), representations }
    };
    let temperature = ContrastiveTemperature::Relative { factor: 1.0 };
    let config = ContrastiveConfig { gamma, temperature, ..ContrastiveConfig::default() };
    let threads = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    let (loss, gradients) =
        threads.install(|| gradients(&weights, &texts, &sets, group_size, &config, answer));
    let on_host = |(name, gradient)| (name, matrix_of(gradient));
    (loss, Weights::new(gradients.into_iter().map(on_host).collect()))
}

#[test]
fn groups_change_neither_losses_nor_gradients() {
    for gamma in [0.0, 2.0] {
        let (whole, expected) = in_groups(6, 1, gamma);
        let (loss, found) = in_groups(4, 1, gamma);
        assert!((loss.bce - whole.bce).abs() < 1e-6, "{loss:?} {whole:?}");
        assert!((loss.contrastive - whole.contrastive).abs() < 1e-6, "{loss:?} {whole:?}");
        assert!((loss.norm - whole.norm).abs() < 1e-6, "{loss:?} {whole:?}");
        assert!((loss.spread - whole.spread).abs() < 1e-6, "{loss:?} {whole:?}");
        assert!(whole.contrastive > 0.1 && whole.norm > 0.1 && whole.spread > 0.1, "{whole:?}");
        for name in ["table", "output"] {
            samples::assert_near(found.get(name).values(), expected.get(name).values());
            assert!(expected.get(name).values().iter().any(|value| value.abs() > 0.01));
        }
    }
    assert_ne!(in_groups(4, 1, 0.0).1, in_groups(4, 1, 2.0).1);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let expected = in_groups(2, 1, 2.0);
    for n_threads in [2, 3] {
        assert_eq!(in_groups(2, n_threads, 2.0), expected);
    }
}

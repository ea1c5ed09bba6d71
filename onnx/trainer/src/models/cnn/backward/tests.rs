use autotag::LabelId;

use super::*;
use crate::models::cnn::CnnParameters;
use crate::optimizer::AdamConfig;
use crate::slopes;
use crate::{Coefficient, ContrastiveTemperature};

pub(super) const N_TOKENS: usize = 12;

pub(super) fn config(normalize: bool) -> CnnConfig {
    CnnConfig {
        embedding_dimensions: 6,
        widths: vec![2, 3],
        filters: 4,
        embedding_dropout: 0.0,
        dropout: 0.0,
        normalize,
        ..CnnConfig::default()
    }
}

/// Texts of different lengths, one of them shorter than the widest window.
pub(super) fn texts() -> Vec<Vec<u32>> {
    vec![vec![1, 2, 3, 4, 2, 1], vec![5], vec![6, 7, 1, 2, 8, 9, 10, 11], vec![3, 3, 3], vec![2, 4]]
}

pub(super) fn label_sets() -> Vec<LabelSet> {
    let ids: [&[u32]; 5] = [&[0, 1], &[1], &[0, 2], &[], &[0]];
    ids.iter().map(|ids| ids.iter().copied().map(LabelId).collect()).collect()
}

pub(super) const WEIGHTS: ContrastiveConfig = ContrastiveConfig {
    gamma: 2.0,
    temperature: ContrastiveTemperature::Relative { factor: 2.0 },
    coefficient: Coefficient::Dynamic,
};

/// Computes loss and gradients without moving the parameters.
pub(super) fn loss_of(cnn: &mut Cnn) -> f64 {
    let (texts, labels) = (texts(), label_sets());
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    cnn.scratch.batch.fill(&texts, N_TOKENS, widest(&cnn.network.config));
    let loss = cnn.gradients(&labels.iter().collect::<Vec<_>>(), &WEIGHTS);
    f64::from(loss.bce) + f64::from(WEIGHTS.gamma * loss.contrastive)
}

/// Compares computed gradients with the loss's slope along every value of one parameter.
fn check(
    normalize: bool,
    parameter: impl Fn(&mut CnnParameters) -> &mut [f32],
    gradient: impl Fn(&Cnn) -> Vec<f32>,
) {
    let mut cnn = Cnn::new(config(normalize), N_TOKENS, 3, None, 7);
    // Larger than they start, so that the differences stand out of f32's rounding.
    cnn.network.parameters.embedding *= 5.0;
    slopes::check(&mut cnn, loss_of, |cnn| parameter(&mut cnn.network.parameters), gradient);
}

/// Spreads the rows of distinct tokens to all tokens, as the embedding is shaped; padding's own
/// gradient is left out, since padding is never trained.
pub(super) fn embedding_gradient(cnn: &Cnn) -> Array2<f32> {
    let mut gradient = Array2::zeros((N_TOKENS, cnn.network.config.embedding_dimensions));
    for token in 0..N_TOKENS {
        if let Some(row) = cnn.scratch.batch.position(token) {
            gradient.row_mut(token).assign(&cnn.scratch.gradients.embedded.row(row));
        }
    }
    gradient
}

#[test]
fn the_kernel_gradient_is_the_slope_of_the_loss() {
    check(false, |p| p.kernel.values_mut(), |cnn| cnn.scratch.gradients.kernel.values().to_vec());
    check(true, |p| p.kernel.values_mut(), |cnn| cnn.scratch.gradients.kernel.values().to_vec());
}

#[test]
fn the_bias_gradients_are_the_slope_of_the_loss() {
    check(
        true,
        |p| p.kernel_bias.as_slice_mut().unwrap(),
        |cnn| cnn.scratch.gradients.kernel_bias.to_vec(),
    );
    check(
        false,
        |p| p.output_bias.as_slice_mut().unwrap(),
        |cnn| cnn.scratch.gradients.head.output_bias.to_vec(),
    );
}

#[test]
fn the_output_gradient_is_the_slope_of_the_loss() {
    check(
        false,
        |p| p.output.values_mut(),
        |cnn| cnn.scratch.gradients.head.output.values().to_vec(),
    );
}

#[test]
fn the_embedding_gradient_is_the_slope_of_the_loss() {
    check(false, |p| p.embedding.values_mut(), |cnn| embedding_gradient(cnn).values().to_vec());
    check(true, |p| p.embedding.values_mut(), |cnn| embedding_gradient(cnn).values().to_vec());
}

#[test]
fn steps_lower_the_loss_and_repeat_with_the_seed() {
    let train = || {
        let mut cnn = Cnn::new(CnnConfig { dropout: 0.2, ..config(false) }, N_TOKENS, 3, None, 3);
        let (texts, labels) = (texts(), label_sets());
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let labels: Vec<&LabelSet> = labels.iter().collect();
        let adam = AdamConfig { learning_rate: 1e-2, ..AdamConfig::default() };
        let losses: Vec<f32> =
            (0..100).map(|_| cnn.step(&texts, &labels, &WEIGHTS, &adam).bce).collect();
        (losses, cnn.network.parameters)
    };
    let (losses, parameters) = train();
    assert!(losses[99] < 0.3 * losses[0], "{} -> {}", losses[0], losses[99]);
    assert_eq!(parameters, train().1);
}

/// Updating only the rows in use, and making up for missed steps, ends where plain Adam ends.
#[test]
fn rare_tokens_move_as_under_plain_adam() {
    let adam = AdamConfig { learning_rate: 1e-2, ..AdamConfig::default() };
    let labels = label_sets();
    let run = |sync_each_step: bool| {
        let mut cnn = Cnn::new(config(false), N_TOKENS, 3, None, 5);
        for step in 0..30 {
            let texts: &[&[u32]] =
                if step % 10 == 0 { &[&[1, 2, 3], &[4, 5, 6]] } else { &[&[1, 2], &[1, 7, 8]] };
            cnn.step(texts, &[&labels[0], &labels[1]], &WEIGHTS, &adam);
            if sync_each_step {
                cnn.sync_lazy_rows(&adam);
            }
        }
        cnn.sync_lazy_rows(&adam);
        cnn.network.parameters.embedding
    };
    for (a, b) in run(true).iter().zip(&run(false)) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn padding_and_company_do_not_change_what_is_predicted() {
    let cnn = Cnn::new(config(false), N_TOKENS, 3, None, 7);
    let texts = texts();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let folded = cnn.network().fold();
    let together = folded.predict(&texts);
    for (row, text) in texts.iter().enumerate() {
        let alone = folded.predict(&[text]);
        assert_eq!(alone.scores.row(0), together.scores.row(row));
    }
}

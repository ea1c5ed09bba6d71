use autotag::LabelId;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::init::uniform;
use crate::models::adapter::{AdapterConfig, AdapterParameters};
use crate::rows::RowMajor as _;
use crate::slopes;
use crate::{Coefficient, ContrastiveTemperature};

const DIMENSIONS: usize = 4;
const N_LABELS: usize = 3;

fn config(normalize: bool) -> AdapterConfig {
    let unregularized = AdapterConfig { input_dropout: 0.0, dropout: 0.0, ..Default::default() };
    AdapterConfig { hidden: 6, normalize, ..unregularized }
}

fn texts() -> Array2<f32> {
    uniform(&mut Xoshiro256PlusPlus::seed_from_u64(3), 5, DIMENSIONS, 0.7)
}

fn rows(texts: &Array2<f32>) -> Vec<&[f32]> {
    (0..texts.nrows()).map(|row| texts.row_slice(row)).collect()
}

fn label_sets() -> Vec<LabelSet> {
    let ids: [&[u32]; 5] = [&[0, 1], &[1], &[0, 2], &[], &[0]];
    ids.iter().map(|ids| ids.iter().copied().map(LabelId).collect()).collect()
}

const WEIGHTS: ContrastiveConfig = ContrastiveConfig {
    gamma: 2.0,
    temperature: ContrastiveTemperature::Relative { factor: 0.7 },
    coefficient: Coefficient::Dynamic,
};

/// Computes loss and gradients without moving the parameters.
fn loss_of(adapter: &mut Adapter) -> f64 {
    let (texts, labels) = (texts(), label_sets());
    let labels: Vec<&LabelSet> = labels.iter().collect();
    let loss = adapter.gradients(&scaled(&rows(&texts)), &labels, &WEIGHTS, 0);
    f64::from(loss.bce) + f64::from(WEIGHTS.gamma * loss.contrastive)
}

/// Compares computed gradients with the loss's slope along every value of one parameter.
fn check(
    normalize: bool,
    parameter: impl Fn(&mut AdapterParameters) -> &mut [f32],
    gradient: impl Fn(&Gradients) -> Vec<f32>,
) {
    let mut adapter = Adapter::new(config(normalize), DIMENSIONS, N_LABELS, 7);
    // No text may leave the hidden layer at rest, since length 1 has no slope there.
    adapter.network.parameters.hidden_bias.fill(0.1);
    slopes::check(
        &mut adapter,
        loss_of,
        |adapter| parameter(&mut adapter.network.parameters),
        |adapter| gradient(&adapter.gradients),
    );
}

#[test]
fn the_gradients_are_the_slope_of_the_loss() {
    for normalize in [false, true] {
        check(normalize, |p| p.hidden.values_mut(), |g| g.hidden.values().to_vec());
        check(normalize, |p| p.hidden_bias.as_slice_mut().unwrap(), |g| g.hidden_bias.to_vec());
        check(normalize, |p| p.output.values_mut(), |g| g.head.output.values().to_vec());
        check(
            normalize,
            |p| p.output_bias.as_slice_mut().unwrap(),
            |g| g.head.output_bias.to_vec(),
        );
    }
}

#[test]
fn steps_lower_the_loss_and_repeat_with_the_seed() {
    let (texts, labels) = (texts(), label_sets());
    let labels: Vec<&LabelSet> = labels.iter().collect();
    let adam = AdamConfig { learning_rate: 1e-2, ..AdamConfig::default() };
    let train = |seed, n_steps| {
        let config = AdapterConfig { dropout: 0.2, input_dropout: 0.2, ..config(true) };
        let mut adapter = Adapter::new(config, DIMENSIONS, N_LABELS, seed);
        let step = |_| adapter.step(&rows(&texts), &labels, &WEIGHTS, &adam).bce;
        let losses: Vec<f32> = (0..n_steps).map(step).collect();
        (losses, adapter)
    };
    let (losses, adapter) = train(3, 200);
    let late: f32 = losses[190..].iter().sum::<f32>() / 10.0;
    assert!(late < 0.5 * losses[0], "{} -> {late}", losses[0]);
    assert_eq!(adapter.network, train(3, 200).1.network);
    assert_ne!(adapter.network, train(4, 200).1.network);
    // Taken up in the middle, training ends at the same point.
    let half = train(3, 100).1;
    let mut resumed = Adapter::new(half.network.config.clone(), DIMENSIONS, N_LABELS, 3);
    resumed.restore(&half.state()).unwrap();
    for _ in 0..100 {
        resumed.step(&rows(&texts), &labels, &WEIGHTS, &adam);
    }
    assert_eq!(resumed.network, adapter.network);
}

#[test]
fn company_changes_no_answer() {
    let adapter = Adapter::new(config(true), DIMENSIONS, N_LABELS, 7);
    let texts = texts();
    let together = adapter.network().predict(&rows(&texts));
    for (row, text) in rows(&texts).into_iter().enumerate() {
        let alone = adapter.network().predict(&[text]);
        for (a, b) in [
            (alone.scores.row(0), together.scores.row(row)),
            (alone.embeddings.row(0), together.embeddings.row(row)),
        ] {
            a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} {b}"));
        }
    }
}

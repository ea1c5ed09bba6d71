use autotag::LabelId;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::Coefficient;
use crate::adapter::AdapterConfig;
use crate::init::uniform;

const DIMENSIONS: usize = 4;
const N_LABELS: usize = 3;

fn config(normalize: bool) -> AdapterConfig {
    AdapterConfig { hidden: 6, input_dropout: 0.0, dropout: 0.0, normalize, pooling: None }
}

fn texts() -> Matrix {
    uniform(&mut Xoshiro256PlusPlus::seed_from_u64(3), 5, DIMENSIONS, 0.7)
}

fn rows(texts: &Matrix) -> Vec<&[f32]> {
    (0..texts.n_rows()).map(|row| texts.row(row)).collect()
}

fn label_sets() -> Vec<LabelSet> {
    let ids: [&[u32]; 5] = [&[0, 1], &[1], &[0, 2], &[], &[0]];
    ids.iter().map(|ids| ids.iter().copied().map(LabelId).collect()).collect()
}

const WEIGHTS: ContrastiveConfig =
    ContrastiveConfig { gamma: 2.0, temperature: 0.5, coefficient: Coefficient::Dynamic };

/// Computes loss and gradients without moving the parameters.
fn loss_of(adapter: &mut Adapter) -> f64 {
    let (texts, labels) = (texts(), label_sets());
    let labels: Vec<&LabelSet> = labels.iter().collect();
    let loss = adapter.gradients(&scaled(&rows(&texts)), &labels, &WEIGHTS, 0);
    f64::from(loss.bce) + f64::from(WEIGHTS.gamma * loss.contrastive)
}

/// Compares computed gradients with the loss's slope along every value of one parameter.
///
/// Where ReLU switches between the two points there is no gradient to compare with; such values must
/// be few.
fn check(
    normalize: bool,
    parameter: impl Fn(&mut AdapterParameters) -> &mut Matrix,
    gradient: impl Fn(&Gradients) -> Matrix,
) {
    let mut adapter = Adapter::new(config(normalize), DIMENSIONS, N_LABELS, 7);
    // No text may leave the hidden layer at rest, since length 1 has no slope there.
    adapter.network.parameters.hidden_bias.values_mut().fill(0.1);
    let here = loss_of(&mut adapter);
    let computed = gradient(&adapter.gradients);
    let step = 2e-3;
    let (mut largest, mut n_kinks) = (0f64, 0);
    for i in 0..computed.values().len() {
        let start = parameter(&mut adapter.network.parameters).values()[i];
        let mut loss_at = |value| {
            parameter(&mut adapter.network.parameters).values_mut()[i] = value;
            loss_of(&mut adapter)
        };
        let above = (loss_at(start + step) - here) / f64::from(step);
        let below = (here - loss_at(start - step)) / f64::from(step);
        loss_at(start);
        if (above - below).abs() > 0.01 {
            n_kinks += 1;
            continue;
        }
        let (slope, computed) = ((above + below) / 2.0, f64::from(computed.values()[i]));
        largest = largest.max(slope.abs());
        assert!((slope - computed).abs() < 6e-3, "value {i}: slope {slope}, gradient {computed}");
    }
    assert!(largest > 0.02, "the check saw no gradient at all");
    let n_values = computed.values().len();
    assert!(n_kinks * 5 <= n_values, "{n_kinks} kinks among {n_values} values");
}

#[test]
fn the_gradients_are_the_slope_of_the_loss() {
    for normalize in [false, true] {
        check(normalize, |p| &mut p.hidden, |g| g.hidden.clone());
        check(normalize, |p| &mut p.hidden_bias, |g| g.hidden_bias.clone());
        check(normalize, |p| &mut p.output, |g| g.head.output.clone());
        check(normalize, |p| &mut p.output_bias, |g| g.head.output_bias.clone());
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
            a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} {b}"));
        }
    }
}

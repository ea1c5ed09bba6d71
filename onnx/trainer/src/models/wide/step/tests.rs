use autotag::LabelId;

use super::*;
use crate::models::wide::{WideConfig, WideParameters};
use crate::rows::RowMajor as _;
use crate::slopes;
use crate::{Coefficient, ContrastiveTemperature};

const N_NGRAMS: usize = 9;
const N_LABELS: usize = 3;

fn config(normalize: bool) -> WideConfig {
    WideConfig {
        hidden: 6,
        lexical: 0,
        ngram_dropout: 0.0,
        dropout: 0.0,
        spread: 1.0,
        normalize,
        ..WideConfig::default()
    }
}

/// Texts that share n-grams, one of them without any.
fn texts() -> Vec<Features> {
    let text = |ids: &[u32]| Features {
        ids: ids.to_vec(),
        weights: ids.iter().map(|&id| 0.3 + 0.1 * id as f32).collect(),
    };
    [&[0, 1, 4][..], &[2], &[], &[1, 3, 5, 6], &[0, 6, 7]].map(text).to_vec()
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
fn loss_of(wide: &mut Wide) -> f64 {
    let (texts, labels) = (texts(), label_sets());
    wide.batch.fill(&texts.iter().collect::<Vec<_>>(), N_NGRAMS, 0.0, 0);
    let loss = wide.gradients(&labels.iter().collect::<Vec<_>>(), &WEIGHTS, 0);
    f64::from(loss.bce) + f64::from(WEIGHTS.gamma * loss.contrastive)
}

/// Compares computed gradients with the loss's slope along every value of one parameter.
fn check(
    config: WideConfig,
    parameter: impl Fn(&mut WideParameters) -> &mut [f32],
    gradient: impl Fn(&Wide) -> Vec<f32>,
) {
    let mut wide = Wide::new(config, &[], N_NGRAMS, N_LABELS, 7);
    slopes::check(&mut wide, loss_of, |wide| parameter(&mut wide.network.parameters), gradient);
}

/// Spreads the rows of distinct n-grams to all n-grams, as the table is shaped.
fn table_gradient(wide: &Wide) -> Vec<f32> {
    let mut gradient = Array2::zeros(wide.network.parameters.table.dim());
    for ngram in 0..N_NGRAMS {
        if let Some(row) = wide.batch.position(ngram) {
            gradient.row_mut(ngram).assign(&wide.gradients.table.row(row));
        }
    }
    gradient.values().to_vec()
}

#[test]
fn the_table_gradient_is_the_slope_of_the_loss() {
    check(config(false), |p| p.table.values_mut(), table_gradient);
    check(config(true), |p| p.table.values_mut(), table_gradient);
}

#[test]
fn the_output_gradients_are_the_slope_of_the_loss() {
    let config = || config(true);
    check(config(), |p| p.output.values_mut(), |wide| wide.gradients.head.output.values().to_vec());
    check(
        config(),
        |p| p.output_bias.as_slice_mut().unwrap(),
        |wide| wide.gradients.head.output_bias.to_vec(),
    );
}

#[test]
fn steps_lower_the_loss_and_repeat_with_the_seed() {
    let train = |seed| {
        let config = WideConfig { dropout: 0.2, ngram_dropout: 0.2, ..config(false) };
        let mut wide = Wide::new(config, &[], N_NGRAMS, N_LABELS, seed);
        let (texts, labels) = (texts(), label_sets());
        // The text without n-grams has labels that nothing tells.
        let (texts, labels): (Vec<_>, Vec<_>) =
            texts.iter().zip(&labels).filter(|(text, _)| !text.ids.is_empty()).unzip();
        let adam = AdamConfig { learning_rate: 1e-2, ..AdamConfig::default() };
        let losses: Vec<f32> =
            (0..150).map(|_| wide.step(&texts, &labels, &WEIGHTS, &adam).bce).collect();
        (losses, wide.network.parameters)
    };
    let (losses, parameters) = train(3);
    let late: f32 = losses[140..].iter().sum::<f32>() / 10.0;
    assert!(late < 0.5 * losses[0], "{} -> {late}", losses[0]);
    assert_eq!(parameters, train(3).1);
    assert_ne!(parameters, train(4).1);
}

/// Updating only the rows in use, and making up for missed steps, ends where plain Adam ends.
#[test]
fn rare_ngrams_move_as_under_plain_adam() {
    let adam = AdamConfig { learning_rate: 1e-2, ..AdamConfig::default() };
    let (texts, labels) = (texts(), label_sets());
    let run = |sync_each_step: bool| {
        let mut wide = Wide::new(config(false), &[], N_NGRAMS, N_LABELS, 5);
        for step in 0..30 {
            let second = if step % 10 == 0 { &texts[3] } else { &texts[1] };
            wide.step(&[&texts[0], second], &[&labels[0], &labels[1]], &WEIGHTS, &adam);
            if sync_each_step {
                wide.sync_lazy_rows(&adam);
            }
        }
        wide.sync_lazy_rows(&adam);
        wide.network.parameters.table
    };
    for (a, b) in run(true).iter().zip(&run(false)) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn a_text_without_ngrams_has_no_representation_and_company_changes_nothing() {
    for (normalize, lexical) in [(false, 0), (true, 0), (true, 4)] {
        let texts = texts();
        let config = WideConfig { lexical, ..config(normalize) };
        let wide = Wide::new(config, &texts.iter().collect::<Vec<_>>(), N_NGRAMS, N_LABELS, 7);
        let together = wide.network().predict(&texts.iter().collect::<Vec<_>>());
        for (row, text) in texts.iter().enumerate() {
            let alone = wide.network().predict(&[text]);
            assert_eq!(alone.scores.row(0), together.scores.row(row));
            assert_eq!(alone.embeddings.row(0), together.embeddings.row(row));
        }
        assert!(together.embeddings.row(2).iter().all(|&value| value == 0.0));
    }
}

use autotag::{LabelId, LabelSet};
use autotag_onnx::ModelInput;
use burn::tensor::Device;

use super::*;
use crate::TrainConfig;
use crate::autodiff::samples::{assert_near, check_learns, check_resumes};
use crate::loss::ContrastiveConfig;
use crate::model::{Model, Predict};
use crate::optimizer::AdamConfig;
use crate::rows::RowMajor as _;

fn config() -> TrainConfig {
    TrainConfig {
        ldgn: LdgnConfig {
            embedding_dimensions: 8,
            lstm: 6,
            graph: 6,
            embedding_dropout: 0.0,
            dropout: 0.1,
            normalize: true,
        },
        adam: AdamConfig { learning_rate: 0.03, ..TrainConfig::ldgn().adam },
        contrastive: ContrastiveConfig {
            gamma: 0.1,
            temperature: 1.0,
            ..ContrastiveConfig::default()
        },
        batch_size: 12,
        epochs: 12,
        patience: 12,
        averaging: 0.0,
        vocabulary_size: 100,
        threads: 1,
        ..TrainConfig::ldgn()
    }
}

#[test]
fn a_tiny_data_set_is_learned() {
    check_learns(&config(), &|run, progress| run.train_ldgn(None, progress));
}

#[test]
fn a_training_that_was_stopped_comes_to_the_same_result() {
    let config = TrainConfig { epochs: 3, averaging: 0.5, ..config() };
    check_resumes(&config, &|run, progress| run.train_ldgn(None, progress));
}

fn texts() -> Vec<ModelInput> {
    let ids: [&[u32]; 5] =
        [&[1, 2, 3, 4, 2, 1], &[5], &[6, 7, 1, 2, 8, 9, 1, 11], &[3, 3, 3], &[2, 4]];
    ids.iter().map(|ids| ModelInput { ids: ids.to_vec(), ..ModelInput::default() }).collect()
}

fn labels() -> Vec<LabelSet> {
    let ids: [&[u32]; 5] = [&[0, 1], &[1], &[0, 2], &[2], &[0]];
    ids.iter().map(|ids| ids.iter().copied().map(LabelId).collect()).collect()
}

#[test]
fn padding_and_company_do_not_change_what_is_predicted() {
    let config = config();
    let (texts, labels) = (texts(), labels());
    let mut model = LdgnModel::new(&config, 12, &labels, 3, None, Device::flex());
    let all: Vec<&ModelInput> = texts.iter().collect();
    for _ in 0..20 {
        let loss = model.step(&all, &labels.iter().collect::<Vec<_>>(), 1.0);
        assert!(loss.bce.is_finite() && loss.contrastive > 0.0);
    }
    let trained = model.snapshot(1.0);
    let together = trained.predict(&all);
    for (row, text) in all.iter().enumerate() {
        let alone = trained.predict(&[text]);
        assert_near(alone.scores.row_slice(0), together.scores.row_slice(row));
        assert_near(alone.embeddings.row_slice(0), together.embeddings.row_slice(row));
    }
    let others = (0..4).filter(|&row| together.scores.row(row) != together.scores.row(4));
    assert_eq!(others.count(), 4, "every text has scores of its own");
}

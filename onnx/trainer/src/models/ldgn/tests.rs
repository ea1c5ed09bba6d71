use autotag::{LabelId, LabelSet};
use autotag_onnx::ModelInput;
use burn::tensor::Device;

use super::*;
use crate::autodiff::samples::{assert_near, check_learns, check_resumes};
use crate::loss::{ContrastiveConfig, ContrastiveTemperature};
use crate::model::{Model, TextInput};
use crate::optimizer::AdamConfig;
use crate::rows::RowMajor as _;
use crate::{Init, ModelSpec, Preset, TrainConfig};

fn preset() -> Preset {
    let (ldgn, config) = LdgnConfig::alone();
    let settings = LdgnConfig {
        embedding_dimensions: 8,
        lstm: 6,
        graph: 6,
        embedding_dropout: 0.0,
        dropout: 0.1,
        normalize: true,
        vocabulary_size: 100,
        adam: AdamConfig { learning_rate: 0.03, ..ldgn.adam },
    };
    let config = TrainConfig {
        contrastive: ContrastiveConfig {
            gamma: 0.1,
            temperature: ContrastiveTemperature::Relative { factor: 1.0 },
            ..ContrastiveConfig::default()
        },
        batch_size: 12,
        epochs: 12,
        patience: 12,
        averaging: 0.0,
        threads: 1,
        ..config
    };
    Preset { spec: ModelSpec::Ldgn(settings), config }
}

#[test]
fn a_tiny_data_set_is_learned() {
    check_learns(&preset(), &Init::Random);
}

#[test]
fn a_training_that_was_stopped_comes_to_the_same_result() {
    let Preset { spec, config } = preset();
    let config = TrainConfig { epochs: 3, averaging: 0.5, ..config };
    check_resumes(&Preset { spec, config }, &Init::Random);
}

fn texts() -> Vec<TextInput> {
    let ids: [&[u32]; 5] =
        [&[1, 2, 3, 4, 2, 1], &[5], &[6, 7, 1, 2, 8, 9, 1, 11], &[3, 3, 3], &[2, 4]];
    let read = |ids: &&[u32]| ModelInput { ids: ids.to_vec(), ..ModelInput::default() };
    ids.iter().map(|ids| read(ids).into()).collect()
}

fn labels() -> Vec<LabelSet> {
    let ids: [&[u32]; 5] = [&[0, 1], &[1], &[0, 2], &[2], &[0]];
    ids.iter().map(|ids| ids.iter().copied().map(LabelId).collect()).collect()
}

#[test]
fn padding_and_company_do_not_change_what_is_predicted() {
    let Preset { spec, config } = preset();
    let ModelSpec::Ldgn(settings) = spec else { panic!("{spec:?}") };
    let (texts, labels) = (texts(), labels());
    let mut model = LdgnModel::new(&settings, &config, 12, &labels, 3, None, Device::flex());
    let all: Vec<&TextInput> = texts.iter().collect();
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

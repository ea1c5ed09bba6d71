use autotag_onnx::ModelInput;
use burn::tensor::Device;

use super::*;
use crate::TrainConfig;
use crate::autodiff::samples::{assert_near, check_learns, check_resumes, train};
use crate::bert::tests::{N_TOKENS, exported, texts, tiny_config, words};
use crate::bert::{BertConfig, BertFolder, BertWeights, Pooling};
use crate::cnn::CnnConfig;
use crate::joint::JointConfig;
use crate::loss::ContrastiveConfig;
use crate::model::{Model, Predict};
use crate::optimizer::AdamConfig;
use crate::rows::RowMajor as _;

fn config(pooling: Pooling) -> TrainConfig {
    TrainConfig {
        bert: FinetuneConfig {
            pooling: Some(pooling),
            encoder_rate: Some(5e-3),
            dropout: 0.05,
            normalize: true,
            ..FinetuneConfig::default()
        },
        adam: AdamConfig { learning_rate: 0.03, ..TrainConfig::bert().adam },
        contrastive: ContrastiveConfig {
            gamma: 0.1,
            temperature: 1.0,
            ..ContrastiveConfig::default()
        },
        batch_size: 12,
        epochs: 40,
        patience: 40,
        max_length: 12,
        threads: 1,
        ..TrainConfig::bert()
    }
}

fn encoder() -> BertFolder {
    let config = tiny_config();
    BertFolder {
        weights: BertWeights::random(&config, 7),
        tokenizer: words(N_TOKENS),
        config,
        pooling: None,
    }
}

#[test]
fn narrow_encoders_take_larger_steps_unless_told() {
    let rate = |hidden_size, encoder_rate| {
        let config = FinetuneConfig { encoder_rate, ..FinetuneConfig::default() };
        config.encoder_rate_for(&BertConfig { hidden_size, ..tiny_config() })
    };
    for (hidden_size, expected) in [(768, 3e-5), (384, 1.2e-4), (2, 1e-3)] {
        let suited = rate(hidden_size, None);
        assert!((suited / expected - 1.0).abs() < 1e-5, "{hidden_size}: {suited}");
    }
    assert_eq!(rate(384, Some(0.25)), 0.25);
}

#[test]
fn a_tiny_data_set_is_learned() {
    check_learns(&config(Pooling::Cls), &|run, progress| run.train_bert(encoder(), progress));
}

#[test]
fn a_training_that_was_stopped_comes_to_the_same_result() {
    let config = TrainConfig { epochs: 3, averaging: 0.5, ..config(Pooling::Mean) };
    check_resumes(&config, &|run, progress| run.train_bert(encoder(), progress));
}

/// The same encoder's settings, beside a small CNN and a small wide model.
fn joint_config() -> TrainConfig {
    let mut config = TrainConfig { joint: JointConfig::default(), ..config(Pooling::Mean) };
    config.cnn =
        CnnConfig { widths: vec![1, 2], filters: 6, normalize: true, ..CnnConfig::default() };
    (config.wide.hidden, config.wide.lexical) = (10, 20);
    config
}

#[test]
fn three_models_as_one_learn() {
    check_learns(&joint_config(), &|run, progress| run.train_wide_cnn_bert(encoder(), progress));
}

#[test]
fn three_models_that_were_stopped_come_to_the_same_result() {
    let config = TrainConfig { epochs: 3, averaging: 0.5, ..joint_config() };
    check_resumes(&config, &|run, progress| run.train_wide_cnn_bert(encoder(), progress));
}

#[test]
fn models_as_one_have_representations_of_length_1() {
    let changes: [fn(&mut TrainConfig); 3] = [
        |config| config.cnn.normalize = false,
        |config| config.bert.normalize = false,
        |config| (config.wide.normalize, config.wide.lexical) = (false, 0),
    ];
    for change in changes {
        let mut config = joint_config();
        change(&mut config);
        let error = train(&config, &|run, progress| run.train_wide_cnn_bert(encoder(), progress));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("normalize = false"), "{error}");
    }
}

#[test]
fn a_length_beyond_the_positions_is_refused() {
    let config = TrainConfig { max_length: 13, ..config(Pooling::Cls) };
    let error = train(&config, &|run, progress| run.train_bert(encoder(), progress)).unwrap_err();
    let told = "at most 12, the encoder's max_position_embeddings";
    assert!(error.to_string().contains(told), "{error}");
}

fn model_of(folder: BertFolder, config: &TrainConfig, pooling: Pooling) -> FinetunedModel<'_> {
    FinetunedModel::new(config, folder.config, folder.weights, pooling, &[], 3, Device::flex())
}

/// Before any step the encoder is the pretrained one, whose export is tested by itself.
fn check_against_export(folder: &BertFolder, texts: &[Vec<u32>], tolerance: f32) {
    for pooling in [Pooling::Cls, Pooling::Mean] {
        let mut config = config(pooling);
        config.bert.normalize = false;
        let trained = model_of(folder.clone(), &config, pooling).snapshot(1.0);
        let inputs: Vec<ModelInput> = texts
            .iter()
            .map(|ids| ModelInput { ids: ids.clone(), ..ModelInput::default() })
            .collect();
        let inputs: Vec<&ModelInput> = inputs.iter().collect();
        let predicted = trained.predict(&inputs);
        for (row, expected) in exported(folder, pooling, texts).iter().enumerate() {
            let alone = trained.predict(&inputs[row..=row]);
            assert_near(alone.embeddings.row_slice(0), predicted.embeddings.row_slice(row));
            for (found, expected) in predicted.embeddings.row(row).iter().zip(expected) {
                assert!((found - expected).abs() < tolerance, "{found} {expected}");
            }
        }
    }
}

#[test]
fn the_encoder_computes_what_its_export_computes() {
    check_against_export(&encoder(), &texts(), 1e-5);
}

/// Run by hand: `AUTOTAG_ENCODER=FOLDER cargo nextest run --features burn --run-ignored all`.
#[test]
#[ignore = "needs a pretrained encoder's folder in AUTOTAG_ENCODER"]
fn a_real_encoder_computes_what_its_export_computes() {
    let folder = std::env::var("AUTOTAG_ENCODER").unwrap();
    let mut folder = BertFolder::read(folder.as_ref()).unwrap();
    folder.tokenizer.with_padding(None);
    let ids = |text: &str| folder.tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    let long = "a program that draws charts of measured data ".repeat(10);
    let texts = [ids("one"), ids("A library for the analysis of sound."), ids(&long)];
    check_against_export(&folder, &texts, 1e-4);
}

use std::sync::Arc;

use autotag_onnx::ModelInput;
use burn::tensor::Device;

use super::*;
use crate::autodiff::samples::{assert_near, check_learns, check_resumes, train};
use crate::bert::tests::{N_TOKENS, exported, texts, tiny_config, tiny_mpnet, words};
use crate::bert::{BertConfig, BertFolder, BertWeights, Pooling};
use crate::loss::{ContrastiveConfig, ContrastiveTemperature};
use crate::model::{Model, TextInput};
use crate::models::cnn::CnnConfig;
use crate::models::wide::WideConfig;
use crate::optimizer::AdamConfig;
use crate::rows::RowMajor as _;
use crate::{Init, Member, ModelSpec, Preset, TrainConfig};

fn preset(pooling: Pooling) -> Preset {
    let (bert, config) = FinetuneConfig::alone();
    let settings = FinetuneConfig {
        pooling: Some(pooling),
        encoder_rate: Some(5e-3),
        dropout: 0.05,
        normalize: true,
        adam: AdamConfig { learning_rate: 0.03, ..bert.adam },
        ..bert
    };
    let config = TrainConfig {
        contrastive: ContrastiveConfig {
            gamma: 0.1,
            temperature: ContrastiveTemperature::Relative { factor: 1.0 },
            ..ContrastiveConfig::default()
        },
        batch_size: 12,
        epochs: 40,
        patience: 40,
        max_length: 12,
        threads: 1,
        ..config
    };
    Preset { spec: ModelSpec::Bert(settings), config }
}

/// A shorter training, whose epochs are averaged.
fn short(Preset { spec, config }: Preset) -> Preset {
    Preset { spec, config: TrainConfig { epochs: 3, averaging: 0.5, ..config } }
}

fn init() -> Init {
    Init::Encoder(Arc::new(encoder()))
}

fn encoder() -> BertFolder {
    encoder_of(tiny_config())
}

fn encoder_of(config: BertConfig) -> BertFolder {
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
    check_learns(&preset(Pooling::Cls), &init());
    let mpnet = Init::Encoder(Arc::new(encoder_of(tiny_mpnet())));
    check_learns(&preset(Pooling::Mean), &mpnet);
}

#[test]
fn a_training_that_was_stopped_comes_to_the_same_result() {
    check_resumes(&short(preset(Pooling::Mean)), &init());
}

/// The same encoder beside a small CNN and a small wide model.
fn ensemble() -> Preset {
    let Preset { spec: bert, config } = preset(Pooling::Mean);
    let ModelSpec::Bert(FinetuneConfig { adam, .. }) = bert else { panic!("{bert:?}") };
    let cnn =
        CnnConfig { widths: vec![1, 2], filters: 6, normalize: true, adam, ..CnnConfig::default() };
    let wide = WideConfig { hidden: 10, lexical: 20, ..WideConfig::default() };
    let members = [(0.5, ModelSpec::Wide(wide)), (0.25, ModelSpec::Cnn(cnn)), (0.25, bert)];
    let members = members.into_iter().map(|(share, model)| Member { share, model });
    Preset { spec: ModelSpec::Ensemble(members.collect()), config }
}

#[test]
fn an_ensemble_of_three_learns() {
    check_learns(&ensemble(), &init());
}

#[test]
fn an_ensemble_of_three_that_was_stopped_comes_to_the_same_result() {
    check_resumes(&short(ensemble()), &init());
}

#[test]
fn ensembles_have_representations_of_length_1() {
    for position in 0..3 {
        let mut preset = ensemble();
        match &mut *preset.spec.members_mut()[position] {
            ModelSpec::Wide(wide) => (wide.normalize, wide.lexical) = (false, 0),
            ModelSpec::Cnn(cnn) => cnn.normalize = false,
            ModelSpec::Bert(bert) => bert.normalize = false,
            other => panic!("{other:?}"),
        }
        let error = train(&preset, &init()).unwrap_err().to_string();
        assert!(error.contains("normalize = false"), "{error}");
    }
}

#[test]
fn a_length_beyond_the_positions_is_refused() {
    let mut preset = preset(Pooling::Cls);
    preset.config.max_length = 13;
    let error = train(&preset, &init()).unwrap_err();
    let told = "at most 12, the encoder's number of positions";
    assert!(error.to_string().contains(told), "{error}");
}

/// Before any step the encoder is the pretrained one, whose export is tested by itself.
fn check_against_export(original: &BertFolder, texts: &[Vec<u32>], tolerance: f32) {
    for pooling in [Pooling::Cls, Pooling::Mean] {
        let Preset { spec, config } = preset(pooling);
        let ModelSpec::Bert(settings) = spec else { panic!("{spec:?}") };
        let settings = FinetuneConfig { normalize: false, ..settings };
        let folder = original.clone();
        let mut model = FinetunedModel::new(&settings, &config, &folder, &[], 3, Device::flex());
        let trained = model.snapshot(1.0);
        let read = |ids: &Vec<u32>| ModelInput { ids: ids.clone(), ..ModelInput::default() };
        let inputs: Vec<TextInput> = texts.iter().map(|ids| read(ids).into()).collect();
        let inputs: Vec<&TextInput> = inputs.iter().collect();
        let predicted = trained.predict(&inputs);
        for (row, expected) in exported(original, pooling, texts).iter().enumerate() {
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
    let long: Vec<u32> = (0..40).map(|position| 3 + position * 7 % 20).collect();
    let texts: Vec<Vec<u32>> = texts().into_iter().chain([long]).collect();
    check_against_export(&encoder_of(tiny_mpnet()), &texts, 1e-5);
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

use autotag::Proportion;
use autotag_train::bert::Pooling;
use autotag_train::{ContrastiveTemperature, Preset, Schedule, TrainConfig};
use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    hyper: HyperArgs,
}

fn setup(model: &str, line: &[&str]) -> Result<Setup, String> {
    let line = ["train"].iter().chain(line);
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    let model = ModelArg { name: model.to_owned(), preset: model.parse().unwrap() };
    line.hyper.setup(&model, NonZeroUsize::MIN)
}

#[test]
fn the_defaults_are_the_trainers() {
    for name in Preset::NAMES {
        let Setup { spec, config, .. } = setup(name, &[]).unwrap();
        let preset: Preset = name.parse().unwrap();
        let expected = TrainConfig { threads: 1, ..preset.config };
        assert_eq!((spec, config), (preset.spec, expected));
    }
}

/// Returns the settings of a model, or of an ensemble's.
macro_rules! settings {
    ($kind:ident, $model:expr, $line:expr) => {{
        let spec = setup($model, $line).unwrap().spec;
        let settings = models(spec).into_iter().find_map(|model| match model {
            ModelSpec::$kind(settings) => Some(settings),
            _ => None,
        });
        settings.unwrap()
    }};
}

fn models(spec: ModelSpec) -> Vec<ModelSpec> {
    match spec {
        ModelSpec::Ensemble(members) => members.into_iter().map(|member| member.model).collect(),
        alone => vec![alone],
    }
}

#[test]
fn options_reach_the_configuration() {
    let line = ["--widths", "1,2", "--gamma", "0", "--lambda", "1", "--normalize"];
    let cnn = settings!(Cnn, "cnn", &line);
    assert!(cnn.widths == [1, 2] && cnn.normalize);
    let TrainConfig { contrastive, interpolation, .. } = setup("cnn", &line).unwrap().config;
    assert_eq!(contrastive.gamma, 0.0);
    assert_eq!(interpolation.proportion, Proportion::NEIGHBORS);
    let line = ["--hidden", "7", "--normalize=false", "--min-documents=3", "--dropout=0"];
    let wide = settings!(Wide, "wide", &line);
    assert_eq!((wide.hidden, wide.min_documents), (7, 3));
    assert!(!wide.normalize && wide.dropout == 0.0);
    let line = [
        "--hidden",
        "7",
        "--normalize",
        "--input-dropout=0.5",
        "--pooling=cls",
        "--prefix=query: ",
    ];
    let adapter = settings!(Adapter, "adapter", &line);
    assert_eq!((adapter.hidden, adapter.input_dropout), (7, 0.5));
    assert!(adapter.normalize && adapter.pooling == Some(Pooling::Cls));
    assert_eq!(adapter.prefix, "query: ");
    let line = ["--hidden=7", "--filters=5", "--input-dropout=0.5", "--wide-share=0.3"];
    let three = "wide-cnn-adapter";
    assert_eq!(settings!(Wide, three, &line).hidden, 7);
    assert_eq!(settings!(Cnn, three, &line).filters, 5);
    assert_eq!(settings!(Adapter, three, &line).input_dropout, 0.5);
    assert_eq!(setup(three, &line).unwrap().spec.weights(), [("wide", 0.3), ("cnn", 0.5)]);
    let line = ["--hidden=7", "--cnn-share=0.4", "--encoder-learning-rate=1e-5"];
    let line = [&line[..], &["--learning-rate=0.5", "--wide-learning-rate=0.25"]].concat();
    let three = "wide-cnn-bert";
    let wide = settings!(Wide, three, &line);
    assert_eq!((wide.hidden, wide.adam.learning_rate), (7, 0.25));
    let bert = settings!(Bert, three, &line);
    assert_eq!((bert.encoder_rate, bert.adam.learning_rate), (Some(1e-5), 0.5));
    assert_eq!(setup(three, &line).unwrap().spec.weights()[1], ("cnn", 0.4));
    let line = ["--lstm", "7", "--label-vector=5", "--embedding-dropout=0", "--dropout=0.2"];
    let ldgn = settings!(Ldgn, "ldgn", &line);
    assert_eq!((ldgn.lstm, ldgn.dimensions()), (7, 10));
    assert_eq!((ldgn.embedding_dropout, ldgn.dropout), (0.0, 0.2));
    let line = ["--pooling=mean", "--encoder-learning-rate=1e-5", "--warm-up=0", "--init=folder"];
    let bert = settings!(Bert, "bert", &line);
    assert_eq!((bert.pooling, bert.encoder_rate), (Some(Pooling::Mean), Some(1e-5)));
    assert_eq!(setup("bert", &line).unwrap().config.schedule, Schedule::FALLING);
}

#[test]
fn the_contrastive_temperature_is_a_distance_or_relative() {
    let temperature = |value: &str| {
        let setup = setup("cnn", &[&format!("--contrastive-temperature={value}")])?;
        Ok(setup.config.contrastive.temperature)
    };
    assert_eq!(temperature("10"), Ok(ContrastiveTemperature::Absolute(10.0)));
    assert_eq!(temperature("relative:0.5"), Ok(ContrastiveTemperature::Relative { factor: 0.5 }));
    for (value, expected) in [
        ("relative", "relative:FACTOR"),
        ("relative:x", "relative:FACTOR"),
        ("relative:0", "tau' = 0 is out of range"),
        ("-1", "tau' = -1 is out of range"),
    ] {
        let refused: String = temperature(value).unwrap_err();
        assert!(refused.contains(expected), "{value}: {refused}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for option in ["--epochs=0", "--dropout=1", "--gamma=-1", "--tau=0", "--widths=0"] {
        let refused = setup("cnn", &[option]).unwrap_err();
        assert!(refused.contains("out of range"), "{option}");
    }
    let refused = setup("cnn", &["--final-rate=2"]).unwrap_err();
    assert!(refused.contains("final rate = 2 is out of range"), "{refused}");
    for option in ["--hidden=0", "--max-ngrams=0", "--ngram-dropout=1", "--spread=0"] {
        let refused = setup("wide", &[option]).unwrap_err();
        assert!(refused.contains("out of range"), "{option}");
    }
    for option in ["--warm-up=1.5", "--weight-decay=1", "--encoder-learning-rate=0"] {
        let refused = setup("bert", &[option]).unwrap_err();
        assert!(refused.contains("out of range"), "{option}");
    }
    assert!(setup("ldgn", &["--lstm=0"]).unwrap_err().contains("out of range"));
}

#[test]
fn options_of_another_model_are_refused() {
    for (kind, option, name) in [
        ("wide", "--filters=3", "wide"),
        ("wide", "--init=folder", "wide"),
        ("cnn", "--hidden=3", "cnn"),
        ("cnn", "--weight-decay=0.5", "cnn"),
        ("wide-cnn", "--lstm=3", "wide-cnn"),
        ("ldgn", "--widths=3", "ldgn"),
        ("ldgn", "--pooling=cls", "ldgn"),
        ("bert", "--vocabulary-size=300", "bert"),
        ("adapter", "--filters=3", "adapter"),
        ("adapter", "--spread=3", "adapter"),
        ("wide-cnn", "--no-cache", "wide-cnn"),
    ] {
        let refused = setup(kind, &[option]).unwrap_err();
        assert!(refused.contains(&format!("of no use with --model {name}")), "{refused}");
    }
}

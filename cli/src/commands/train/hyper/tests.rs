use autotag::Proportion;
use autotag_train::bert::Pooling;
use autotag_train::{Schedule, TrainConfig};
use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    hyper: HyperArgs,
}

fn config(kind: ModelKind, line: &[&str]) -> Result<TrainConfig, String> {
    let line = ["train"].iter().chain(line);
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    Ok(line.hyper.setup(kind, NonZeroUsize::MIN)?.config)
}

#[test]
fn the_defaults_are_the_trainers() {
    let expected = TrainConfig { threads: 1, ..TrainConfig::default() };
    assert_eq!(config(ModelKind::Cnn, &[]).unwrap(), expected);
    let expected = TrainConfig { threads: 1, ..TrainConfig::wide() };
    assert_eq!(config(ModelKind::Wide, &[]).unwrap(), expected);
    let expected = TrainConfig { threads: 1, ..TrainConfig::ldgn() };
    assert_eq!(config(ModelKind::Ldgn, &[]).unwrap(), expected);
    let expected = TrainConfig { threads: 1, ..TrainConfig::bert() };
    assert_eq!(config(ModelKind::Bert, &[]).unwrap(), expected);
    let expected = TrainConfig { threads: 1, ..TrainConfig::wide_cnn_bert() };
    assert_eq!(config(ModelKind::WideCnnBert, &[]).unwrap(), expected);
    let expected = TrainConfig { threads: 1, ..TrainConfig::adapter() };
    assert_eq!(config(ModelKind::Adapter, &[]).unwrap(), expected);
    let expected = TrainConfig { threads: 1, ..TrainConfig::wide_cnn() };
    assert_eq!(config(ModelKind::WideCnn, &[]).unwrap(), expected);
    let expected = TrainConfig { threads: 1, ..TrainConfig::wide_cnn_adapter() };
    assert_eq!(config(ModelKind::WideCnnAdapter, &[]).unwrap(), expected);
}

#[test]
fn options_reach_the_configuration() {
    let line = ["--widths", "1,2", "--gamma", "0", "--lambda", "1", "--normalize"];
    let cnn = config(ModelKind::Cnn, &line).unwrap();
    assert_eq!(cnn.cnn.widths, [1, 2]);
    assert_eq!(cnn.contrastive.gamma, 0.0);
    assert_eq!(cnn.interpolation.proportion, Proportion::NEIGHBORS);
    assert!(cnn.cnn.normalize);
    let line = ["--hidden", "7", "--normalize=false", "--min-documents=3", "--dropout=0"];
    let wide = config(ModelKind::Wide, &line).unwrap().wide;
    assert_eq!((wide.hidden, wide.min_documents), (7, 3));
    assert!(!wide.normalize && wide.dropout == 0.0);
    let line = ["--hidden", "7", "--normalize", "--input-dropout=0.5", "--pooling=cls"];
    let adapter = config(ModelKind::Adapter, &line).unwrap().adapter;
    assert_eq!((adapter.hidden, adapter.input_dropout), (7, 0.5));
    assert!(adapter.normalize && adapter.pooling == Some(Pooling::Cls));
    let line = ["--hidden=7", "--filters=5", "--input-dropout=0.5", "--wide-share=0.3"];
    let three = config(ModelKind::WideCnnAdapter, &line).unwrap();
    assert_eq!((three.wide.hidden, three.cnn.filters), (7, 5));
    assert_eq!((three.adapter.input_dropout, three.joint.share), (0.5, 0.3));
    let line = ["--hidden=7", "--filters=5", "--cnn-share=0.4", "--encoder-learning-rate=1e-5"];
    let three = config(ModelKind::WideCnnBert, &line).unwrap();
    assert_eq!((three.wide.hidden, three.cnn.filters), (7, 5));
    assert_eq!((three.bert.encoder_rate, three.joint.cnn_share), (Some(1e-5), 0.4));
    let line = ["--lstm", "7", "--label-vector=5", "--embedding-dropout=0", "--dropout=0.2"];
    let ldgn = config(ModelKind::Ldgn, &line).unwrap().ldgn;
    assert_eq!((ldgn.lstm, ldgn.dimensions()), (7, 10));
    assert_eq!((ldgn.embedding_dropout, ldgn.dropout), (0.0, 0.2));
    let line = ["--pooling=mean", "--encoder-learning-rate=1e-5", "--warm-up=0", "--init=folder"];
    let TrainConfig { bert, schedule, .. } = config(ModelKind::Bert, &line).unwrap();
    assert_eq!(bert.pooling, Some(Pooling::Mean));
    assert_eq!((bert.encoder_rate, schedule), (Some(1e-5), Schedule::FALLING));
}

#[test]
fn values_out_of_range_are_refused() {
    for option in ["--epochs=0", "--dropout=1", "--gamma=-1", "--tau=0", "--widths=0"] {
        let refused = config(ModelKind::Cnn, &[option]).unwrap_err();
        assert!(refused.contains("out of range"), "{option}");
    }
    let refused = config(ModelKind::Cnn, &["--final-rate=2"]).unwrap_err();
    assert!(refused.contains("final rate = 2 is out of range"), "{refused}");
    for option in ["--hidden=0", "--max-ngrams=0", "--ngram-dropout=1", "--spread=0"] {
        let refused = config(ModelKind::Wide, &[option]).unwrap_err();
        assert!(refused.contains("out of range"), "{option}");
    }
    for option in ["--warm-up=1.5", "--weight-decay=1", "--encoder-learning-rate=0"] {
        let refused = config(ModelKind::Bert, &[option]).unwrap_err();
        assert!(refused.contains("out of range"), "{option}");
    }
    assert!(config(ModelKind::Ldgn, &["--lstm=0"]).unwrap_err().contains("out of range"));
}

#[test]
fn options_of_another_model_are_refused() {
    for (kind, option, name) in [
        (ModelKind::Wide, "--filters=3", "wide"),
        (ModelKind::Wide, "--init=folder", "wide"),
        (ModelKind::Cnn, "--hidden=3", "cnn"),
        (ModelKind::Cnn, "--weight-decay=0.5", "cnn"),
        (ModelKind::WideCnn, "--lstm=3", "wide-cnn"),
        (ModelKind::Ldgn, "--widths=3", "ldgn"),
        (ModelKind::Ldgn, "--pooling=cls", "ldgn"),
        (ModelKind::Bert, "--vocabulary-size=300", "bert"),
        (ModelKind::Adapter, "--filters=3", "adapter"),
        (ModelKind::Adapter, "--spread=3", "adapter"),
        (ModelKind::WideCnn, "--no-cache", "wide-cnn"),
    ] {
        let refused = config(kind, &[option]).unwrap_err();
        assert!(refused.contains(&format!("of no use with --model {name}")), "{refused}");
    }
}

//! Training on data of every kind.

use std::path::Path;
use std::time::Duration;

use autotag_onnx::{ModelBundle, OnnxOptions};
use autotag_train::models::cnn::{CnnConfig, GraphForm};
use autotag_train::{
    ContrastiveConfig, ContrastiveTemperature, Dataset, Init, LabeledText, ModelSpec, Preset,
    Progress, Skipped, Start, TrainConfig, TrainError, TrainReport, TrainingRun, Unreadable,
};

use crate::tiny;

fn labeled(key: &str, text: &str, labels: &[&str]) -> LabeledText {
    LabeledText {
        key: key.to_owned(),
        text: text.to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
    }
}

fn train(
    train: Vec<LabeledText>,
    dev: Vec<LabeledText>,
    Preset { spec, config }: &Preset,
    out: &Path,
) -> Result<(ModelBundle, TrainReport), TrainError> {
    let train = Dataset::new(train)?;
    let dev = Dataset::with_vocabulary(dev, train.vocabulary())?;
    TrainingRun::new(&train, &dev, config, out, &OnnxOptions::default()).train(
        spec,
        Init::Random,
        None,
        &mut |_| {},
    )
}

fn short() -> Preset {
    let Preset { spec, config } = tiny::preset().unwrap();
    Preset { spec, config: TrainConfig { epochs: 2, ..config } }
}

/// A short training of a CNN with other settings.
fn short_with(change: impl Fn(&mut CnnConfig)) -> Preset {
    let mut preset = short();
    let ModelSpec::Cnn(cnn) = &mut preset.spec else { panic!("{preset:?}") };
    change(cnn);
    preset
}

#[test]
fn a_seed_fixes_the_model_whatever_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name: &str, seed, threads| {
        let Preset { spec, config } = short();
        let preset = Preset { spec, config: TrainConfig { seed, threads, ..config } };
        let (data, dev) = (tiny::documents("train", 60), tiny::documents("dev", 20));
        let (bundle, _) = train(data, dev, &preset, &folder.path().join(name)).unwrap();
        bundle.encoder_fingerprint()
    };
    let first = model("first", 1, 1);
    assert_eq!(first, model("second", 1, 1));
    assert_eq!(first, model("threads", 1, 2));
    assert_ne!(first, model("seed", 2, 1));
}

#[test]
fn a_report_tells_the_dev_figures_and_stands_in_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(&folder.path().join("bundle")).unwrap();
    let report: TrainReport = serde_json::from_value(bundle.config().training.clone()).unwrap();
    assert!(report.dev_micro_f1 > 0.9, "{report:?}");
    assert!(report.export_difference < 1e-4);
    assert_eq!((report.n_train, report.n_dev), (240, 60));
    assert_eq!(bundle.config().interpolation, report.interpolation);
    assert_eq!(bundle.datastore().unwrap().reader().unwrap().len(), 240);
    let card = std::fs::read_to_string(bundle.path().join("card.md")).unwrap();
    let figure = format!("| {:.4} |", report.dev_micro_f1);
    for told in ["# Model card: cnn, 5 labels", "on 240 texts", "60 dev texts", &figure] {
        assert!(card.contains(told), "{told}: {card}");
    }
}

#[test]
fn every_epoch_tells_the_contrastive_loss_and_the_distances() {
    let folder = tempfile::tempdir().unwrap();
    let report = |gamma, temperature| {
        let mut preset = short();
        preset.config.contrastive = ContrastiveConfig { gamma, temperature, ..Default::default() };
        let (data, dev) = (tiny::documents("train", 240), tiny::documents("dev", 60));
        let (bundle, report) = train(data, dev, &preset, &folder.path().join("bundle")).unwrap();
        let told: TrainReport = serde_json::from_value(bundle.config().training.clone()).unwrap();
        assert_eq!(told.config, preset.config);
        report
    };
    let temperature = ContrastiveTemperature::Relative { factor: 0.5 };
    let [without, with] = [0.0, 5.0].map(|gamma| report(gamma, temperature));
    for epoch in without.fit.epochs.iter().chain(&with.fit.epochs) {
        for figure in [epoch.contrastive, epoch.norm, epoch.spread] {
            assert!(figure > 0.01 && figure.is_finite(), "{epoch:?}");
        }
    }
    let last = |report: &TrainReport| report.fit.epochs.last().unwrap().contrastive;
    assert!(last(&with) < last(&without), "{with:?} {without:?}");
    // A loss that is out of range is told, and is no reason to end where it has no weight.
    let out_of_range = report(0.0, ContrastiveTemperature::Absolute(1e-38));
    assert_eq!(out_of_range.fit.epochs.len(), 2);
}

#[test]
fn a_label_that_only_dev_has_counts_as_missed() {
    let folder = tempfile::tempdir().unwrap();
    let dev = |label: &str| {
        let mut dev = tiny::documents("dev", 20);
        dev.iter_mut().for_each(|document| document.labels = vec![label.to_owned()]);
        dev
    };
    let out = folder.path().join("bundle");
    let (bundle, report) =
        train(tiny::documents("train", 60), dev("only::dev"), &short(), &out).unwrap();
    assert_eq!(report.dev_micro_f1, 0.0);
    assert_eq!(bundle.labels().id("only::dev"), None);
}

#[test]
fn the_smallest_data_sets_can_be_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let one = || vec![labeled("1", "a single text", &["only"])];
    train(one(), one(), &short(), &folder.path().join("one")).unwrap();
    let same = || (0..20).map(|i| labeled(&i.to_string(), "words again", &["same"])).collect();
    train(same(), same(), &short(), &folder.path().join("same")).unwrap();
}

#[test]
fn a_text_without_words_is_left_out_or_named_and_an_older_bundle_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (out, options) = (folder.path().join("bundle"), OnnxOptions::default());
    let Preset { spec, config } = short();
    let mut broken = tiny::documents("train", 60);
    broken[7].text = "  ".to_owned();
    let broken = Dataset::new(broken).unwrap();
    let run = TrainingRun::new(&broken, &broken, &config, &out, &options);
    let (older, report) = run.train(&spec, Init::Random, None, &mut |_| {}).unwrap();
    assert_eq!(report.skipped, Skipped { train: 1, dev: 1 });
    assert_eq!((report.n_train, report.n_dev), (59, 59));
    assert_eq!(older.datastore().unwrap().reader().unwrap().len(), 59);
    let strict = run.unreadable(Unreadable::Refuse);
    let error = strict.train(&spec, Init::Random, None, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, TrainError::Text { key, .. } if key == "train-7"), "{error}");
    assert_eq!(ModelBundle::open(&out).unwrap().fingerprint(), older.fingerprint());
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "nothing but the bundle is left");
}

/// Titles, queries and short messages, in scripts with and without blanks.
#[test]
fn texts_shorter_than_the_widest_window_are_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let titles = ["no", "war and peace", "?", "the sea", "三体", "ok !", "a b c d e f g"];
    let title = |(number, title): (usize, &str)| {
        let label = if number.is_multiple_of(2) { "even" } else { "odd" };
        labeled(&number.to_string(), title, &[label])
    };
    let titles = || titles.iter().copied().cycle().take(40).enumerate().map(title).collect();
    for form in [GraphForm::Folded, GraphForm::Plain] {
        let preset = short_with(|cnn| (cnn.form, cnn.widths) = (form, vec![3, 4, 5]));
        let out = folder.path().join("bundle");
        let (_, report) = train(titles(), titles(), &preset, &out).unwrap();
        assert!(report.export_difference < 1e-5, "{report:?}");
    }
}

#[test]
fn a_place_that_no_bundle_can_have_is_told_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (file, full) = (folder.path().join("file"), folder.path().join("full"));
    std::fs::write(&file, "someone's").unwrap();
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("notes"), "someone's").unwrap();
    let train = Dataset::new(tiny::documents("train", 60)).unwrap();
    let (Preset { spec, config }, options) = (short(), OnnxOptions::default());
    for out in [file.clone(), full, file.join("bundle")] {
        let mut told = Vec::new();
        let error = TrainingRun::new(&train, &train, &config, &out, &options)
            .train(&spec, Init::Random, None, &mut |progress| told.push(progress))
            .unwrap_err();
        assert!(matches!(error, TrainError::Onnx(_)), "{error}");
        assert!(told.is_empty(), "{told:?}");
    }
    let (out, run) = (folder.path().join("bundle"), file.join("run"));
    let mut told = Vec::new();
    let error = TrainingRun::new(&train, &train, &config, &out, &options)
        .checkpoints(&run, Start::Anew)
        .train(&spec, Init::Random, None, &mut |progress| told.push(progress))
        .unwrap_err();
    assert!(matches!(error, TrainError::Io { action: "create", .. }), "{error}");
    assert!(told.is_empty() && !out.exists(), "{told:?}");
}

#[test]
fn a_training_that_failed_leaves_its_place_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (out, run) = (folder.path().join("bundle"), folder.path().join("run"));
    let data = Dataset::new(tiny::documents("train", 60)).unwrap();
    let options = OnnxOptions::default();
    let train =
        |Preset { spec, config }: &Preset| {
            TrainingRun::new(&data, &data, config, &out, &options)
                .checkpoints(&run, Start::Anew)
                .train(spec, Init::Random, None, &mut |_| {})
        };
    train(&short_with(|cnn| cnn.adam.learning_rate = 1e30)).unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    train(&short()).unwrap();
}

#[test]
fn a_learning_rate_that_is_far_too_high_ends_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut preset = short_with(|cnn| cnn.adam.learning_rate = 1e30);
    preset.config.epochs = 10;
    let error = train(
        tiny::documents("train", 60),
        tiny::documents("dev", 20),
        &preset,
        &folder.path().join("bundle"),
    )
    .unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}

#[test]
fn progress_tells_every_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let train = Dataset::new(tiny::documents("train", 60)).unwrap();
    let dev = Dataset::with_vocabulary(tiny::documents("dev", 20), train.vocabulary()).unwrap();
    let (mut epochs, mut left) = (Vec::new(), Vec::new());
    let mut watch = |progress: Progress| match progress {
        Progress::Epoch(report) => epochs.push(report.epoch),
        Progress::Batches { done, of, texts_per_second, at_most, loss, .. } => {
            assert!(texts_per_second > 0.0 && loss.bce > 0.0 && done <= of, "{done} of {of}");
            left.push(at_most);
        }
        _ => {}
    };
    let out = folder.path().join("bundle");
    let Preset { spec, config } = short();
    TrainingRun::new(&train, &dev, &config, &out, &OnnxOptions::default())
        .train(&spec, Init::Random, None, &mut watch)
        .unwrap();
    assert_eq!(epochs, [1, 2]);
    assert!(left[0] > Duration::ZERO, "{left:?}");
    assert_eq!(left.last(), Some(&Duration::ZERO), "{left:?}");
}

#[test]
fn a_text_on_which_no_filter_is_active_is_nobodys_neighbor() {
    let folder = tempfile::tempdir().unwrap();
    let left_out = |seed| {
        let mut preset = short_with(|cnn| (cnn.filters, cnn.widths) = (1, vec![1]));
        preset.config.seed = seed;
        let (data, dev) = (tiny::documents("train", 60), tiny::documents("dev", 20));
        let out = folder.path().join(seed.to_string());
        let (bundle, _) = train(data, dev, &preset, &out).unwrap();
        60 - bundle.datastore().unwrap().reader().unwrap().len()
    };
    let left_out: Vec<usize> = (0..6).map(left_out).collect();
    assert!(left_out.iter().any(|&n| n > 0), "{left_out:?}");
}

//! Interrupted trainings, and how they are resumed.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use autotag_onnx::{ModelBundle, OnnxOptions};
use autotag_train::models::cnn::CnnConfig;
use autotag_train::models::wide::WideConfig;
use autotag_train::optimizer::AdamConfig;
use autotag_train::{
    Dataset, EpochReport, Init, ModelSpec, Preset, Progress, Schedule, Start, TrainConfig,
    TrainError, TrainReport, TrainingRun, WordVectors,
};

use crate::tiny;

/// The models that are trained the same way.
const MODELS: [&str; 3] = ["cnn", "wide", "wide-cnn"];

struct Setting {
    train: Dataset,
    dev: Dataset,
    spec: ModelSpec,
    config: TrainConfig,
    init: Init,
}

impl Setting {
    fn of(model: &str) -> Self {
        let train = Dataset::new(tiny::documents("train", 80)).unwrap();
        let dev = Dataset::with_vocabulary(tiny::documents("dev", 30), train.vocabulary()).unwrap();
        let Preset { spec: tiny, config } = tiny::preset().unwrap();
        let Preset { mut spec, .. } = model.parse().unwrap();
        for model in spec.members_mut() {
            if let ModelSpec::Wide(wide) = model {
                wide.hidden = 16;
            } else {
                *model = tiny.clone();
            }
            if let ModelSpec::Cnn(cnn) = model {
                cnn.normalize = true;
            }
        }
        let config = TrainConfig { epochs: 4, batch_size: 16, ..config };
        Setting { train, dev, spec, config, init: Init::Random }
    }

    /// Returns the optimizers of all models.
    fn optimizers(&mut self) -> Vec<&mut AdamConfig> {
        let adam = |model| match model {
            &mut ModelSpec::Wide(WideConfig { ref mut adam, .. })
            | &mut ModelSpec::Cnn(CnnConfig { ref mut adam, .. }) => adam,
            other => panic!("{other:?}"),
        };
        self.spec.members_mut().into_iter().map(adam).collect()
    }

    /// Trains into `folder`, and stops after the given number of batches.
    fn train(
        &self,
        folder: &Path,
        start: Start,
        n_batches: usize,
    ) -> Result<(ModelBundle, TrainReport), TrainError> {
        let (stop, options) = (AtomicBool::new(false), OnnxOptions::default());
        let mut n_done = 0;
        let progress = &mut |progress: Progress| {
            if let Progress::Batches { .. } = progress {
                n_done += 1;
                stop.store(n_done >= n_batches, Ordering::Relaxed);
            }
        };
        let (out, run) = (folder.join("bundle"), folder.join("run"));
        TrainingRun::new(&self.train, &self.dev, &self.config, &out, &options)
            .checkpoints(&run, start)
            .stopped_by(&stop)
            .train(&self.spec, self.init.clone(), None, progress)
    }
}

/// The figures of epochs, without how fast they were and the last bit, which JSON may change.
fn figures(epochs: &[EpochReport]) -> Vec<(usize, bool, [String; 7])> {
    let figures = |epoch: &EpochReport| {
        let EpochReport { bce, contrastive, model_f1, interpolated_f1, tuned_f1, .. } = *epoch;
        let losses = [bce, contrastive, epoch.norm, epoch.spread];
        let [bce, contrastive, norm, spread] = losses.map(|figure| format!("{figure:.4}"));
        let [model, interpolated, tuned] =
            [model_f1, interpolated_f1, tuned_f1].map(|f1| format!("{f1:.12}"));
        (epoch.epoch, epoch.best, [bce, contrastive, norm, spread, model, interpolated, tuned])
    };
    epochs.iter().map(figures).collect()
}

#[test]
fn a_training_that_was_stopped_comes_to_the_same_result() {
    for model in MODELS {
        let setting = Setting::of(model);
        let whole = tempfile::tempdir().unwrap();
        let (expected, expected_report) =
            setting.train(whole.path(), Start::Anew, usize::MAX).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Within the first epoch of 5 batches, within the second, and at the end of the third.
        for n_batches in [2, 5, 8] {
            let error = setting.train(folder.path(), Start::Resume, n_batches).unwrap_err();
            assert!(matches!(error, TrainError::Stopped { checkpoint: Some(_), .. }), "{error}");
        }
        let (bundle, report) = setting.train(folder.path(), Start::Resume, usize::MAX).unwrap();
        assert_eq!(figures(&report.fit.epochs), figures(&expected_report.fit.epochs), "{model}");
        assert_eq!(bundle.encoder_fingerprint(), expected.encoder_fingerprint(), "{model}");
    }
}

#[test]
fn a_finished_training_leaves_its_figures_and_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (_, report) = Setting::of("cnn").train(folder.path(), Start::Anew, usize::MAX).unwrap();
    let lines = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let epochs: Vec<EpochReport> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(figures(&epochs), figures(&report.fit.epochs));
    let left: Vec<_> = fs::read_dir(folder.path().join("run")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn the_best_epoch_so_far_can_be_published() {
    let setting = Setting::of("cnn");
    let folder = tempfile::tempdir().unwrap();
    setting.train(folder.path(), Start::Anew, 2).unwrap_err();
    let error = setting.train(folder.path(), Start::Finish, usize::MAX).unwrap_err();
    assert!(matches!(error, TrainError::NothingToFinish { .. }), "{error}");
    setting.train(folder.path(), Start::Resume, 6).unwrap_err();
    let (_, report) = setting.train(folder.path(), Start::Finish, usize::MAX).unwrap();
    assert_eq!(report.fit.epochs.len(), 1);
}

#[test]
fn a_training_is_resumed_with_its_own_settings_and_data() {
    let mut setting = Setting::of("cnn");
    let folder = tempfile::tempdir().unwrap();
    setting.train(folder.path(), Start::Anew, 7).unwrap_err();
    let error = setting.train(folder.path(), Start::Anew, 7).unwrap_err();
    assert!(matches!(error, TrainError::CheckpointExists { .. }), "{error}");
    setting.optimizers()[0].learning_rate *= 2.0;
    let error = setting.train(folder.path(), Start::Resume, 7).unwrap_err().to_string();
    assert!(error.contains("adam.learning_rate (0."), "{error}");
    let mut setting = Setting::of("cnn");
    setting.train = Dataset::new(tiny::documents("train", 81)).unwrap();
    let error = setting.train(folder.path(), Start::Resume, 7).unwrap_err();
    assert!(matches!(error, TrainError::OtherData { .. }), "{error}");
    Setting::of("cnn").train(folder.path(), Start::Resume, usize::MAX).unwrap();
}

#[test]
fn a_training_is_resumed_with_the_vectors_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = |value: f32| {
        let path = folder.path().join("vectors.txt");
        let word = tiny::text(&[2], 5).split(' ').next().unwrap().to_lowercase();
        fs::write(&path, format!("{word} 0.5 {value}\n")).unwrap();
        let train = Setting::of("cnn").train;
        let (pretrained, _) = WordVectors::Text(path).start(&train, 2000, 1).unwrap();
        Init::Tokens(Box::new(pretrained))
    };
    let mut setting = Setting::of("cnn");
    setting.init = vectors(0.25);
    setting.train(folder.path(), Start::Anew, 7).unwrap_err();
    setting.init = vectors(0.125);
    let error = setting.train(folder.path(), Start::Resume, 7).unwrap_err().to_string();
    assert!(error.contains("pretrained (\""), "{error}");
    setting.init = vectors(0.25);
    let (bundle, _) = setting.train(folder.path(), Start::Resume, usize::MAX).unwrap();
    let card = fs::read_to_string(bundle.path().join("card.md")).unwrap();
    assert!(card.contains("began with pretrained values"), "{card}");
}

/// Puts the checksum of changed bytes behind them: the content, its length, CRC-32, eight bytes of magic.
fn seal(bytes: &mut [u8]) {
    let sum = bytes.len() - 12;
    let checksum = crc32fast::hash(&bytes[..sum]).to_le_bytes();
    bytes[sum..][..4].copy_from_slice(&checksum);
}

#[test]
fn a_changed_checkpoint_is_told_as_damage_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let setting = Setting::of("wide");
    setting.train(folder.path(), Start::Anew, 7).unwrap_err();
    let path = folder.path().join("run/checkpoint.safetensors");
    let sound = fs::read(&path).unwrap();
    for at in [9, sound.len() / 3, sound.len() / 2, sound.len() - 1] {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        fs::write(&path, bytes).unwrap();
        for start in [Start::Resume, Start::Finish] {
            let error = setting.train(folder.path(), start, usize::MAX).map(|_| ()).unwrap_err();
            assert!(matches!(error, TrainError::CheckpointDamaged { .. }), "{error}");
            assert!(error.to_string().contains("delete it and begin anew"), "{error}");
        }
    }
    fs::remove_file(&path).unwrap();
    setting.train(folder.path(), Start::Anew, usize::MAX).unwrap();
}

#[test]
fn a_checkpoint_with_more_texts_than_there_are_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let setting = Setting::of("wide");
    setting.train(folder.path(), Start::Anew, 2).unwrap_err();
    let path = folder.path().join("run/checkpoint.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let name = b"n_texts\\\":32";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at + name.len() - 2..][..2].copy_from_slice(b"96");
    seal(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = setting.train(folder.path(), Start::Resume, usize::MAX).map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
}

#[test]
fn the_best_epoch_is_kept_when_patience_ends() {
    for model in MODELS {
        let mut setting = Setting::of(model);
        (setting.config.epochs, setting.config.patience) = (40, 2);
        setting.config.schedule = Schedule { warm_up: 0.0, left: 1.0 };
        let folder = tempfile::tempdir().unwrap();
        let (bundle, report) = setting.train(folder.path(), Start::Anew, usize::MAX).unwrap();
        let (n_epochs, best) = (report.fit.epochs.len(), report.fit.best_epoch);
        assert!(n_epochs == best + 2 && n_epochs < 40, "{model}: {n_epochs}, best {best}");
        // The same as one that ends there.
        setting.config.epochs = best;
        let folder = tempfile::tempdir().unwrap();
        let (expected, _) = setting.train(folder.path(), Start::Anew, usize::MAX).unwrap();
        assert_eq!(bundle.encoder_fingerprint(), expected.encoder_fingerprint(), "{model}");
    }
}

#[test]
fn a_single_text_with_a_single_label_everywhere_is_enough() {
    for model in MODELS {
        let mut setting = Setting::of(model);
        for model in setting.spec.members_mut() {
            if let ModelSpec::Wide(wide) = model {
                wide.min_documents = 1;
            }
        }
        let one = || vec![tiny::documents("train", 1).remove(0)];
        setting.train = Dataset::new(one()).unwrap();
        setting.dev = Dataset::with_vocabulary(one(), setting.train.vocabulary()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (bundle, _) = setting.train(folder.path(), Start::Anew, usize::MAX).unwrap();
        assert_eq!(bundle.labels().len(), one()[0].labels.len(), "{model}");
    }
}

#[test]
fn an_interruption_between_epochs_is_one_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut setting = Setting::of("wide");
    setting.config.batch_size = 80;
    // The only batch of an epoch is its last: the epoch is finished first, and stays.
    let error = setting.train(folder.path(), Start::Anew, 1).map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Stopped { epoch: 2, checkpoint: Some(_) }), "{error}");
    let (_, report) = setting.train(folder.path(), Start::Finish, usize::MAX).unwrap();
    assert_eq!(report.fit.epochs.len(), 1);
}

#[test]
fn a_model_without_a_finite_answer_ends_the_training_at_once() {
    for model in MODELS {
        let mut setting = Setting::of(model);
        let folder = tempfile::tempdir().unwrap();
        // One batch an epoch, whose loss is still finite.
        setting.config.batch_size = 80;
        setting.optimizers().into_iter().for_each(|adam| adam.learning_rate = 1e36);
        let error = setting.train(folder.path(), Start::Anew, usize::MAX).map(|_| ()).unwrap_err();
        let expected = TrainError::Diverged {
            loss: None,
            epoch: 1,
            batch: 1,
            learning_rate: 1e36,
            checkpoint: None,
        };
        assert_eq!(error.to_string(), expected.to_string(), "{model}");
        assert!(!folder.path().join("bundle").exists());
    }
}

#[test]
fn a_model_that_goes_too_far_leaves_the_checkpoint_of_the_epochs_before() {
    let mut setting = Setting::of("cnn");
    let folder = tempfile::tempdir().unwrap();
    // The rate rises over all epochs: the first one's steps can still be borne.
    (setting.optimizers()[0].learning_rate, setting.config.schedule.warm_up) = (1e7, 1.0);
    let error = setting.train(folder.path(), Start::Anew, usize::MAX).map(|_| ()).unwrap_err();
    let TrainError::Diverged { epoch, checkpoint, .. } = &error else { panic!("{error}") };
    assert!(*epoch > 1 && checkpoint.as_ref().unwrap().is_file(), "{error}");
    let (_, report) = setting.train(folder.path(), Start::Finish, usize::MAX).unwrap();
    assert!((1..*epoch).contains(&report.fit.epochs.len()), "{:?}", report.fit);
}

#[test]
fn a_training_that_would_fail_again_leaves_its_place_to_the_next() {
    let mut setting = Setting::of("cnn");
    let folder = tempfile::tempdir().unwrap();
    let sound = (setting.spec.clone(), setting.config.clone());
    (setting.optimizers()[0].learning_rate, setting.config.schedule.warm_up) = (1e7, 1.0);
    let error = setting.train(folder.path(), Start::Anew, usize::MAX).map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { checkpoint: Some(_), .. }), "{error}");
    // With other settings, and without a word about the old checkpoint.
    (setting.spec, setting.config) = sound;
    let error = setting.train(folder.path(), Start::Anew, 7).map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Stopped { .. }), "{error}");
    assert!(folder.path().join("run/checkpoint.failed.safetensors").is_file());
    // What was only stopped is not set aside.
    let error = setting.train(folder.path(), Start::Anew, 7).map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::CheckpointExists { .. }), "{error}");
    setting.train(folder.path(), Start::Resume, usize::MAX).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 1, "the figures alone");
}

#[test]
fn a_loss_that_is_not_a_number_names_its_batch() {
    let mut setting = Setting::of("cnn");
    setting.optimizers()[0].learning_rate = 1e16;
    let folder = tempfile::tempdir().unwrap();
    let error = setting.train(folder.path(), Start::Anew, usize::MAX).map(|_| ()).unwrap_err();
    let TrainError::Diverged { loss, epoch, batch, .. } = &error else { panic!("{error}") };
    assert!(loss.is_some_and(|loss| !loss.is_finite()), "{error}");
    assert!(error.to_string().contains(&format!("in batch {batch} of epoch {epoch}")), "{error}");
}

#[test]
fn a_bounded_gradient_moves_as_far_as_its_bound_lets_it() {
    let mut setting = Setting::of("wide");
    // Without Adam's own scaling, a bound of almost nothing leaves the model as it began.
    setting.optimizers()[0].epsilon = 1.0;
    setting.optimizers()[0].max_gradient_norm = 1e-12;
    let folder = tempfile::tempdir().unwrap();
    let (_, report) = setting.train(folder.path(), Start::Anew, usize::MAX).unwrap();
    let losses: Vec<f32> = report.fit.epochs.iter().map(|epoch| epoch.bce).collect();
    let spread = losses[0] - losses[losses.len() - 1];
    setting.optimizers()[0].max_gradient_norm = 0.0;
    let folder = tempfile::tempdir().unwrap();
    let (_, report) = setting.train(folder.path(), Start::Anew, usize::MAX).unwrap();
    let free: Vec<f32> = report.fit.epochs.iter().map(|epoch| epoch.bce).collect();
    assert!(spread.abs() * 3.0 < free[0] - free[free.len() - 1], "{losses:?} {free:?}");
}

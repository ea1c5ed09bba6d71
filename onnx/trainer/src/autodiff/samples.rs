//! Training data for the models' tests, and the properties that all models must have.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use autotag::{Encoded, Encoder};
use autotag_onnx::{Device, ModelBundle, OnnxEncoder, OnnxOptions};

use crate::{
    Dataset, Init, LabeledText, Preset, Progress, Result, Start, TrainReport, TrainingRun,
};

/// Makes up documents of 1 to 12 words; each label has words of its own, `w4` to `w15`.
fn documents(n: usize) -> Dataset {
    let document = |i: usize| {
        let labels = if i.is_multiple_of(3) { vec![i % 4, (i + 1) % 4] } else { vec![i % 4] };
        let n_words = 1 + (i * 7) % 12;
        let words = (0..n_words.max(labels.len())).map(|word| {
            let label = labels[word % labels.len()];
            format!("w{}", 4 + 3 * label + (i * 5 + word * 11) % 3)
        });
        LabeledText {
            key: i.to_string(),
            text: words.collect::<Vec<_>>().join(" "),
            labels: labels.iter().map(|label| format!("label {label}")).collect(),
        }
    };
    Dataset::new((0..n).map(document)).unwrap()
}

fn options() -> OnnxOptions {
    let mut options = OnnxOptions::default();
    options.device = Device::Cpu;
    options
}

/// Trains on 48 documents, which are dev too, and stops after a number of batches.
fn run(
    folder: &Path,
    preset: &Preset,
    init: &Init,
    start: Start,
    n_batches: usize,
) -> Result<(ModelBundle, TrainReport)> {
    let documents = documents(48);
    let (stop, options) = (AtomicBool::new(false), options());
    let mut n_done = 0;
    let mut progress = |progress: Progress| {
        if let Progress::Batches { .. } = progress {
            n_done += 1;
            stop.store(n_done >= n_batches, Ordering::Relaxed);
        }
    };
    let (out, checkpoints) = (folder.join("bundle"), folder.join("run"));
    let run = TrainingRun::new(&documents, &documents, &preset.config, &out, &options)
        .checkpoints(&checkpoints, start)
        .stopped_by(&stop);
    run.train(&preset.spec, init.clone(), None, &mut progress)
}

/// Trains in a folder that is removed afterwards.
pub(crate) fn train(preset: &Preset, init: &Init) -> Result<TrainReport> {
    let folder = tempfile::tempdir().unwrap();
    Ok(run(folder.path(), preset, init, Start::Anew, usize::MAX)?.1)
}

/// Training lowers the loss and finds the labels; the export agrees with the trainer, as every run
/// checks; and its answers do not depend on the batch.
pub(crate) fn check_learns(preset: &Preset, init: &Init) {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, report) = run(folder.path(), preset, init, Start::Anew, usize::MAX).unwrap();
    let (first, last) = (report.fit.epochs[0], report.fit.epochs.last().unwrap());
    assert!(last.bce < 0.5 * first.bce, "{first:?} {last:?}");
    assert!(last.model_f1 > 0.9, "{last:?}");
    assert!(last.contrastive > 0.0 && last.contrastive.is_finite(), "{last:?}");
    assert!(report.export_difference < 1e-4);
    check_batches(&bundle);
}

/// Checks that texts have the same answers together and alone.
fn check_batches(bundle: &ModelBundle) {
    let encoder = OnnxEncoder::open(bundle, &options()).unwrap();
    let documents = documents(12);
    let texts = documents.texts().iter();
    let inputs: Vec<_> = texts.map(|text| encoder.tokenize(text).unwrap()).collect();
    let answers = |inputs: &[_]| -> Vec<Encoded> {
        encoder.encode(inputs).outcomes().map(Result::unwrap).collect()
    };
    let together = answers(&inputs);
    for (input, together) in inputs.iter().zip(&together) {
        let alone = &answers(std::slice::from_ref(input))[0];
        assert_near(together.embedding.values(), alone.embedding.values());
        let scores = |encoded: &Encoded| encoded.scores.as_ref().unwrap().values().to_vec();
        assert_near(&scores(together), &scores(alone));
    }
}

pub(crate) fn assert_near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// A training that is stopped within an epoch, and at the end of one, comes to the same result.
pub(crate) fn check_resumes(preset: &Preset, init: &Init) {
    let whole = tempfile::tempdir().unwrap();
    let (expected, expected_report) =
        run(whole.path(), preset, init, Start::Anew, usize::MAX).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for n_batches in [2, 5] {
        run(folder.path(), preset, init, Start::Resume, n_batches).unwrap_err();
    }
    let (bundle, report) = run(folder.path(), preset, init, Start::Resume, usize::MAX).unwrap();
    assert_eq!(report.fit.best_epoch, expected_report.fit.best_epoch);
    assert_eq!(bundle.encoder_fingerprint(), expected.encoder_fingerprint());
}

//! The comparison of an exported model with the one that was trained.

use std::num::NonZeroUsize;
use std::sync::Arc;

use autotag::{EncodeError, Encoded, EncodedBatch, Encoder, Tagger};
use autotag_onnx::OnnxEncoder;
use ndarray::Array2;

use super::{Plan, TrainingRun};
use crate::checkpoint::{Claim, Start};
use crate::model::{Model, Predict, TextInput, TokenizedTexts};
use crate::readable::Readable;
use crate::report::Progress;
use crate::rows::RowMajor as _;
use crate::{Dataset, Result, TrainError};

impl TrainingRun<'_> {
    /// Compares an untrained model with its export, so that a difference is found before training rather
    /// than after it.
    ///
    /// A training that is only to be finished is not worth it: its model is compared at once anyway.
    pub(super) fn check_export(
        &self,
        model: &dyn Model,
        plan: &Plan,
        probes: &Readable<'_>,
        claim: Option<&Claim>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        if claim.is_some_and(|claim| claim.start() == Start::Finish) {
            return Ok(());
        }
        progress(Progress::Stage("check the export"));
        let mut network = model.present().expect("a snapshot's parts are among the model's");
        network.round();
        let mut options = self.options.clone();
        options.sessions = NonZeroUsize::MIN;
        let draft = self.draft(&*network, plan)?;
        let encoder = draft.encoder(&options)?;
        compare(&*network, &encoder, &probes.dataset, &probes.texts).map(drop)
    }
}

/// The largest difference that an export may have from the model that was trained.
const TOLERANCE: f32 = 1e-4;

/// The texts that the export is compared on.
const COMPARED: usize = 256;

/// The texts given to the exported model at once, of different lengths.
const ENCODE_BATCH: usize = 32;

/// Runs a data set's first texts through the exported model, in batches of different lengths, and compares
/// its answers with the trainer's; returns the largest difference.
pub(super) fn compare(
    network: &dyn Predict,
    encoder: &OnnxEncoder,
    dataset: &Dataset,
    texts: &TokenizedTexts,
) -> Result<f32> {
    let n = dataset.len().min(COMPARED);
    let texts: Vec<&TextInput> = texts.texts[..n].iter().collect();
    let expected = network.predict(&texts);
    let mut largest = 0f32;
    let rows: Vec<usize> = (0..n).collect();
    for rows in rows.chunks(ENCODE_BATCH) {
        for (&row, encoded) in rows.iter().zip(encode(encoder, dataset, rows)) {
            let Encoded { embedding, scores } = match encoded {
                Err(TrainError::Text { source, .. })
                    if is_nothing(expected.embeddings.row_slice(row)) && says_nothing(&source) =>
                {
                    continue;
                }
                encoded => encoded?,
            };
            let scores = scores.as_ref().map_or(&[][..], |scores| scores.values());
            for (what, found, expected) in [
                ("the representation", embedding.values(), expected.embeddings.row_slice(row)),
                ("the scores", scores, expected.scores.row_slice(row)),
            ] {
                let difference = largest_difference(found, expected);
                largest = largest.max(difference);
                let is_close = difference <= TOLERANCE && found.len() == expected.len();
                if !is_close {
                    let (key, tolerance) = (dataset.keys()[row].clone(), TOLERANCE);
                    return Err(TrainError::ExportDiffers { what, difference, tolerance, key });
                }
            }
        }
    }
    Ok(largest)
}

/// Tells whether nothing in the trained model's representation is active on a text.
fn is_nothing(representation: &[f32]) -> bool {
    representation.iter().all(|value| value.abs() <= TOLERANCE)
}

/// Tells whether the exported model's representation of a text was refused, as an all-zero one is.
fn says_nothing(error: &EncodeError) -> bool {
    let EncodeError::Answer(cause) = error else { return false };
    matches!(**cause, autotag::Error::Embedding { .. })
}

/// Returns the largest difference between values, relative to those greater than 1; not a number where
/// one of them is none.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    differences
        .fold(0.0, |largest, next| if next > largest || next.is_nan() { next } else { largest })
}

/// Represents a data set's texts as the exported model does: [texts, D].
///
/// A text on which nothing is active has a row of zeros.
pub(super) fn exported(encoder: OnnxEncoder, dataset: &Dataset) -> Result<Array2<f32>> {
    let dimensions = encoder.dimensions();
    let threads = NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN);
    let shares = Tagger::new(Arc::new(encoder)).encode_on(threads, dataset.texts(), |mut share| {
        share.drop_scores();
        share
    });
    let encoded = EncodedBatch::concatenate(dimensions, shares);
    for (&row, error) in encoded.failures() {
        if !says_nothing(error) {
            let (key, source) = (dataset.keys()[row].clone(), error.clone());
            return Err(TrainError::Text { key, source });
        }
    }
    Ok(encoded.embeddings().to_owned())
}

/// Encodes some of a data set's texts.
fn encode(encoder: &OnnxEncoder, dataset: &Dataset, rows: &[usize]) -> Vec<Result<Encoded>> {
    let mut tokens = Vec::with_capacity(rows.len());
    for &row in rows {
        match encoder.tokenize(&dataset.texts()[row]) {
            Ok(ids) => tokens.push(ids),
            Err(source) => {
                let key = dataset.keys()[row].clone();
                return vec![Err(TrainError::Text { key, source })];
            }
        }
    }
    let encoded = encoder.encode(&tokens);
    let outcomes = encoded.outcomes().zip(rows);
    outcomes
        .map(|(outcome, &row)| {
            outcome.map_err(|source| TrainError::Text { key: dataset.keys()[row].clone(), source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_no_number_is_the_largest() {
        let difference = |a: &[f32]| largest_difference(a, &[1.0, 4.0, 0.5]);
        assert_eq!(difference(&[1.5, 5.0, 0.5]), 0.5);
        for at in 0..3 {
            let mut a = [1.0, 5.0, 0.5];
            a[at] = f32::NAN;
            assert!(difference(&a).is_nan(), "{a:?}");
        }
    }
}

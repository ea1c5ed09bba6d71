//! The report of an encoder that is not trained, and its neighbors' tuning.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use autotag::tune::{self, MAX_K, Method, Prediction, Tuned};
use autotag::{Interpolation, Threshold};

use super::encoder::{EncoderCard, untuned};
use crate::dataset::{Dataset, Skipped};
use crate::nearest::nearest;

/// The report of a bundle whose encoder was not trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderReport {
    /// The encoder.
    pub encoder: EncoderCard,
    /// The number of first neighbors.
    pub n_neighbors: usize,
    /// The number of dev texts; 0 where nothing was tuned.
    pub n_dev: usize,
    /// The texts that were left out of both, because the encoder cannot read them.
    #[serde(default)]
    pub skipped: Skipped,
    /// k, tau and lambda, which is 1.
    pub interpolation: Interpolation,
    /// The threshold.
    pub threshold: Threshold,
    /// The micro-F1 on dev, where k, tau and the threshold were tuned on it.
    pub dev_micro_f1: Option<f64>,
}

impl EncoderReport {
    pub(super) fn untuned(encoder: EncoderCard) -> Self {
        EncoderReport {
            encoder,
            n_neighbors: 0,
            n_dev: 0,
            skipped: Skipped::default(),
            interpolation: untuned(),
            threshold: untuned_threshold(),
            dev_micro_f1: None,
        }
    }

    /// Tunes k, tau and the threshold on dev.
    pub(super) fn tune(
        &mut self,
        texts: &Dataset,
        embeddings: &Array2<f32>,
        dev: &Dataset,
        dev_embeddings: &Array2<f32>,
    ) {
        let neighbors = nearest(dev_embeddings.view(), embeddings.view(), texts.labels(), MAX_K);
        let predictions: Vec<Prediction> = neighbors
            .into_iter()
            .zip(dev.labels())
            .map(|(neighbors, given)| Prediction { given: given.clone(), model: None, neighbors })
            .collect();
        let Tuned { interpolation, threshold, score } = tune::tune(&predictions, Method::Knn);
        self.n_dev = dev.len();
        (self.interpolation, self.threshold) = (interpolation, threshold);
        self.dev_micro_f1 = Some(score);
    }
}

/// Returns the score from which on a label becomes a tag where no dev set says it: votes are seldom
/// as unanimous as a trained model is certain.
fn untuned_threshold() -> Threshold {
    Threshold::new(0.3).expect("0.3 is within 0..=1")
}

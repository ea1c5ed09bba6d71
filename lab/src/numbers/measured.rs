//! One run, measured in every way that tables and figures need.

use std::num::NonZeroUsize;

use autotag::metrics::{Confusion, Evaluation, Evaluator};
use autotag::tune::{self, Method, Prediction};
use autotag::{Interpolation, Proportion, Selection};

use crate::Result;
use crate::decide::{decisions, tags};
use crate::runs::{KeptData, RunRecord, RunsFolder};

/// Selects whether a run is measured over k and lambda too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sweeps {
    Yes,
    No,
}

/// The numbers of neighbors of figure 2.
pub(super) const KS: [usize; 9] = [1, 2, 3, 5, 8, 12, 20, 30, 50];

/// The proportions of figure 2, in tenths.
pub(super) const LAMBDAS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// A run's figures with one choice of settings.
#[derive(Clone, Debug)]
pub(super) struct Measures {
    pub(super) evaluation: Evaluation,
    /// Each text's right and wrong decisions.
    pub(super) documents: Vec<Confusion>,
}

/// A run that is done, measured; its predictions are no longer held.
#[derive(Clone, Debug)]
pub(super) struct MeasuredRun {
    pub(super) record: RunRecord,
    /// The model alone at the threshold .5, and at the tuned one.
    pub(super) model: Measures,
    pub(super) tuned_model: Measures,
    /// With neighbors, as the paper sets k, tau, lambda and the threshold, and as tuned; those of the
    /// model alone for the linear baseline, which has no neighbors.
    pub(super) knn: Measures,
    pub(super) tuned_knn: Measures,
    /// The share of the neighbors' labels that are the text's.
    pub(super) shared: f64,
    /// Micro-F1 by [`KS`], where it was asked for.
    pub(super) by_k: Vec<f64>,
    /// Micro-F1 by [`LAMBDAS`], where it was asked for.
    pub(super) by_lambda: Vec<f64>,
}

impl MeasuredRun {
    pub(super) fn read(
        folder: &RunsFolder,
        data: &KeptData,
        record: RunRecord,
        sweeps: Sweeps,
    ) -> Result<Self> {
        let predictions = folder.read_predictions(&record.id, data)?;
        Ok(MeasuredRun::new(record, &predictions, data.record.labels.len(), sweeps))
    }

    pub(super) fn linear(folder: &RunsFolder, data: &KeptData, record: RunRecord) -> Result<Self> {
        MeasuredRun::read(folder, data, record, Sweeps::No)
    }

    pub(super) fn new(
        record: RunRecord,
        predictions: &[Prediction],
        n_labels: usize,
        sweeps: Sweeps,
    ) -> Self {
        let half = Selection::default();
        let measure = |method, interpolation: &Interpolation, selection: &Selection| {
            measure(predictions, n_labels, method, interpolation, selection)
        };
        let as_set = as_set(&record);
        let model = measure(Method::Model, &as_set, &half);
        let own = record.tuned_model;
        let tuned_model = measure(Method::Model, &own.interpolation, &own.selection());
        let (knn, tuned_knn) = match &record.tuned {
            None => (model.clone(), tuned_model.clone()),
            Some(tuned) => (
                measure(Method::Interpolated, &as_set, &half),
                measure(Method::Interpolated, &tuned.interpolation, &tuned.selection()),
            ),
        };
        let (mut by_k, mut by_lambda) = (Vec::new(), Vec::new());
        if sweeps == Sweeps::Yes {
            let f1 = |interpolation: Interpolation| {
                measure(Method::Interpolated, &interpolation, &half).evaluation.micro_f1
            };
            by_k = KS.map(|k| f1(with_k(as_set, k))).to_vec();
            by_lambda = LAMBDAS.map(|tenths| f1(with_lambda(as_set, tenths))).to_vec();
        }
        let shared = shared_labels(predictions, as_set.k.get());
        MeasuredRun { record, model, tuned_model, knn, tuned_knn, shared, by_k, by_lambda }
    }

    pub(super) fn seed(&self) -> Option<u64> {
        self.record.config.as_ref().map(|config| config.seed)
    }
}

/// Returns how neighbors vote where nothing is tuned.
pub(super) fn as_set(record: &RunRecord) -> Interpolation {
    record.config.as_ref().map_or_else(Interpolation::default, |config| config.interpolation)
}

fn with_k(interpolation: Interpolation, k: usize) -> Interpolation {
    Interpolation { k: NonZeroUsize::new(k).unwrap_or(NonZeroUsize::MIN), ..interpolation }
}

fn with_lambda(interpolation: Interpolation, tenths: u8) -> Interpolation {
    let proportion = Proportion::new(f32::from(tenths) / 10.0).expect("tenths are at most 10");
    Interpolation { proportion, ..interpolation }
}

fn measure(
    predictions: &[Prediction],
    n_labels: usize,
    method: Method,
    interpolation: &Interpolation,
    selection: &Selection,
) -> Measures {
    let mut evaluator = Evaluator::new(n_labels);
    let mut documents = Vec::with_capacity(predictions.len());
    for prediction in predictions {
        let scores = tune::scores(prediction, method, interpolation);
        documents.push(decisions(&prediction.given, &tags(scores.clone(), selection)));
        evaluator.add(&prediction.given, scores, selection);
    }
    Measures { evaluation: evaluator.finish(), documents }
}

/// Returns how many of the labels of all texts' k nearest neighbors are also the text's own:
/// `sum_x sum_i |y_i and y_x| / sum_x sum_i |y_i|`, 0 where there are no neighbors.
fn shared_labels(predictions: &[Prediction], k: usize) -> f64 {
    let (mut shared, mut all) = (0, 0);
    for Prediction { given, neighbors, .. } in predictions {
        for neighbor in neighbors.iter().take(k) {
            shared += given.shared(&neighbor.labels);
            all += neighbor.labels.len();
        }
    }
    shared as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use autotag::{ItemId, LabelId, LabelSet, Neighbor};

    use super::*;

    fn labels(ids: &[u32]) -> LabelSet {
        ids.iter().copied().map(LabelId).collect()
    }

    #[test]
    fn the_share_of_shared_labels_counts_labels_and_not_neighbors() {
        let neighbor = |ids: &[u32]| Neighbor::new(ItemId(0), 1.0, labels(ids));
        let prediction = |given: &[u32], neighbors: Vec<Neighbor>| Prediction {
            given: labels(given),
            model: None,
            neighbors,
        };
        let predictions = [
            prediction(&[0, 1], vec![neighbor(&[0, 1, 2]), neighbor(&[3])]),
            prediction(&[2], vec![neighbor(&[2]), neighbor(&[2])]),
        ];
        // 2 of 3, 0 of 1, 1 of 1, 1 of 1.
        assert_eq!(shared_labels(&predictions, 2), 4.0 / 6.0);
        assert_eq!(shared_labels(&predictions, 1), 3.0 / 4.0);
        assert_eq!(shared_labels(&[], 5), 0.0);
    }
}

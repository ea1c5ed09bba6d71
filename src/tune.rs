//! Predictions kept to be evaluated and tuned: k, tau, lambda and one threshold.

use std::num::NonZeroUsize;

use crate::interpolate::{LabelScore, interpolate, knn_scores, weights};
use crate::metrics::{Evaluation, Evaluator};
use crate::{
    Interpolation, LabelId, LabelSet, Neighbor, Proportion, Scores, Selection, Temperature,
    Threshold,
};

/// Which side of the interpolation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The model alone: lambda = 0.
    Model,
    /// The neighbors alone: lambda = 1.
    Knn,
    /// Both.
    Interpolated,
}

/// One labelled document with everything that its tags depend on.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The labels that people gave.
    pub given: LabelSet,
    /// The model's scores.
    pub model: Option<Scores>,
    /// The nearest neighbors, the nearest first; as many as the largest k to evaluate.
    pub neighbors: Vec<Neighbor>,
}

/// The settings that gave the best micro-F1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuned {
    /// k, tau and lambda.
    pub interpolation: Interpolation,
    /// The threshold of all labels.
    pub threshold: Threshold,
    /// The micro-F1 reached with them on the predictions that they were tuned on.
    pub micro_f1: f64,
}

/// The neighbors that [`tune`] needs of each document.
pub const MAX_K: usize = 50;

// The paper's values come first, then those nearest to them: of equal results the first wins.
const KS: [usize; 9] = [5, 8, 3, 12, 2, 20, 1, 30, MAX_K];
const TAUS: [f32; 11] = [1.0, 0.5, 2.0, 0.2, 5.0, 0.1, 10.0, 0.05, 20.0, 0.02, 0.01];
const LAMBDAS: [f32; 9] = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9];

/// Evaluates one method with given settings.
///
/// `n_labels` is the number of labels that decisions are counted over. [`Method::Model`] ignores
/// k, tau and lambda, [`Method::Knn`] ignores lambda.
pub fn evaluate(
    predictions: &[Prediction],
    n_labels: usize,
    method: Method,
    interpolation: &Interpolation,
    selection: &Selection,
) -> Evaluation {
    let mut evaluator = Evaluator::new(n_labels);
    for prediction in predictions {
        evaluator.add(&prediction.given, scores(prediction, method, interpolation), selection);
    }
    evaluator.finish()
}

/// Mixes one document's scores by the given method.
fn scores(
    prediction: &Prediction,
    method: Method,
    interpolation: &Interpolation,
) -> Vec<LabelScore> {
    let proportion = match method {
        Method::Model => return interpolate(prediction.model.as_ref(), None, Proportion::MODEL),
        Method::Knn => Proportion::NEIGHBORS,
        Method::Interpolated => interpolation.proportion,
    };
    let knn = votes(&prediction.neighbors, interpolation.k.get(), interpolation.temperature);
    let knn = (!prediction.neighbors.is_empty()).then_some(knn);
    interpolate(prediction.model.as_ref(), knn.as_deref(), proportion)
}

fn votes(neighbors: &[Neighbor], k: usize, temperature: Temperature) -> Vec<(LabelId, f32)> {
    let nearest = &neighbors[..neighbors.len().min(k)];
    let distances: Vec<f32> = nearest.iter().map(|neighbor| neighbor.distance).collect();
    knn_scores(nearest, &weights(&distances, temperature))
}

/// Searches the grid of k, tau, lambda and one threshold for the best micro-F1.
///
/// For each lambda the model's part of all scores is counted once into a histogram by score; a
/// (k, tau) then only moves the few labels that the neighbors have, and one pass over the
/// histogram's bins tries all thresholds. The whole grid takes about a second for 3,000 documents.
/// Of equal results the one nearest to the paper's setting wins, the same on every run.
pub fn tune(predictions: &[Prediction], method: Method) -> Tuned {
    let start = Interpolation::default();
    let lambdas: &[f32] = match method {
        Method::Model => &[0.0],
        Method::Knn => &[1.0],
        Method::Interpolated => &LAMBDAS,
    };
    let model_parts: Vec<Histogram> =
        lambdas.iter().map(|&lambda| Histogram::of_models(predictions, 1.0 - lambda)).collect();
    let mut best: Option<Tuned> = None;
    let mut consider = |interpolation: Interpolation, histogram: &Histogram| {
        let (threshold, micro_f1) = histogram.best_threshold();
        if best.is_none_or(|best: Tuned| micro_f1 > best.micro_f1) {
            best = Some(Tuned { interpolation, threshold, micro_f1 });
        }
    };
    if method == Method::Model {
        let interpolation = Interpolation { proportion: Proportion::MODEL, ..start };
        consider(interpolation, &model_parts[0]);
    } else {
        for (k, tau) in KS.into_iter().flat_map(|k| TAUS.map(|tau| (k, tau))) {
            let temperature = Temperature::new(tau).expect("the grid's tau are in range");
            let votes: Vec<_> =
                predictions.iter().map(|p| votes(&p.neighbors, k, temperature)).collect();
            for (&lambda, model_part) in lambdas.iter().zip(&model_parts) {
                let mut histogram = model_part.clone();
                histogram.add_votes(predictions, &votes, lambda);
                let k = NonZeroUsize::new(k).expect("the grid's k are not 0");
                let proportion = Proportion::new(lambda).expect("the grid's lambda are in range");
                consider(Interpolation { k, temperature, proportion }, &histogram);
            }
        }
    }
    best.expect("every method tries at least one setting")
}

const BINS: usize = 200;

/// How many right and wrong labels have a score in each bin of 1/200.
#[derive(Clone)]
struct Histogram {
    right: Vec<i64>,
    wrong: Vec<i64>,
    n_given: i64,
}

impl Histogram {
    /// Counts every model score, multiplied by `share`.
    fn of_models(predictions: &[Prediction], share: f32) -> Self {
        let mut histogram =
            Histogram { right: vec![0; BINS + 1], wrong: vec![0; BINS + 1], n_given: 0 };
        for prediction in predictions {
            histogram.n_given += prediction.given.len() as i64;
            let model = prediction.model.as_ref().map_or(&[][..], Scores::values);
            for &score in model {
                histogram.wrong[bin(share * score)] += 1;
            }
            for label in prediction.given.ids() {
                if let Some(&score) = model.get(label.index()) {
                    histogram.wrong[bin(share * score)] -= 1;
                    histogram.right[bin(share * score)] += 1;
                }
            }
        }
        histogram
    }

    /// Moves the labels that neighbors vote for from their model part to the whole score.
    fn add_votes(
        &mut self,
        predictions: &[Prediction],
        votes: &[Vec<(LabelId, f32)>],
        lambda: f32,
    ) {
        for (prediction, votes) in predictions.iter().zip(votes) {
            let model = prediction.model.as_ref().map_or(&[][..], Scores::values);
            for &(label, knn) in votes {
                let counts = if prediction.given.contains(label) {
                    &mut self.right
                } else {
                    &mut self.wrong
                };
                let score = match model.get(label.index()) {
                    Some(&model) => {
                        counts[bin((1.0 - lambda) * model)] -= 1;
                        lambda * knn + (1.0 - lambda) * model
                    }
                    None => knn,
                };
                counts[bin(score)] += 1;
            }
        }
    }

    /// Returns the threshold with the highest micro-F1; of equal ones the nearest to 0.5.
    fn best_threshold(&self) -> (Threshold, f64) {
        let (mut right, mut wrong) = (0, 0);
        let mut best = (BINS, 0.0);
        for bin in (1..=BINS).rev() {
            right += self.right[bin];
            wrong += self.wrong[bin];
            let f1 = 2.0 * right as f64 / (right + wrong + self.n_given).max(1) as f64;
            let is_nearer = bin.abs_diff(BINS / 2) < best.0.abs_diff(BINS / 2);
            if f1 > best.1 || f1 == best.1 && is_nearer {
                best = (bin, f1);
            }
        }
        let threshold = Threshold::new(best.0 as f32 / BINS as f32);
        (threshold.expect("a bin's edge is within 0..=1"), best.1)
    }
}

/// Returns the bin whose lower edge, bin / 200, is the highest threshold that the score reaches.
fn bin(score: f32) -> usize {
    let bin = (score.clamp(0.0, 1.0) * BINS as f32) as usize;
    // Rounding may leave the product on the wrong side of an edge.
    if bin < BINS && score >= (bin + 1) as f32 / BINS as f32 {
        bin + 1
    } else if bin > 0 && score < bin as f32 / BINS as f32 {
        bin - 1
    } else {
        bin
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ItemId;

    fn prediction(given: &[u32], model: &[f32], neighbors: &[(f32, &[u32])]) -> Prediction {
        let labels = |ids: &[u32]| ids.iter().copied().map(LabelId).collect::<LabelSet>();
        Prediction {
            given: labels(given),
            model: Some(Scores::new(model).unwrap()),
            neighbors: neighbors
                .iter()
                .map(|&(distance, ids)| Neighbor { item: ItemId(0), distance, labels: labels(ids) })
                .collect(),
        }
    }

    #[test]
    fn tuning_finds_the_threshold_that_separates() {
        let predictions =
            [prediction(&[0], &[0.30, 0.10], &[]), prediction(&[1], &[0.15, 0.25], &[])];
        let tuned = tune(&predictions, Method::Model);
        assert_eq!(tuned.micro_f1, 1.0);
        assert!((0.155..=0.25).contains(&tuned.threshold.get()), "{tuned:?}");
    }

    #[test]
    fn neighbors_that_know_better_get_the_weight() {
        let predictions = [
            prediction(&[0], &[0.3, 0.5], &[(1.0, &[0])]),
            prediction(&[1], &[0.5, 0.3], &[(1.0, &[1])]),
        ];
        let tuned = tune(&predictions, Method::Interpolated);
        assert_eq!(tuned.micro_f1, 1.0);
        assert!(tune(&predictions, Method::Model).micro_f1 < 1.0);
    }

    proptest! {
        /// What the grid promises is what evaluating its settings gives.
        #[test]
        fn the_tuned_score_is_what_evaluation_gives(
            rows in prop::collection::vec(
                (prop::collection::vec(0.0f32..=1.0, 3), 0u32..3, 0u32..4, 0.1f32..5.0),
                1..12,
            ),
        ) {
            let predictions: Vec<Prediction> = rows
                .iter()
                .map(|(model, given, other, d)| {
                    prediction(&[*given], model, &[(*d, &[*other]), (d + 1.0, &[*given, 3])])
                })
                .collect();
            for method in [Method::Model, Method::Knn, Method::Interpolated] {
                let tuned = tune(&predictions, method);
                let selection = Selection::at(tuned.threshold);
                let evaluation =
                    evaluate(&predictions, 4, method, &tuned.interpolation, &selection);
                prop_assert!(
                    (evaluation.micro_f1 - tuned.micro_f1).abs() < 1e-9,
                    "{method:?} {tuned:?} {evaluation:?}"
                );
            }
        }
    }
}

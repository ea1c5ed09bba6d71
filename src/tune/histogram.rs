//! Histograms of right and wrong labels by score: one pass over one tries all thresholds.

use super::evaluate::{Objective, Prediction};
use crate::interpolate::{CONFIDENT, adaptive_lambda};
use crate::{LabelId, Proportion, Scores, Threshold};

/// The number of steps that thresholds are tried in.
pub(super) const BINS: usize = 200;

/// A label that a document may get as a tag.
#[derive(Debug)]
struct Candidate {
    label: LabelId,
    model: Option<f32>,
    knn: f32,
    is_given: bool,
}

/// One document with the labels that it may get.
#[derive(Debug)]
pub(super) struct TaggedDocument {
    candidates: Vec<Candidate>,
    has_neighbors: bool,
}

/// Returns, for each document, the labels to which the model gives more than next to nothing.
///
/// The others can reach a threshold only where neighbors vote for them. So the work depends on the
/// labels that documents have, not on the number of all labels.
pub(super) fn likely(predictions: &[Prediction]) -> Vec<Vec<(LabelId, f32)>> {
    let likely = |prediction: &Prediction| {
        let scores = model_scores(prediction).iter().copied().enumerate();
        scores
            .filter(|&(_, score)| bin(score) > 0)
            .map(|(label, score)| (LabelId(label as u32), score))
            .collect()
    };
    predictions.iter().map(likely).collect()
}

fn model_scores(prediction: &Prediction) -> &[f32] {
    prediction.model.as_ref().map_or(&[], Scores::values)
}

impl TaggedDocument {
    /// Joins both sides; `votes` stand in the order of their labels' ids.
    pub(super) fn new(
        prediction: &Prediction,
        likely: &[(LabelId, f32)],
        votes: &[(LabelId, f32)],
        has_neighbors: bool,
    ) -> Self {
        let model = model_scores(prediction);
        let candidate = |label: LabelId, model: Option<f32>, knn: f32| Candidate {
            label,
            model,
            knn,
            is_given: prediction.given.contains(label),
        };
        let voted = |label| votes.binary_search_by_key(&label, |&(label, _)| label).is_ok();
        let mut candidates = Vec::with_capacity(votes.len() + likely.len());
        for &(label, knn) in votes {
            candidates.push(candidate(label, model.get(label.index()).copied(), knn));
        }
        for &(label, model) in likely.iter().filter(|&&(label, _)| !voted(label)) {
            candidates.push(candidate(label, Some(model), 0.0));
        }
        TaggedDocument { candidates, has_neighbors }
    }

    fn lambda(&self, proportion: Proportion) -> f32 {
        if !self.has_neighbors {
            return 0.0;
        }
        let is_confident = |c: &&Candidate| c.model.is_some_and(|model| model >= CONFIDENT);
        proportion.fixed().unwrap_or_else(|| {
            adaptive_lambda(self.candidates.iter().filter(is_confident).map(|c| c.knn))
        })
    }
}

/// Counts of right and wrong labels in each bin of 1/200 of the score; bin 0 is not counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    right: Box<[u32]>,
    wrong: Box<[u32]>,
    /// The number of documents that were given the label.
    n_given: u32,
}

impl Histogram {
    /// Makes the histograms that an objective is computed from: one over all labels, or one for
    /// each. Given labels are counted already.
    pub(super) fn empty(
        predictions: &[Prediction],
        n_labels: usize,
        objective: Objective,
    ) -> Vec<Histogram> {
        let n_histograms = match objective {
            Objective::Micro => 1,
            Objective::Macro => n_labels.max(n_given_labels(predictions)),
        };
        let bins = || vec![0; BINS + 1].into_boxed_slice();
        let empty = Histogram { right: bins(), wrong: bins(), n_given: 0 };
        let mut histograms = vec![empty; n_histograms];
        for &label in predictions.iter().flat_map(|prediction| prediction.given.ids()) {
            histograms[position(objective, label)].n_given += 1;
        }
        histograms
    }

    /// Returns the number of documents that were given the label.
    pub(super) fn n_given(&self) -> u32 {
        self.n_given
    }

    /// Counts a label's score.
    pub(super) fn count(&mut self, score: f32, is_right: bool) {
        let counts = if is_right { &mut self.right } else { &mut self.wrong };
        counts[bin(score)] += 1;
    }

    /// Adds another one's counts, as of other documents.
    pub(super) fn add(&mut self, other: &Histogram) {
        let pairs = self.right.iter_mut().zip(&other.right);
        pairs.chain(self.wrong.iter_mut().zip(&other.wrong)).for_each(|(sum, n)| *sum += n);
        self.n_given += other.n_given;
    }

    /// Takes a part of the counts away.
    pub(super) fn subtract(&mut self, part: &Histogram) {
        let pairs = self.right.iter_mut().zip(&part.right);
        pairs.chain(self.wrong.iter_mut().zip(&part.wrong)).for_each(|(sum, n)| *sum -= n);
        self.n_given -= part.n_given;
    }

    /// Returns the right and the wrong labels at or above the lower edge of each bin.
    pub(super) fn at_or_above(&self) -> Vec<(u32, u32)> {
        let mut sums = vec![(0, 0); BINS + 1];
        let (mut right, mut wrong) = (0, 0);
        for bin in (1..=BINS).rev() {
            right += self.right[bin];
            wrong += self.wrong[bin];
            sums[bin] = (right, wrong);
        }
        sums
    }

    fn clear(&mut self) {
        self.right.fill(0);
        self.wrong.fill(0);
    }
}

/// Returns 1 + the highest id of a label that a document was given.
fn n_given_labels(predictions: &[Prediction]) -> usize {
    let given = predictions.iter().flat_map(|prediction| prediction.given.ids());
    given.map(|label| label.index() + 1).max().unwrap_or(0)
}

fn position(objective: Objective, label: LabelId) -> usize {
    match objective {
        Objective::Micro => 0,
        Objective::Macro => label.index(),
    }
}

/// Counts the scores that the documents' labels have at a proportion, in place of earlier counts.
///
/// A label beyond the histograms was given to no document; its F1 is 0 whatever the threshold.
pub(super) fn count(
    documents: &[TaggedDocument],
    proportion: Proportion,
    objective: Objective,
    histograms: &mut [Histogram],
) {
    histograms.iter_mut().for_each(Histogram::clear);
    for document in documents {
        let lambda = document.lambda(proportion);
        for candidate in &document.candidates {
            let score = match candidate.model {
                Some(model) => lambda * candidate.knn + (1.0 - lambda) * model,
                None => candidate.knn,
            };
            let Some(histogram) = histograms.get_mut(position(objective, candidate.label)) else {
                continue;
            };
            histogram.count(score, candidate.is_given);
        }
    }
}

/// Returns the one threshold with which the histograms' mean F1 is best, and that F1.
///
/// Of equal ones it is the nearest to 0.5.
pub(super) fn best_threshold(histograms: &[Histogram]) -> (Threshold, f64) {
    let mut f1_sums = vec![0.0; BINS + 1];
    // A label that nobody was given has F1 = 0 at every threshold.
    for histogram in histograms.iter().filter(|histogram| histogram.n_given > 0) {
        for (sum, above) in f1_sums.iter_mut().zip(histogram.at_or_above()) {
            *sum += f1(above.0.into(), above.1.into(), histogram.n_given.into());
        }
    }
    let (bin, f1_sum) = best_bin(&f1_sums, BINS / 2);
    (edge(bin), f1_sum / histograms.len().max(1) as f64)
}

/// Returns F1 = 2 TP / (TP + FP + TP + FN), given TP, FP and TP + FN.
pub(super) fn f1(right: f64, wrong: f64, n_given: f64) -> f64 {
    if right == 0.0 { 0.0 } else { 2.0 * right / (right + wrong + n_given) }
}

/// Returns the bin with the highest value, of equal ones the nearest to `center`. It is not bin 0.
pub(super) fn best_bin(values: &[f64], center: usize) -> (usize, f64) {
    let mut best = (BINS, f64::NEG_INFINITY);
    for (bin, &value) in values.iter().enumerate().skip(1) {
        let is_nearer = bin.abs_diff(center) < best.0.abs_diff(center);
        if value > best.1 || value == best.1 && is_nearer {
            best = (bin, value);
        }
    }
    best
}

/// Returns the threshold that is a bin's lower edge.
pub(super) fn edge(bin: usize) -> Threshold {
    Threshold::new(bin as f32 / BINS as f32).expect("a bin's edge is within 0..=1")
}

/// Returns the bin whose lower edge, bin / 200, is the highest threshold that the score reaches.
pub(super) fn bin(score: f32) -> usize {
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

//! Measures of multi-label predictions: pure functions.

use serde::{Deserialize, Serialize};

use crate::interpolate::LabelScore;
use crate::select::{Selection, select};
use crate::{LabelId, LabelSet};

/// Measures of predicted tags and rankings against the labels that people gave.
///
/// Every measure is within 0..=1. With TP, FP and FN counted over all documents:
/// F1 = 2 TP / (2 TP + FP + FN), 0 where nothing was predicted or given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// F1 of the counts summed over all labels.
    pub micro_f1: f64,
    /// The mean of the labels' own F1, over all labels; a label that is neither given nor
    /// predicted counts as 0.
    pub macro_f1: f64,
    /// The share of wrong decisions among all (document, label) pairs; lower is better.
    pub hamming_loss: f64,
    /// The mean share of right labels among the 1 with the highest score.
    pub p_at_1: f64,
    /// The mean share of right labels among the 3 with the highest scores.
    pub p_at_3: f64,
    /// The mean share of right labels among the 5 with the highest scores.
    pub p_at_5: f64,
}

/// Counts predictions document by document.
#[derive(Clone, Debug)]
pub struct Evaluator {
    labels: Vec<Confusion>,
    n_documents: usize,
    /// Right labels among the first 1, 3 and 5.
    hits: [usize; 3],
}

const CUTOFFS: [usize; 3] = [1, 3, 5];

/// One label's right and wrong decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Given and predicted.
    pub true_positives: usize,
    /// Predicted only.
    pub false_positives: usize,
    /// Given only.
    pub false_negatives: usize,
}

impl Confusion {
    /// Returns F1 = 2 TP / (2 TP + FP + FN), or 0 where that is 0 / 0.
    pub fn f1(self) -> f64 {
        let wrong = self.false_positives + self.false_negatives;
        let right = 2 * self.true_positives;
        if right == 0 { 0.0 } else { right as f64 / (right + wrong) as f64 }
    }

    fn add(self, other: Confusion) -> Confusion {
        Confusion {
            true_positives: self.true_positives + other.true_positives,
            false_positives: self.false_positives + other.false_positives,
            false_negatives: self.false_negatives + other.false_negatives,
        }
    }
}

impl Evaluator {
    /// Begins to count over `n_labels` labels; ids beyond are counted as they come.
    pub fn new(n_labels: usize) -> Self {
        Evaluator { labels: vec![Confusion::default(); n_labels], n_documents: 0, hits: [0; 3] }
    }

    /// Counts one document: the labels given, all its scores, and which of them become tags.
    pub fn add(&mut self, given: &LabelSet, scores: Vec<LabelScore>, selection: &Selection) {
        self.n_documents += 1;
        let ranked = top(&scores, CUTOFFS[2]);
        for (hits, cutoff) in self.hits.iter_mut().zip(CUTOFFS) {
            *hits += ranked.iter().take(cutoff).filter(|&&label| given.contains(label)).count();
        }
        let predicted: LabelSet =
            select(scores, selection).tags.iter().map(|tag| tag.label).collect();
        for &label in predicted.ids() {
            let confusion = self.label(label);
            if given.contains(label) {
                confusion.true_positives += 1;
            } else {
                confusion.false_positives += 1;
            }
        }
        for &label in given.ids() {
            if !predicted.contains(label) {
                self.label(label).false_negatives += 1;
            }
        }
    }

    /// Returns each label's counts, by label id.
    pub fn labels(&self) -> &[Confusion] {
        &self.labels
    }

    /// Sums up; all measures are 0 when no document was counted.
    pub fn finish(&self) -> Evaluation {
        let total = self.labels.iter().copied().fold(Confusion::default(), Confusion::add);
        let n_labels = self.labels.len();
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let wrong = total.false_positives + total.false_negatives;
        let f1_sum: f64 = self.labels.iter().map(|label| label.f1()).sum();
        let [p_at_1, p_at_3, p_at_5] =
            [0, 1, 2].map(|i| share(self.hits[i], self.n_documents * CUTOFFS[i]));
        Evaluation {
            micro_f1: total.f1(),
            macro_f1: f1_sum / n_labels.max(1) as f64,
            hamming_loss: share(wrong, self.n_documents * n_labels),
            p_at_1,
            p_at_3,
            p_at_5,
        }
    }

    fn label(&mut self, label: LabelId) -> &mut Confusion {
        if self.labels.len() <= label.index() {
            self.labels.resize(label.index() + 1, Confusion::default());
        }
        &mut self.labels[label.index()]
    }
}

/// Returns the labels with the n highest scores above 0, the highest first.
fn top(scores: &[LabelScore], n: usize) -> Vec<LabelId> {
    let mut best: Vec<&LabelScore> = Vec::with_capacity(n + 1);
    for score in scores.iter().filter(|score| score.score > 0.0) {
        let rank = best.partition_point(|other| other.score >= score.score);
        if rank < n {
            best.insert(rank, score);
            best.truncate(n);
        }
    }
    best.into_iter().map(|score| score.label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f32]) -> Vec<LabelScore> {
        let score = |(label, &score): (usize, &f32)| LabelScore {
            label: LabelId(label as u32),
            score,
            model: Some(score),
            knn: 0.0,
            shares: None,
        };
        values.iter().enumerate().map(score).collect()
    }

    fn labels(ids: &[u32]) -> LabelSet {
        ids.iter().copied().map(LabelId).collect()
    }

    #[test]
    fn measures_follow_their_definitions() {
        let mut evaluator = Evaluator::new(3);
        // Predicts {0, 1} where {0, 2} is given, then {2} where {2} is given.
        evaluator.add(&labels(&[0, 2]), scores(&[0.9, 0.6, 0.1]), &Selection::default());
        evaluator.add(&labels(&[2]), scores(&[0.2, 0.3, 0.8]), &Selection::default());
        let evaluation = evaluator.finish();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(evaluation.micro_f1, 4.0 / 6.0);
        close(evaluation.macro_f1, (1.0 + 0.0 + 2.0 / 3.0) / 3.0);
        close(evaluation.hamming_loss, 2.0 / 6.0);
        close(evaluation.p_at_1, 1.0);
        close(evaluation.p_at_3, 3.0 / 6.0);
        close(evaluation.p_at_5, 3.0 / 10.0);
    }

    #[test]
    fn a_label_beyond_the_vocabulary_is_a_miss() {
        let mut evaluator = Evaluator::new(1);
        evaluator.add(&labels(&[4]), scores(&[0.9]), &Selection::default());
        assert_eq!(evaluator.labels()[4].false_negatives, 1);
        assert_eq!(evaluator.finish().micro_f1, 0.0);
    }

    #[test]
    fn nothing_counted_is_zero_and_not_a_panic() {
        assert_eq!(Evaluator::new(0).finish().micro_f1, 0.0);
    }
}

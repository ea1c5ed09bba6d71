//! Grid search over k, tau, lambda and one threshold.

use std::num::NonZeroUsize;

use super::evaluate::{Method, Objective, Prediction, votes};
use super::histogram::{Histogram, TaggedDocument, best_threshold, count, likely};
use crate::{Interpolation, LabelId, Proportion, Temperature, Threshold};

/// The settings that [`tune_for`] tries, each k with each tau and each lambda.
///
/// Of settings that do equally well the one that stands first wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The numbers of neighbors k.
    pub ks: Vec<NonZeroUsize>,
    /// The temperatures tau.
    pub temperatures: Vec<Temperature>,
    /// The proportions lambda, of which the one method [`Method::Interpolated`] has a choice.
    pub proportions: Vec<Proportion>,
}

impl Grid {
    /// Returns the whole grid with the same lambda for all texts.
    pub fn fixed() -> Self {
        Grid::of(&KS, &TAUS, &LAMBDAS)
    }

    /// Returns a small part of the grid, for whoever compares many models in little time.
    pub fn coarse() -> Self {
        Grid::of(&[5, 12, 30], &[1.0, 5.0, 0.2, 0.05], &[0.5, 0.3, 0.7])
    }

    fn of(ks: &[usize], temperatures: &[f32], proportions: &[f32]) -> Self {
        let k = |&k: &usize| NonZeroUsize::new(k).expect("the grid's k are not 0");
        let tau = |&tau: &f32| Temperature::new(tau).expect("the grid's tau are in range");
        let lambda =
            |&lambda: &f32| Proportion::new(lambda).expect("the grid's lambda is in range");
        Grid {
            ks: ks.iter().map(k).collect(),
            temperatures: temperatures.iter().map(tau).collect(),
            proportions: proportions.iter().map(lambda).collect(),
        }
    }
}

impl Default for Grid {
    /// Returns the whole grid, the adaptive lambda after the fixed ones.
    fn default() -> Self {
        let mut grid = Grid::fixed();
        grid.proportions.push(Proportion::ADAPTIVE);
        grid
    }
}

/// The settings that did best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuned {
    /// k, tau and lambda.
    pub interpolation: Interpolation,
    /// The threshold of all labels.
    pub threshold: Threshold,
    /// The value of the objective reached with them on the predictions that they were tuned on.
    pub score: f64,
}

/// The neighbors that [`tune`] needs of each document.
pub const MAX_K: usize = 50;

// The paper's values come first, then those nearest to them: of equal results the first wins.
const KS: [usize; 9] = [5, 8, 3, 12, 2, 20, 1, 30, MAX_K];
const TAUS: [f32; 11] = [1.0, 0.5, 2.0, 0.2, 5.0, 0.1, 10.0, 0.05, 20.0, 0.02, 0.01];
const LAMBDAS: [f32; 9] = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9];

/// Searches k, tau, lambda and one threshold for the best micro-F1, lambda the same for all texts.
pub fn tune(predictions: &[Prediction], method: Method) -> Tuned {
    tune_for(predictions, 0, method, Objective::Micro, &Grid::fixed())
}

/// Searches a grid of k, tau and lambda, and all thresholds in steps of 1/200, for the best value
/// of an objective.
///
/// `n_labels` is what [`evaluate`](super::evaluate()) is given. The default grid takes about a second for 3,000
/// documents. Of equal results the one that stands first in the grid wins, the same on every run;
/// in the default grid that is the one nearest to the paper's setting.
pub fn tune_for(
    predictions: &[Prediction],
    n_labels: usize,
    method: Method,
    objective: Objective,
    grid: &Grid,
) -> Tuned {
    let start = Interpolation::default();
    let (paper_k, paper_tau) = ([start.k], [start.temperature]);
    let (ks, taus, proportions): (&[_], &[_], &[_]) = match method {
        Method::Model => (&paper_k, &paper_tau, &[Proportion::MODEL]),
        Method::Knn => (&grid.ks, &grid.temperatures, &[Proportion::NEIGHBORS]),
        Method::Interpolated => (&grid.ks, &grid.temperatures, &grid.proportions),
    };
    let likely = likely(predictions);
    let mut histograms = Histogram::empty(predictions, n_labels, objective);
    let mut best = Tuned { interpolation: start, threshold: Threshold::default(), score: -1.0 };
    for &k in ks {
        for &temperature in taus {
            let documents = tagged(predictions, &likely, method, k, temperature);
            for &proportion in proportions {
                count(&documents, proportion, objective, &mut histograms);
                let (threshold, score) = best_threshold(&histograms);
                if score > best.score {
                    let interpolation = Interpolation { k, temperature, proportion };
                    best = Tuned { interpolation, threshold, score };
                }
            }
        }
    }
    Tuned { score: best.score.max(0.0), ..best }
}

/// Lets the neighbors of every document vote.
pub(super) fn tagged(
    predictions: &[Prediction],
    likely: &[Vec<(LabelId, f32)>],
    method: Method,
    k: NonZeroUsize,
    temperature: Temperature,
) -> Vec<TaggedDocument> {
    let tag = |(prediction, likely): (&Prediction, &Vec<_>)| {
        let neighbors = if method == Method::Model { &[][..] } else { &prediction.neighbors };
        let votes = votes(neighbors, k.get(), temperature);
        TaggedDocument::new(prediction, likely, &votes.scores, !neighbors.is_empty())
    };
    predictions.iter().zip(likely).map(tag).collect()
}

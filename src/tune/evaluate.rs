//! The evaluation of predictions under given settings.

use serde::{Deserialize, Serialize};

use crate::interpolate::{self, LabelScore, Votes, interpolate, weights};
use crate::metrics::{Evaluation, Evaluator};
use crate::{Interpolation, LabelSet, Neighbor, Proportion, Scores, Selection, Temperature};

/// The side of the interpolation that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The model alone: lambda = 0.
    Model,
    /// The neighbors alone: lambda = 1.
    Knn,
    /// Both.
    Interpolated,
}

/// One labeled document with everything that its tags depend on.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The labels that people gave.
    pub given: LabelSet,
    /// The model's scores.
    pub model: Option<Scores>,
    /// The nearest neighbors, the nearest first; as many as the largest k to evaluate.
    pub neighbors: Vec<Neighbor>,
}

/// The objective that tuning maximizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The F1 of all decisions together: frequent labels matter most.
    #[default]
    Micro,
    /// The mean of the labels' own F1: every label matters alike.
    Macro,
}

impl Objective {
    /// Returns the objective's value.
    pub fn of(self, evaluation: &Evaluation) -> f64 {
        match self {
            Objective::Micro => evaluation.micro_f1,
            Objective::Macro => evaluation.macro_f1,
        }
    }
}

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
///
/// The model's labels come first, each with its score, then those that only neighbors have.
pub fn scores(
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
    interpolate(prediction.model.as_ref(), knn.as_ref(), proportion)
}

/// Lets the k nearest vote.
pub(super) fn votes(neighbors: &[Neighbor], k: usize, temperature: Temperature) -> Votes {
    let nearest = &neighbors[..neighbors.len().min(k)];
    let distances: Vec<f32> = nearest.iter().map(|neighbor| neighbor.distance).collect();
    interpolate::votes(nearest, &weights(&distances, temperature))
}

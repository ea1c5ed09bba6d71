//! A trained model, stacked with linear classifiers on its n-grams.
//!
//! ```text
//! p = sigmoid(u logit(m) + v g + b)     m: the model's score, g: the linear classifier's margin
//! score = max(0, p - s) / (1 - s)       s = 0.02
//! ```
//!
//! u, v and b are the same for all labels. They are fitted by logistic regression with the penalty
//! (u^2 + v^2) / 2 on dev, which neither has seen (stacked generalization; Wolpert, 1992). Why is s taken off?
//! Nearly every label has a small p, and each score above 0 is kept with its document.

use autotag::tune::{MIN_TEXTS, Prediction, minimize};
use autotag::{LabelId, Scores};
use autotag_onnx::Features;
use autotag_onnx::graph::GraphBuilder;
use ndarray::{Array2, ArrayView1, Zip};
use serde::{Deserialize, Serialize};

use crate::linear::LinearLayer;
use crate::loss::sigmoid;
use crate::model::{Answer, Predict, Predicted, TextInput};
use crate::state::State;

/// A score is clipped to [clip, 1 - clip] before its logit is taken.
const CLIP: f32 = 1e-3;

/// s: what is taken off, so that unlikely labels have the score 0.
const SHIFT: f32 = 0.02;

/// Pairs of text and label are fitted on from this score of the model on, ...
const LEAST_SCORE: f32 = 0.02;

/// ... or from this margin on; nearly all others are sure.
const LEAST_MARGIN: f32 = -0.85;

/// The weights of the two classifiers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StackingWeights {
    /// u: the weight of the logit of the model's score.
    pub model: f32,
    /// v: the weight of the linear classifier's margin.
    pub linear: f32,
    /// b.
    pub bias: f32,
}

impl StackingWeights {
    /// Fits the weights to a part's predictions and margins [texts, L]; `None` for fewer than [`MIN_TEXTS`]
    /// texts, and where margins do not help.
    fn fit(predictions: &[Prediction], margins: &Array2<f32>) -> Option<Self> {
        if predictions.len() < MIN_TEXTS {
            return None;
        }
        let pairs = pairs(predictions, margins);
        let solution = minimize(vec![0.0; 3], |weights, gradient| {
            // Where a line separates the pairs, weights would grow without end.
            gradient.copy_from_slice(&[weights[0], weights[1], 0.0]);
            let mut loss = (weights[0] * weights[0] + weights[1] * weights[1]) / 2.0;
            for Pair { logit, margin, sign } in &pairs {
                let signed = sign * (weights[0] * logit + weights[1] * margin + weights[2]);
                loss += (-signed).max(0.0) + (-signed.abs()).exp().ln_1p();
                let slope = -sign / (1.0 + signed.exp());
                gradient[0] += slope * logit;
                gradient[1] += slope * margin;
                gradient[2] += slope;
            }
            loss
        });
        let [model, linear, bias] = [solution[0], solution[1], solution[2]].map(|w| w as f32);
        let is_sound = [model, linear, bias].iter().all(|weight| weight.abs() <= MAX_WEIGHT);
        let helps = is_sound && model >= 0.0 && linear > 0.0;
        helps.then_some(StackingWeights { model, linear, bias })
    }

    fn score(&self, score: f32, margin: f32) -> f32 {
        let sum = self.model * logit(score) + self.linear * margin + self.bias;
        (sigmoid(sum) - SHIFT).max(0.0) / (1.0 - SHIFT)
    }
}

/// Larger weights would make steps of sigmoids.
const MAX_WEIGHT: f32 = 100.0;

/// A text and a label that may be its tag.
struct Pair {
    logit: f64,
    margin: f64,
    /// 1 where the text has the label, else -1.
    sign: f64,
}

fn pairs(predictions: &[Prediction], margins: &Array2<f32>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (Prediction { given, model, .. }, margins) in predictions.iter().zip(margins.rows()) {
        let Some(scores) = model else { continue };
        for (label, (&score, &margin)) in (0..).zip(scores.values().iter().zip(margins)) {
            if score > LEAST_SCORE || margin > LEAST_MARGIN {
                let sign = if given.contains(LabelId(label)) { 1.0 } else { -1.0 };
                pairs.push(Pair { logit: logit(score).into(), margin: margin.into(), sign });
            }
        }
    }
    pairs
}

fn logit(score: f32) -> f32 {
    let score = score.clamp(CLIP, 1.0 - CLIP);
    (score / (1.0 - score)).ln()
}

/// A model, and the linear classifiers beside it.
pub(crate) struct Stacked {
    network: Box<dyn Predict>,
    linear: LinearLayer,
    weights: StackingWeights,
}

impl Stacked {
    /// Stacks a model with linear classifiers, given the model's predictions for texts that neither has seen,
    /// which become those of both. Returns the model alone where it does not help.
    pub(crate) fn fit(
        network: Box<dyn Predict>,
        linear: LinearLayer,
        texts: &[&TextInput],
        predictions: &mut [Prediction],
    ) -> (Box<dyn Predict>, Option<StackingWeights>) {
        let margins = linear.margins(&features(texts));
        let Some(weights) = StackingWeights::fit(predictions, &margins) else {
            return (network, None);
        };
        for (Prediction { model, .. }, margins) in predictions.iter_mut().zip(margins.rows()) {
            *model = model.take().and_then(|scores| stacked(&weights, &scores, margins));
        }
        (Box::new(Stacked { network, linear, weights }), Some(weights))
    }
}

fn stacked(
    weights: &StackingWeights,
    scores: &Scores,
    margins: ArrayView1<'_, f32>,
) -> Option<Scores> {
    let pairs = scores.values().iter().zip(margins);
    let scores: Vec<f32> = pairs.map(|(&score, &margin)| weights.score(score, margin)).collect();
    Scores::new(scores).ok()
}

impl Predict for Stacked {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        let mut predicted = self.network.predict(texts);
        let margins = self.linear.margins(&features(texts));
        Zip::from(&mut predicted.scores)
            .and(&margins)
            .for_each(|score, &margin| *score = self.weights.score(*score, margin));
        predicted
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let Answer { embedding, scores } = self.network.write(graph);
        let margins = self.linear.write(graph);
        let StackingWeights { model, linear, bias } = self.weights;
        let [one, low, high, shift, rest, model, linear, bias] =
            [1.0, CLIP, 1.0 - CLIP, SHIFT, 1.0 - SHIFT, model, linear, bias]
                .map(|value| graph.scalar(value));
        let score = graph.clip(&scores, &low, &high);
        let others = graph.sub(&one, &score);
        let odds = graph.div(&score, &others);
        let logit = graph.log(&odds);
        let (logit, margins) = (graph.mul(&logit, &model), graph.mul(&margins, &linear));
        let sum = graph.add(&logit, &margins);
        let sum = graph.add(&sum, &bias);
        let p = graph.sigmoid(&sum);
        let p = graph.sub(&p, &shift);
        let p = graph.relu(&p);
        Answer { embedding, scores: graph.div(&p, &rest) }
    }

    fn state(&self) -> State<'_> {
        self.network.state()
    }
}

fn features<'t>(texts: &[&'t TextInput]) -> Vec<&'t Features> {
    texts.iter().map(|text| &text.read.features).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of two labels: the model is sure of nothing, the margins are right but for one in ten.
    fn part(n: usize) -> (Vec<Prediction>, Array2<f32>) {
        let given = |text: usize| LabelId((text % 2) as u32);
        let prediction = |text: usize| Prediction {
            given: [given(text)].into_iter().collect(),
            model: Some(Scores::new(vec![0.4, 0.6]).unwrap()),
            neighbors: Vec::new(),
        };
        let margins = Array2::from_shape_fn((n, 2), |(text, label)| {
            let is_given = given(text).index() == label;
            let margin = 0.5 + 0.1 * (text % 5) as f32;
            if is_given == (text % 10 != 7) { margin } else { -margin }
        });
        ((0..n).map(prediction).collect(), margins)
    }

    #[test]
    fn margins_that_help_decide() {
        let (predictions, margins) = part(200);
        let weights = StackingWeights::fit(&predictions, &margins).unwrap();
        assert!(weights.score(0.4, 0.9) > 0.5 && weights.score(0.6, -0.9) < 0.5, "{weights:?}");
        let (predictions, margins) = part(MIN_TEXTS - 1);
        assert_eq!(StackingWeights::fit(&predictions, &margins), None);
        let (predictions, margins) = part(200);
        assert_eq!(StackingWeights::fit(&predictions, &-margins), None);
    }

    #[test]
    fn scores_stay_within_their_range_and_unlikely_labels_have_none() {
        let weights = StackingWeights { model: 0.5, linear: 3.0, bias: 0.0 };
        for (score, margin) in [(0.0, -1e30), (1.0, 1e30), (1.0, -1e30), (0.5, 0.0)] {
            let stacked = weights.score(score, margin);
            assert!((0.0..=1.0).contains(&stacked), "{stacked}");
        }
        assert_eq!(weights.score(0.0, -1.0), 0.0);
        assert_eq!(weights.score(1.0, 1e30), 1.0);
    }
}

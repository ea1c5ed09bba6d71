//! The fit of a learned mix: logistic regression on labeled texts.

use super::evaluate::{Method, Objective, Prediction, scores};
use super::grid::{Grid, tune_for};
use super::histogram::{Histogram, best_threshold};
use super::lbfgs::minimize;
use crate::interpolate::{LabelScore, interpolate, numbered};
use crate::metrics::{Evaluation, Evaluator};
use crate::mix::{LearnedMix, N_FEATURES, Pair, Parameters, SCALES, pairs, sigmoid, standardized};
use crate::{LabelFrequencies, Proportion, Selection, Threshold};

/// The least number of texts that a mix is fitted on; with fewer the interpolation does as well.
pub const MIN_TEXTS: usize = 150;

/// The length of a label's one-hot feature: shorter than the others, so that a label's own effect is
/// penalized more.
const LABEL_FEATURE: f32 = 0.3;

/// C: the inverse strength of the penalty |w|^2 / (2 C).
const C: f64 = 0.5;

/// The stretches of the texts that are held out one after the other.
const FOLDS: usize = 5;

/// A neighbor whose distance sets the scale: the tenth.
const SCALING_NEIGHBOR: usize = 9;

/// Added to deviations, so that a constant feature stays finite.
const LEAST_DEVIATION: f32 = 1e-6;

/// A fitted mix and what it reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedMix {
    /// The mix, fitted on all texts.
    pub mix: LearnedMix,
    /// The micro-F1 of texts that were held out of the fit, at the mix's threshold.
    pub held_out: f64,
    /// The micro-F1 of the same texts by interpolations that were tuned on the others.
    pub interpolated_held_out: f64,
}

impl FittedMix {
    /// Tells whether the mix does better than the interpolation on texts that neither was fitted to.
    pub fn is_better(&self) -> bool {
        self.held_out > self.interpolated_held_out
    }
}

/// Fits a learned mix on labeled texts that neither the model nor the neighbors have seen.
///
/// The loss is logistic with the penalty `|w|^2 / (2 C)`, C = 0.5, minimized by L-BFGS. The threshold, in
/// steps of 1/200, is the best for the predictions of five stretches of the texts, each by a fit on the
/// other four. Returns `None` for fewer than [`MIN_TEXTS`] texts with neighbors, where no label or every
/// one is right, and where distances are beyond a mix's scale.
pub fn fit_mix(
    predictions: &[Prediction],
    n_labels: usize,
    frequencies: &LabelFrequencies,
) -> Option<FittedMix> {
    let texts: Vec<&Prediction> =
        predictions.iter().filter(|prediction| !prediction.neighbors.is_empty()).collect();
    if texts.len() < MIN_TEXTS {
        return None;
    }
    let scale = scale(&texts)?;
    let problem = Problem::new(&texts, n_labels, frequencies, scale);
    let n_right = problem.rows.iter().filter(|row| row.is_right).count();
    if n_right == 0 || n_right == problem.rows.len() {
        return None;
    }
    let mut histograms = Histogram::empty(predictions, n_labels, Objective::Micro);
    problem.count_held_out(texts.len(), &mut histograms[0]);
    let (threshold, held_out) = best_threshold(&histograms);
    let solution = problem.solve(|_| true);
    let mix = problem.mix(&solution, scale, threshold).ok()?;
    let interpolated_held_out = interpolated_held_out(&texts, n_labels);
    Some(FittedMix { mix, held_out, interpolated_held_out })
}

/// Evaluates each stretch of the texts by the interpolation of the coarse grid that is best for the others.
fn interpolated_held_out(texts: &[&Prediction], n_labels: usize) -> f64 {
    let (method, grid) = (Method::Interpolated, Grid::coarse());
    let length = texts.len().div_ceil(FOLDS);
    let mut evaluator = Evaluator::new(n_labels);
    for (fold, held_out) in texts.chunks(length).enumerate() {
        let others = texts.iter().enumerate().filter(|(at, _)| at / length != fold);
        let others: Vec<Prediction> = others.map(|(_, &text)| text.clone()).collect();
        let tuned = tune_for(&others, n_labels, method, Objective::Micro, &grid);
        let selection = Selection::at(tuned.threshold);
        for text in held_out {
            let scores = scores(text, method, &tuned.interpolation);
            evaluator.add(&text.given, scores, &selection);
        }
    }
    evaluator.finish().micro_f1
}

/// Evaluates a mix; documents without neighbors have the model's scores.
pub fn evaluate_mix(
    predictions: &[Prediction],
    n_labels: usize,
    mix: &LearnedMix,
    frequencies: &LabelFrequencies,
    selection: &Selection,
) -> Evaluation {
    let mut evaluator = Evaluator::new(n_labels);
    for prediction in predictions {
        let scores = mixed_scores(prediction, mix, frequencies);
        evaluator.add(&prediction.given, scores, &mixed_selection(prediction, mix, selection));
    }
    evaluator.finish()
}

/// Scores one document by a mix; without neighbors the model answers alone.
pub fn mixed_scores(
    prediction: &Prediction,
    mix: &LearnedMix,
    frequencies: &LabelFrequencies,
) -> Vec<LabelScore> {
    if prediction.neighbors.is_empty() {
        return interpolate(prediction.model.as_ref(), None, Proportion::MODEL);
    }
    mix.scores(&numbered(prediction.model.as_ref()), &prediction.neighbors, frequencies)
}

/// Returns the selection that suits [`mixed_scores`]: with the mix's threshold where there are neighbors.
pub fn mixed_selection(
    prediction: &Prediction,
    mix: &LearnedMix,
    selection: &Selection,
) -> Selection {
    match prediction.neighbors.is_empty() {
        true => selection.clone(),
        false => mix.selection(selection),
    }
}

/// Returns the mean distance to the tenth neighbor; `None` where it is no scale.
fn scale(texts: &[&Prediction]) -> Option<f32> {
    let distance = |text: &&Prediction| {
        let at = SCALING_NEIGHBOR.min(text.neighbors.len() - 1);
        f64::from(text.neighbors[at].distance)
    };
    let mean = (texts.iter().map(distance).sum::<f64>() / texts.len() as f64) as f32;
    SCALES.contains(&mean).then_some(mean)
}

/// A pair of text and label, standardized.
struct Row {
    text: usize,
    features: [f32; N_FEATURES],
    /// The label, where the model knows it.
    label: Option<usize>,
    is_right: bool,
}

/// The regression's data.
struct Problem {
    rows: Vec<Row>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    n_labels: usize,
}

impl Problem {
    fn new(
        texts: &[&Prediction],
        n_labels: usize,
        frequencies: &LabelFrequencies,
        scale: f32,
    ) -> Self {
        let mut rows = Vec::new();
        for (text, prediction) in texts.iter().enumerate() {
            let model = numbered(prediction.model.as_ref());
            for Pair { label, model, features, .. } in
                pairs(&model, &prediction.neighbors, frequencies, scale)
            {
                let is_known = model.is_some() && label.index() < n_labels;
                let is_right = prediction.given.contains(label);
                rows.push(Row { text, features, label: is_known.then(|| label.index()), is_right });
            }
        }
        let (mean, deviation) = moments(&rows);
        for row in &mut rows {
            row.features = standardized(&row.features, &mean, &deviation);
        }
        Problem { rows, mean, deviation, n_labels }
    }

    /// Minimizes the penalized loss over some of the texts: w, then e / 0.3, then b.
    fn solve(&self, is_fitted: impl Fn(usize) -> bool) -> Vec<f64> {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| is_fitted(row.text)).collect();
        // The intercept stands last and is not penalized.
        let intercept = N_FEATURES + self.n_labels;
        minimize(vec![0.0; intercept + 1], |solution, gradient| {
            let mut loss = 0.0;
            for (gradient, value) in gradient.iter_mut().zip(&solution[..intercept]) {
                *gradient = value / C;
                loss += value * value / (2.0 * C);
            }
            gradient[intercept] = 0.0;
            for row in &rows {
                let logit = self.logit(row, solution);
                let sign = if row.is_right { 1.0 } else { -1.0 };
                loss += softplus(-sign * logit);
                let slope = -sign / (1.0 + (sign * logit).exp());
                for (gradient, &value) in gradient.iter_mut().zip(&row.features) {
                    *gradient += slope * f64::from(value);
                }
                if let Some(label) = row.label {
                    gradient[N_FEATURES + label] += slope * f64::from(LABEL_FEATURE);
                }
                gradient[intercept] += slope;
            }
            loss
        })
    }

    fn logit(&self, row: &Row, solution: &[f64]) -> f64 {
        let weighed = solution.iter().zip(&row.features).map(|(w, &value)| w * f64::from(value));
        let own = row.label.map_or(0.0, |l| f64::from(LABEL_FEATURE) * solution[N_FEATURES + l]);
        weighed.sum::<f64>() + own + solution[N_FEATURES + self.n_labels]
    }

    /// Counts the scores of each stretch of the texts by a fit on the others.
    fn count_held_out(&self, n_texts: usize, histogram: &mut Histogram) {
        let length = n_texts.div_ceil(FOLDS);
        for fold in 0..FOLDS {
            let held_out = fold * length..(fold + 1) * length;
            let solution = self.solve(|text| !held_out.contains(&text));
            for row in self.rows.iter().filter(|row| held_out.contains(&row.text)) {
                histogram.count(sigmoid(self.logit(row, &solution) as f32), row.is_right);
            }
        }
    }

    fn mix(&self, solution: &[f64], scale: f32, threshold: Threshold) -> crate::Result<LearnedMix> {
        let (weights, rest) = solution.split_at(N_FEATURES);
        let (labels, intercept) = rest.split_at(self.n_labels);
        LearnedMix::try_from(Parameters {
            scale,
            mean: self.mean.clone(),
            deviation: self.deviation.clone(),
            weights: weights.iter().map(|&weight| weight as f32).collect(),
            labels: labels.iter().map(|&own| LABEL_FEATURE * own as f32).collect(),
            intercept: intercept[0] as f32,
            threshold,
        })
    }
}

/// Returns each feature's mean and standard deviation.
fn moments(rows: &[Row]) -> (Vec<f32>, Vec<f32>) {
    let n = rows.len().max(1) as f64;
    let (mut sums, mut squares) = ([0.0; N_FEATURES], [0.0; N_FEATURES]);
    for row in rows {
        for (at, value) in row.features.iter().map(|&value| f64::from(value)).enumerate() {
            sums[at] += value;
            squares[at] += value * value;
        }
    }
    let mean = sums.map(|sum| sum / n);
    let deviation = |(at, square): (usize, f64)| {
        (square / n - mean[at] * mean[at]).max(0.0).sqrt() as f32 + LEAST_DEVIATION
    };
    let deviations = squares.into_iter().enumerate().map(deviation).collect();
    (mean.map(|mean| mean as f32).to_vec(), deviations)
}

/// Returns ln(1 + e^x).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::{Method, tune};
    use crate::{ItemId, LabelId, LabelSet, Neighbor, Scores};

    const N_LABELS: u32 = 6;

    fn labels(ids: &[u32]) -> LabelSet {
        ids.iter().copied().map(LabelId).collect()
    }

    /// Pseudo-random numbers within 0..1.
    fn random(seed: u32) -> f32 {
        (seed.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32
    }

    /// Texts of one label each. The model is right about the labels 0 to 2 and the neighbors about the
    /// others: one lambda for all labels cannot have both.
    fn texts(n: u32) -> Vec<Prediction> {
        texts_where(n, |label| label >= 3)
    }

    /// Texts of one label each, about which the neighbors are right where `is_of_neighbors` says so, and the
    /// model otherwise; the labels 0 to 2 are the model's in any case.
    fn texts_where(n: u32, is_of_neighbors: fn(u32) -> bool) -> Vec<Prediction> {
        let text = |number: u32| {
            let right = number % N_LABELS;
            let (is_of_model, noise) = (right < 3, random(3 * number));
            let wrong = (right + 1 + (random(3 * number + 1) * 5.0) as u32 % 5) % N_LABELS;
            let mut scores = vec![0.05; N_LABELS as usize];
            scores[(if is_of_model { right } else { wrong % 3 + 3 }) as usize] = 0.5 + 0.4 * noise;
            let voted = if is_of_neighbors(right) { right } else { wrong % 3 };
            let neighbor = |at: u32| {
                let label = if at < 8 { voted } else { (number + at) % N_LABELS };
                Neighbor::new(ItemId(at), 0.5 + 0.02 * at as f32, labels(&[label]))
            };
            Prediction {
                given: labels(&[right]),
                model: Some(Scores::new(scores).unwrap()),
                neighbors: (0..20).map(neighbor).collect(),
            }
        };
        (0..n).map(text).collect()
    }

    fn frequencies(texts: &[Prediction]) -> LabelFrequencies {
        LabelFrequencies::count(texts.iter().map(|text| &text.given))
    }

    #[test]
    fn a_mix_is_ahead_of_one_lambda_where_labels_differ() {
        let texts = texts(300);
        let frequencies = frequencies(&texts);
        let fitted = fit_mix(&texts, N_LABELS as usize, &frequencies).unwrap();
        let interpolated = tune(&texts, Method::Interpolated).score;
        assert!(fitted.held_out > interpolated + 0.05, "{} {interpolated}", fitted.held_out);
        // The texts are alike: other ones tune the interpolation nearly as all do.
        let difference = (fitted.interpolated_held_out - interpolated).abs();
        assert!(difference < 0.1 && fitted.is_better(), "{fitted:?} {interpolated}");
        let (n_labels, selection) = (N_LABELS as usize, Selection::default());
        let measured = evaluate_mix(&texts, n_labels, &fitted.mix, &frequencies, &selection);
        assert!(measured.micro_f1 >= fitted.held_out - 0.02, "{measured:?}");
        assert_eq!(fit_mix(&texts, n_labels, &frequencies).unwrap(), fitted);
    }

    #[test]
    fn a_label_that_the_model_does_not_know_is_tagged_by_its_neighbors() {
        let texts = texts_where(300, |_| true);
        let fitted = fit_mix(&texts, N_LABELS as usize, &frequencies(&texts)).unwrap();
        let neighbor = |at| Neighbor::new(ItemId(at), 0.5, labels(&[9]));
        let text = Prediction {
            given: labels(&[9]),
            model: Some(Scores::new(vec![0.05; N_LABELS as usize]).unwrap()),
            neighbors: (0..20).map(neighbor).collect(),
        };
        let frequencies = frequencies(&[texts, vec![text.clone(); 20]].concat());
        let scores = mixed_scores(&text, &fitted.mix, &frequencies);
        let best = scores.iter().max_by(|a, b| a.score.total_cmp(&b.score)).unwrap();
        assert_eq!((best.label, best.model), (LabelId(9), None));
        assert!(best.score >= fitted.mix.parameters().threshold.get(), "{scores:?}");
    }

    #[test]
    fn too_few_texts_or_nothing_to_learn_give_no_mix() {
        let texts = texts(300);
        let frequencies = frequencies(&texts);
        assert!(fit_mix(&texts[..MIN_TEXTS - 1], 6, &frequencies).is_none());
        let given_nothing = |text: &Prediction| Prediction { given: labels(&[]), ..text.clone() };
        let nothing: Vec<Prediction> = texts.iter().map(given_nothing).collect();
        assert!(fit_mix(&nothing, 6, &frequencies).is_none());
        let alone = |text: &Prediction| Prediction { neighbors: Vec::new(), ..text.clone() };
        let alone: Vec<Prediction> = texts.iter().map(alone).collect();
        assert!(fit_mix(&alone, 6, &frequencies).is_none());
        let same_place = |text: &Prediction| {
            let place = |n: &Neighbor| Neighbor::new(n.item, 0.0, n.labels.clone());
            let neighbors = text.neighbors.iter().map(place).collect();
            Prediction { neighbors, ..text.clone() }
        };
        let same_place: Vec<Prediction> = texts.iter().map(same_place).collect();
        assert!(fit_mix(&same_place, 6, &frequencies).is_none());
    }
}

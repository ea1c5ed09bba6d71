//! One run looked at closely: labels, mistakes, reliability, rare labels, labels taken for others.

use std::collections::BTreeMap;

use autotag::interpolate::{LabelScore, weights};
use autotag::metrics::Confusion;
use autotag::tune::{self, Method, Objective, Prediction, Tuned};
use autotag::{Interpolation, LabelId, LabelSet, Threshold};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::bootstrap::total;
use crate::decide::tags;
use crate::numbers::measured::{MeasuredRun, as_set};
use crate::runs::{KeptData, RunsFolder, Setting, TextRecord};

/// A run's decisions, looked at closely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Which run it is, in words.
    pub run: String,
    /// The setting with which it decided.
    pub setting: Setting,
    /// The labels, those that most texts have first.
    pub labels: Vec<LabelNumbers>,
    /// The labels that are left out of the list.
    pub labels_left_out: usize,
    /// Wrong tags with the highest scores.
    pub false_positives: Vec<Mistake>,
    /// Missed labels with the lowest scores.
    pub false_negatives: Vec<Mistake>,
    /// The precision of labels by their score: of the model alone.
    pub reliability_model: Vec<ReliabilityBin>,
    /// The same with neighbors, as set.
    pub reliability_knn: Vec<ReliabilityBin>,
    /// F1 by the number of training texts that have a label.
    pub by_frequency: Vec<FrequencyBin>,
    /// Labels that were missed where others were wrongly given.
    pub confused: Vec<ConfusedPair>,
}

/// One label's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelNumbers {
    /// The label.
    pub label: String,
    /// The number of training texts that have it.
    pub n_train: usize,
    /// The number of measured texts that have it.
    pub support: usize,
    /// The share of its tags that are right; absent where nothing was tagged.
    pub precision: Option<f64>,
    /// The share of its texts that were tagged; absent where no text has it.
    pub recall: Option<f64>,
    /// F1.
    pub f1: f64,
    /// The threshold that suits it on dev.
    pub threshold: f64,
}

/// A wrong decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// The text's key.
    pub key: String,
    /// The text's beginning.
    pub text: String,
    /// The label that was wrongly given or missed.
    pub label: String,
    /// Its score.
    pub score: f64,
    /// The model's score.
    pub model: f64,
    /// The neighbors' score.
    pub knn: f64,
    /// The labels that people gave.
    pub given: Vec<String>,
    /// The neighbors that voted, those with the most weight first.
    pub neighbors: Vec<MistakeNeighbor>,
}

/// A neighbor that voted on a wrong decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MistakeNeighbor {
    /// Its key.
    pub key: String,
    /// Its text's beginning.
    pub text: String,
    /// The weight of its vote.
    pub weight: f64,
    /// True where it has the label.
    pub has_label: bool,
}

/// Pairs of text and label whose scores lie within a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// The mean score.
    pub score: f64,
    /// The share of labels that are right.
    pub right: f64,
    /// The number of pairs.
    pub n: usize,
}

/// Labels that about as many training texts have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrequencyBin {
    /// The least number of training texts.
    pub from: usize,
    /// The number that the next ones begin with; absent for the last.
    pub below: Option<usize>,
    /// The number of labels.
    pub n_labels: usize,
    /// The labels' micro-F1 by the model alone, tuned.
    pub model: f64,
    /// The labels' micro-F1 with neighbors, tuned.
    pub knn: f64,
}

/// A label that was missed where another was wrongly given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusedPair {
    /// The label that was missed.
    pub missed: String,
    /// The label that was wrongly given.
    pub given_instead: String,
    /// The number of texts.
    pub n_texts: usize,
    /// The number of texts in which the first one was missed.
    pub n_missed: usize,
}

/// The labels that are listed.
const LISTED_LABELS: usize = 1000;

/// The mistakes of each kind that are shown.
const SHOWN_MISTAKES: usize = 10;

/// The neighbors of a mistake that are shown.
const SHOWN_NEIGHBORS: usize = 5;

/// The confused pairs that are shown.
const SHOWN_PAIRS: usize = 25;

/// The numbers of training texts at which the groups of labels begin.
const FREQUENCIES: [usize; 8] = [1, 10, 20, 50, 100, 200, 500, 1000];

/// The weight of all labels' average where a label's own threshold is chosen, in texts.
const SMOOTHING: f64 = 20.0;

/// Looks at a run that has neighbors.
pub(super) fn details(
    folder: &RunsFolder,
    data: &KeptData,
    run: &MeasuredRun,
    words: &str,
) -> Result<Details> {
    let predictions = folder.read_predictions(&run.record.id, data)?;
    let setting = run.record.tuned.unwrap_or(run.record.tuned_model);
    let names = &data.record.labels;
    let decisions: Vec<Decision> = predictions
        .iter()
        .zip(&data.measured)
        .map(|(prediction, text)| Decision::new(prediction, text, &setting))
        .collect();
    let n_train = occurrences(data.train.iter().map(|text| &text.labels), names.len());
    let counts = label_counts(&decisions, names.len());
    let dev = folder.read_dev_predictions(&run.record.id, data)?;
    let thresholds = own_thresholds(&dev, names.len(), &setting);
    let mut labels: Vec<LabelNumbers> = (0..names.len())
        .map(|label| {
            LabelNumbers::new(&names[label], n_train[label], counts[label], thresholds[label])
        })
        .collect();
    labels.sort_by(|a, b| b.support.cmp(&a.support).then_with(|| a.label.cmp(&b.label)));
    let labels_left_out = labels.len().saturating_sub(LISTED_LABELS);
    labels.truncate(LISTED_LABELS);

    let own = run.record.tuned_model;
    let alone: Vec<Decision> = predictions
        .iter()
        .zip(&data.measured)
        .map(|(prediction, text)| Decision::of_model(prediction, text, &own))
        .collect();
    let as_set = as_set(&run.record);
    Ok(Details {
        run: words.to_owned(),
        setting,
        labels,
        labels_left_out,
        false_positives: mistakes(data, &decisions, Kind::FalsePositive, &setting),
        false_negatives: mistakes(data, &decisions, Kind::FalseNegative, &setting),
        reliability_model: reliability(&predictions, Method::Model, &as_set),
        reliability_knn: reliability(&predictions, Method::Interpolated, &as_set),
        by_frequency: by_frequency(&n_train, &label_counts(&alone, names.len()), &counts),
        confused: confused(&decisions, names),
    })
}

/// A text's scores, and what they were taken for.
struct Decision<'a> {
    prediction: &'a Prediction,
    text: &'a TextRecord,
    scores: Vec<LabelScore>,
    predicted: LabelSet,
}

impl<'a> Decision<'a> {
    fn new(prediction: &'a Prediction, text: &'a TextRecord, setting: &Setting) -> Self {
        let scores = tune::scores(prediction, Method::Interpolated, &setting.interpolation);
        Decision::by(scores, prediction, text, setting)
    }

    fn of_model(prediction: &'a Prediction, text: &'a TextRecord, setting: &Setting) -> Self {
        let scores = tune::scores(prediction, Method::Model, &setting.interpolation);
        Decision::by(scores, prediction, text, setting)
    }

    fn by(
        mut scores: Vec<LabelScore>,
        prediction: &'a Prediction,
        text: &'a TextRecord,
        setting: &Setting,
    ) -> Self {
        let predicted = tags(scores.clone(), &setting.selection());
        // What neither is nor should be a tag is of no interest, and there is much of it.
        scores.retain(|score| {
            predicted.contains(score.label) || prediction.given.contains(score.label)
        });
        Decision { prediction, text, scores, predicted }
    }
}

/// Counts the texts that have each label.
fn occurrences<'a>(labels: impl Iterator<Item = &'a LabelSet>, n_labels: usize) -> Vec<usize> {
    let mut counts = vec![0; n_labels];
    for label in labels.flat_map(LabelSet::ids) {
        if let Some(count) = counts.get_mut(label.index()) {
            *count += 1;
        }
    }
    counts
}

fn label_counts(decisions: &[Decision<'_>], n_labels: usize) -> Vec<Confusion> {
    let mut counts = vec![Confusion::default(); n_labels];
    for Decision { prediction, predicted, .. } in decisions {
        for &label in predicted.ids() {
            let Some(count) = counts.get_mut(label.index()) else { continue };
            match prediction.given.contains(label) {
                true => count.true_positives += 1,
                false => count.false_positives += 1,
            }
        }
        for &label in prediction.given.ids().iter().filter(|&&label| !predicted.contains(label)) {
            if let Some(count) = counts.get_mut(label.index()) {
                count.false_negatives += 1;
            }
        }
    }
    counts
}

impl LabelNumbers {
    fn new(label: &str, n_train: usize, counts: Confusion, threshold: Threshold) -> Self {
        let Confusion { true_positives, false_positives, false_negatives } = counts;
        let (n_tagged, support) =
            (true_positives + false_positives, true_positives + false_negatives);
        let share = |of: usize| (of > 0).then(|| true_positives as f64 / of as f64);
        LabelNumbers {
            label: label.to_owned(),
            n_train,
            support,
            precision: share(n_tagged),
            recall: share(support),
            f1: counts.f1(),
            threshold: decimal(threshold.get()),
        }
    }
}

/// Returns the number that prints as the single-precision one does.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Returns the threshold that suits each label on dev.
fn own_thresholds(dev: &[Prediction], n_labels: usize, setting: &Setting) -> Vec<Threshold> {
    let &Setting { interpolation, threshold, dev_micro_f1 } = setting;
    let tuned = Tuned { interpolation, threshold, score: dev_micro_f1 };
    let own = tune::tune_labels(dev, n_labels, Objective::Macro, &tuned, Some(SMOOTHING));
    (0..n_labels).map(|label| own.thresholds.get(label).copied().unwrap_or(threshold)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FalsePositive,
    FalseNegative,
}

/// Returns the worst mistakes, one of each text at most.
fn mistakes(
    data: &KeptData,
    decisions: &[Decision<'_>],
    kind: Kind,
    setting: &Setting,
) -> Vec<Mistake> {
    let mut worst: Vec<(&Decision<'_>, LabelScore)> = Vec::new();
    for decision in decisions {
        let Decision { prediction, scores, predicted, .. } = decision;
        let is_mistake = |score: &&LabelScore| match kind {
            Kind::FalsePositive => {
                predicted.contains(score.label) && !prediction.given.contains(score.label)
            }
            Kind::FalseNegative => {
                prediction.given.contains(score.label) && !predicted.contains(score.label)
            }
        };
        let found = scores
            .iter()
            .filter(is_mistake)
            .max_by(|a, b| badness(kind, a).total_cmp(&badness(kind, b)));
        worst.extend(found.map(|score| (decision, *score)));
    }
    worst.sort_by(|(a, score_a), (b, score_b)| {
        let order = badness(kind, score_b).total_cmp(&badness(kind, score_a));
        order.then_with(|| a.text.key.cmp(&b.text.key))
    });
    worst.truncate(SHOWN_MISTAKES);
    worst.into_iter().map(|(decision, score)| mistake(data, decision, score, setting)).collect()
}

/// The distance of a score from the right side.
fn badness(kind: Kind, score: &LabelScore) -> f32 {
    match kind {
        Kind::FalsePositive => score.score,
        Kind::FalseNegative => -score.score,
    }
}

fn mistake(
    data: &KeptData,
    decision: &Decision<'_>,
    score: LabelScore,
    setting: &Setting,
) -> Mistake {
    let name = |label: LabelId| data.record.labels.get(label.index()).cloned().unwrap_or_default();
    let Decision { prediction, text, .. } = decision;
    let k = setting.interpolation.k.get().min(prediction.neighbors.len());
    let nearest = &prediction.neighbors[..k];
    let distances: Vec<f32> = nearest.iter().map(|neighbor| neighbor.distance).collect();
    let weights = weights(&distances, setting.interpolation.temperature);
    let neighbors = nearest.iter().zip(weights).take(SHOWN_NEIGHBORS).map(|(neighbor, weight)| {
        let text = data.train.get(neighbor.item.0 as usize);
        MistakeNeighbor {
            key: text.map(|text| text.key.clone()).unwrap_or_default(),
            text: text.map(|text| text.text.clone()).unwrap_or_default(),
            weight: f64::from(weight),
            has_label: neighbor.labels.contains(score.label),
        }
    });
    Mistake {
        key: text.key.clone(),
        text: text.text.clone(),
        label: name(score.label),
        score: f64::from(score.score),
        model: f64::from(score.model.unwrap_or_default()),
        knn: f64::from(score.knn),
        given: prediction.given.ids().iter().map(|&label| name(label)).collect(),
        neighbors: neighbors.collect(),
    }
}

/// The scores in tenths.
const BINS: usize = 10;

/// Returns how often labels with a score are right, by tenths of the score; tenths without a score
/// are left out, and so are scores of 0.
fn reliability(
    predictions: &[Prediction],
    method: Method,
    interpolation: &Interpolation,
) -> Vec<ReliabilityBin> {
    let mut bins = [(0usize, 0usize, 0f64); BINS];
    for prediction in predictions {
        for score in tune::scores(prediction, method, interpolation) {
            if score.score > 0.0 {
                let bin = ((score.score * BINS as f32) as usize).min(BINS - 1);
                let (n, n_right, sum) = &mut bins[bin];
                *n += 1;
                *n_right += usize::from(prediction.given.contains(score.label));
                *sum += f64::from(score.score);
            }
        }
    }
    let filled = bins.into_iter().filter(|(n, _, _)| *n > 0);
    filled
        .map(|(n, n_right, sum)| ReliabilityBin {
            score: sum / n as f64,
            right: n_right as f64 / n as f64,
            n,
        })
        .collect()
}

/// Returns F1 by groups of labels; those that no training text has are left out.
fn by_frequency(n_train: &[usize], model: &[Confusion], knn: &[Confusion]) -> Vec<FrequencyBin> {
    let ends = FREQUENCIES[1..].iter().map(|&end| Some(end)).chain([None]);
    let mut bins = Vec::new();
    for (from, below) in FREQUENCIES.into_iter().zip(ends) {
        let group = from..below.unwrap_or(usize::MAX);
        let labels: Vec<usize> =
            (0..n_train.len()).filter(|&label| group.contains(&n_train[label])).collect();
        if labels.is_empty() {
            continue;
        }
        let f1 = |counts: &[Confusion]| total(labels.iter().map(|&label| counts[label])).f1();
        let (model, knn) = (f1(model), f1(knn));
        bins.push(FrequencyBin { from, below, n_labels: labels.len(), model, knn });
    }
    bins
}

/// Returns the pairs of a missed and a wrongly given label that occur in the most texts.
fn confused(decisions: &[Decision<'_>], names: &[String]) -> Vec<ConfusedPair> {
    let mut n_missed: BTreeMap<LabelId, usize> = BTreeMap::new();
    let mut pairs: BTreeMap<(LabelId, LabelId), usize> = BTreeMap::new();
    for Decision { prediction, predicted, .. } in decisions {
        for &missed in prediction.given.ids().iter().filter(|&&label| !predicted.contains(label)) {
            *n_missed.entry(missed).or_default() += 1;
            let wrong = predicted.ids().iter().filter(|&&label| !prediction.given.contains(label));
            for &wrong in wrong {
                *pairs.entry((missed, wrong)).or_default() += 1;
            }
        }
    }
    let mut pairs: Vec<((LabelId, LabelId), usize)> = pairs.into_iter().collect();
    pairs.sort_by(|(a, n_a), (b, n_b)| n_b.cmp(n_a).then(a.cmp(b)));
    pairs.truncate(SHOWN_PAIRS);
    let name = |label: LabelId| names.get(label.index()).cloned().unwrap_or_default();
    let pair = |((missed, wrong), n_texts): ((LabelId, LabelId), usize)| ConfusedPair {
        missed: name(missed),
        given_instead: name(wrong),
        n_texts,
        n_missed: n_missed.get(&missed).copied().unwrap_or_default(),
    };
    pairs.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests;

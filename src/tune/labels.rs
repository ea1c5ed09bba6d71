//! A threshold for each label, held back where few examples speak for it.

use std::num::NonZeroUsize;

use super::histogram::{BINS, Histogram, best_bin, best_threshold, bin, count, edge, f1, likely};
use super::{Method, Objective, Prediction, Tuned, tagged};
use crate::{Interpolation, Threshold};

/// Thresholds for each label, and what they are worth on documents that they were not chosen on.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelThresholds {
    /// The thresholds by label id; none where one for all labels does at least as well.
    pub thresholds: Vec<Threshold>,
    /// The number of examples of an average label that were added to each label's own.
    pub smoothing: f64,
    /// The objective with thresholds for each label on documents held out, by cross-validation.
    pub held_out: f64,
    /// The same with one threshold for all labels.
    pub held_out_global: f64,
}

/// The smoothing that is tried where none is given.
const SMOOTHINGS: [f64; 8] = [100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.0];

/// The parts that documents are split into: each is held out once.
const FOLDS: usize = 5;

/// Chooses a threshold for each label, with the k, tau and lambda that were tuned for all.
///
/// A label with few examples says little about its own threshold. So `s` examples of an average
/// label are added to its own: `TP_l(t) + s TP(t) / n` right and `FP_l(t) + s FP(t) / n` wrong ones
/// at or above the threshold t, with the sums TP, FP and n (given labels) over all labels. A label
/// without examples gets the threshold that suits all labels together; one with many its own.
///
/// With these counts [`Objective::Macro`] takes the t of the best F1 of the label alone. For
/// [`Objective::Micro`] a label is no end in itself: it takes the t of the largest
/// `2 TP - F (TP + FP)`, F being the micro-F1 of one threshold for all: what raises micro-F1 when
/// the other labels stay as they are (Dinkelbach's method for a ratio, in one step).
///
/// Where `smoothing` is `None` it is chosen by cross-validation over 5 stretches of the documents,
/// and where no smoothing beats one threshold for all labels there, that one stays. `n_labels` is
/// what [`evaluate`](super::evaluate) is given.
pub fn tune_labels(
    predictions: &[Prediction],
    n_labels: usize,
    objective: Objective,
    tuned: &Tuned,
    smoothing: Option<f64>,
) -> LabelThresholds {
    let folds = count_folds(predictions, n_labels, &tuned.interpolation);
    let mut all = folds[0].clone();
    for fold in &folds[1..] {
        change(&mut all, fold, Histogram::add);
    }
    let held_out_global = cross_validate(&folds, &all, objective, |counted| {
        let threshold = match objective {
            Objective::Micro => best_threshold(&[pool(counted)]).0,
            Objective::Macro => best_threshold(counted).0,
        };
        vec![bin(threshold.get()); counted.len()]
    });
    let (mut smoothing_of_best, mut held_out) = (f64::INFINITY, f64::NEG_INFINITY);
    for s in smoothing.map_or(SMOOTHINGS.to_vec(), |s| vec![s]) {
        let score = cross_validate(&folds, &all, objective, |counted| {
            choose(counted, objective, s, bin(tuned.threshold.get()))
        });
        if score > held_out {
            (smoothing_of_best, held_out) = (s, score);
        }
    }
    let is_asked_for = smoothing.is_some();
    let bins = if is_asked_for || held_out > held_out_global {
        choose(&all, objective, smoothing_of_best, bin(tuned.threshold.get()))
    } else {
        vec![]
    };
    let thresholds = bins.into_iter().map(edge).collect();
    LabelThresholds { thresholds, smoothing: smoothing_of_best, held_out, held_out_global }
}

/// Counts each label's scores in each stretch of the documents.
///
/// Stretches, not every fifth document: near copies often stand next to each other, and would tell
/// what is held out.
fn count_folds(
    predictions: &[Prediction],
    n_labels: usize,
    interpolation: &Interpolation,
) -> Vec<Vec<Histogram>> {
    let Interpolation { k, temperature, proportion } = *interpolation;
    let empty = Histogram::empty(predictions, n_labels, Objective::Macro);
    let length = NonZeroUsize::new(predictions.len().div_ceil(FOLDS)).unwrap_or(NonZeroUsize::MIN);
    let mut folds = Vec::with_capacity(FOLDS);
    for fold in predictions.chunks(length.get()) {
        let mut histograms = Histogram::empty(fold, empty.len(), Objective::Macro);
        let documents = tagged(fold, &likely(fold), Method::Interpolated, k, temperature);
        count(&documents, proportion, Objective::Macro, &mut histograms);
        folds.push(histograms);
    }
    if folds.is_empty() {
        folds.push(empty);
    }
    folds
}

fn change(sums: &mut [Histogram], parts: &[Histogram], change: fn(&mut Histogram, &Histogram)) {
    for (sum, part) in sums.iter_mut().zip(parts) {
        change(sum, part);
    }
}

fn pool(histograms: &[Histogram]) -> Histogram {
    let mut pooled = Histogram::empty(&[], 0, Objective::Micro).remove(0);
    for histogram in histograms {
        pooled.add(histogram);
    }
    pooled
}

/// Returns the objective over all folds, each decided by what `choose` makes of the others.
fn cross_validate(
    folds: &[Vec<Histogram>],
    all: &[Histogram],
    objective: Objective,
    choose: impl Fn(&[Histogram]) -> Vec<usize>,
) -> f64 {
    // Right and wrong ones of each label.
    let mut decisions = vec![(0, 0); all.len()];
    for fold in folds {
        let mut others = all.to_vec();
        change(&mut others, fold, Histogram::subtract);
        let bins = choose(&others);
        for ((sum, histogram), bin) in decisions.iter_mut().zip(fold).zip(bins) {
            let (right, wrong) = histogram.at_or_above()[bin];
            *sum = (sum.0 + right, sum.1 + wrong);
        }
    }
    let given = all.iter().map(Histogram::n_given);
    match objective {
        Objective::Micro => {
            let sum = |count: fn(&(u32, u32)) -> u32| decisions.iter().map(count).sum::<u32>();
            f1(sum(|d| d.0).into(), sum(|d| d.1).into(), given.sum::<u32>().into())
        }
        Objective::Macro => {
            let f1s = decisions
                .iter()
                .zip(given)
                .map(|(&(right, wrong), n_given)| f1(right.into(), wrong.into(), n_given.into()));
            f1s.sum::<f64>() / all.len().max(1) as f64
        }
    }
}

/// Returns each label's bin; of equal ones the nearest to `center`.
fn choose(labels: &[Histogram], objective: Objective, s: f64, center: usize) -> Vec<usize> {
    let pooled = pool(labels);
    let micro_f1 = best_threshold(std::slice::from_ref(&pooled)).1;
    let n = f64::from(pooled.n_given().max(1));
    let average: Vec<(f64, f64)> = pooled
        .at_or_above()
        .iter()
        .map(|&(right, wrong)| (s * f64::from(right) / n, s * f64::from(wrong) / n))
        .collect();
    let choose = |label: &Histogram| {
        let n_given = f64::from(label.n_given()) + s;
        let mut values = vec![0.0; BINS + 1];
        for ((value, own), added) in values.iter_mut().zip(label.at_or_above()).zip(&average) {
            let (right, wrong) = (f64::from(own.0) + added.0, f64::from(own.1) + added.1);
            *value = match objective {
                Objective::Micro => 2.0 * right - micro_f1 * (right + wrong),
                Objective::Macro => f1(right, wrong, n_given),
            };
        }
        best_bin(&values, center).0
    };
    labels.iter().map(choose).collect()
}

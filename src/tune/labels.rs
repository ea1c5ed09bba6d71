//! A threshold for each label, held back where few examples speak for it.

use std::num::NonZeroUsize;

use super::evaluate::{Method, Objective, Prediction};
use super::grid::{Tuned, tagged};
use super::histogram::{BINS, Histogram, best_bin, best_threshold, bin, count, edge, f1, likely};
use crate::{Interpolation, Threshold};

/// Thresholds for each label, and what they are worth on documents that they were not chosen on.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelThresholds {
    /// The thresholds by label id; none where one for all labels does at least as well.
    pub thresholds: Vec<Threshold>,
    /// The number of a label's own examples that all labels' average counted as.
    pub smoothing: f64,
    /// The objective with thresholds for each label on documents held out, by cross-validation.
    pub held_out: f64,
    /// The same with one threshold for all labels.
    pub held_out_global: f64,
}

/// The smoothing that is tried where none is given.
const SMOOTHINGS: [f64; 10] = [1000.0, 300.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.0];

/// The parts that documents are split into: each is held out once.
const FOLDS: usize = 5;

/// Chooses a threshold for each label, with the k, tau and lambda that were tuned for all.
///
/// Label l takes the threshold t with the largest `own_l(t) + s average(t)`: what t is worth to the
/// label, and to all labels on average, which counts as much as s of the label's examples. So a
/// label with few examples stays near the threshold that suits all, and one with many gets its own.
///
/// - [`Objective::Macro`]: `own_l = n_l F1_l(t)`, n_l being the documents given the label; the
///   average is that of F1 over the labels.
/// - [`Objective::Micro`]: `own_l = 2 TP_l(t) - F (TP_l(t) + FP_l(t))`, F being the micro-F1 of one
///   threshold for all: where it is positive, micro-F1 grows (Dinkelbach's method for a ratio, in
///   one step). The average is their sum over the labels, divided by the sum of the n_l.
///
/// Where `smoothing` is `None` it is chosen by cross-validation over 5 stretches of the documents,
/// and where no smoothing beats one threshold for all labels there, that one stays. `n_labels` is
/// what [`evaluate`](super::evaluate()) is given.
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
    let own = own_values(labels, objective);
    let n_given = labels.iter().map(|label| f64::from(label.n_given()));
    let weight = match objective {
        Objective::Micro => n_given.sum::<f64>(),
        Objective::Macro => n_given.filter(|&n| n > 0.0).count() as f64,
    };
    let mut average = vec![0.0; BINS + 1];
    for (values, label) in own.iter().zip(labels) {
        let share = match objective {
            Objective::Micro => 1.0,
            Objective::Macro => 1.0 / f64::from(label.n_given().max(1)),
        };
        for (sum, value) in average.iter_mut().zip(values) {
            *sum += share * value / weight.max(1.0);
        }
    }
    let choose = |values: &Vec<f64>| {
        let smoothed: Vec<f64> =
            values.iter().zip(&average).map(|(own, average)| own + s * average).collect();
        best_bin(&smoothed, center).0
    };
    own.iter().map(choose).collect()
}

/// Returns what each label's threshold is worth to it, for every bin.
fn own_values(labels: &[Histogram], objective: Objective) -> Vec<Vec<f64>> {
    let micro_f1 = best_threshold(&[pool(labels)]).1;
    let values = |label: &Histogram| {
        let n_given = f64::from(label.n_given());
        let value = |(right, wrong): (u32, u32)| {
            let (right, wrong) = (f64::from(right), f64::from(wrong));
            match objective {
                Objective::Micro => 2.0 * right - micro_f1 * (right + wrong),
                Objective::Macro => n_given * f1(right, wrong, n_given),
            }
        };
        label.at_or_above().into_iter().map(value).collect()
    };
    labels.iter().map(values).collect()
}

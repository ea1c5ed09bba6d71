//! The paired bootstrap: how sure a difference of micro-F1 is.

use autotag::metrics::Confusion;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// The options of a bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// The number of resamples, at least 1.
    pub resamples: usize,
    /// Fixes which documents are drawn.
    pub seed: u64,
}

impl Default for BootstrapOptions {
    /// Returns 1000 resamples.
    fn default() -> Self {
        BootstrapOptions { resamples: 1000, seed: 0 }
    }
}

/// A difference of micro-F1 on the same documents, and what resampling them says of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// The micro-F1 of the first.
    pub first: f64,
    /// The micro-F1 of the second.
    pub second: f64,
    /// `second - first`.
    pub difference: f64,
    /// The lower end of the 95 % interval of the difference: its 2.5th percentile.
    pub low: f64,
    /// The upper end: its 97.5th percentile.
    pub high: f64,
    /// The share of resamples in which the second is better; a tie counts as half.
    pub second_wins: f64,
}

impl PairedDifference {
    /// Tells whether the 95 % interval leaves out 0.
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// One system's decisions: for each of its trainings, each document's counts.
///
/// Where a system was trained with several seeds its figure is the mean of the trainings'.
pub type Trainings<'a> = &'a [Vec<Confusion>];

/// Compares two systems on the same documents.
///
/// Documents are drawn with replacement, the same ones for both, and both figures are computed
/// anew; the percentiles of their difference are its interval.
///
/// # Panics
///
/// When the trainings are not all of the same number of documents.
///
/// ```
/// use autotag::metrics::Confusion;
/// use autotag_lab::{BootstrapOptions, paired_bootstrap};
///
/// let right = Confusion { true_positives: 1, ..Confusion::default() };
/// let wrong = Confusion { false_positives: 1, false_negatives: 1, ..Confusion::default() };
/// let first = vec![right, wrong, wrong, right];
/// let second = vec![right, right, right, right];
/// let found = paired_bootstrap(&[first], &[second], BootstrapOptions::default());
/// assert_eq!((found.first, found.second), (0.5, 1.0));
/// assert!(found.second_wins > 0.9);
/// ```
pub fn paired_bootstrap(
    first: Trainings<'_>,
    second: Trainings<'_>,
    options: BootstrapOptions,
) -> PairedDifference {
    let n_documents = first.iter().chain(second).map(Vec::len).max().unwrap_or(0);
    let all: Vec<usize> = (0..n_documents).collect();
    let (first_f1, second_f1) = (mean_f1(first, &all), mean_f1(second, &all));
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(options.seed);
    let mut drawn = all;
    let mut differences = Vec::with_capacity(options.resamples);
    for _ in 0..options.resamples.max(1) {
        drawn.iter_mut().for_each(|document| *document = rng.random_range(0..n_documents));
        differences.push(mean_f1(second, &drawn) - mean_f1(first, &drawn));
    }
    differences.sort_unstable_by(f64::total_cmp);
    PairedDifference {
        first: first_f1,
        second: second_f1,
        difference: second_f1 - first_f1,
        low: quantile(&differences, 0.025),
        high: quantile(&differences, 0.975),
        second_wins: share_above_zero(&differences),
    }
}

/// Returns the micro-F1 of the drawn documents, the mean over the trainings.
fn mean_f1(trainings: Trainings<'_>, drawn: &[usize]) -> f64 {
    let f1 = |counts: &Vec<Confusion>| total(drawn.iter().map(|&row| counts[row])).f1();
    trainings.iter().map(f1).sum::<f64>() / trainings.len().max(1) as f64
}

/// Adds up counts.
pub fn total(counts: impl IntoIterator<Item = Confusion>) -> Confusion {
    counts.into_iter().fold(Confusion::default(), |sum, one| Confusion {
        true_positives: sum.true_positives + one.true_positives,
        false_positives: sum.false_positives + one.false_positives,
        false_negatives: sum.false_negatives + one.false_negatives,
    })
}

/// Returns a quantile of sorted values, interpolated between the two nearest and never beyond them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let weight = position - position.floor();
    (sorted[below] + (sorted[above] - sorted[below]) * weight).min(sorted[above])
}

fn share_above_zero(values: &[f64]) -> f64 {
    let points = |value: &f64| match value.total_cmp(&0.0) {
        std::cmp::Ordering::Greater => 1.0,
        _ if *value == 0.0 => 0.5,
        _ => 0.0,
    };
    values.iter().map(points).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_documents() -> impl Strategy<Value = Vec<(Confusion, Confusion)>> {
        let any =
            || (0usize..4, 0usize..4, 0usize..4).prop_map(|(tp, fp, r#fn)| counts(tp, fp, r#fn));
        prop::collection::vec((any(), any()), 1..30)
    }

    proptest! {
        #[test]
        fn swapping_the_two_turns_everything_round(documents in any_documents(), seed: u64) {
            let (first, second): (Vec<Confusion>, Vec<Confusion>) = documents.into_iter().unzip();
            let options = BootstrapOptions { resamples: 50, seed };
            let (first, second) = ([first], [second]);
            let there = paired_bootstrap(&first, &second, options);
            let back = paired_bootstrap(&second, &first, options);
            prop_assert_eq!(there.difference, -back.difference);
            prop_assert!((there.low + back.high).abs() < 1e-12);
            prop_assert!((there.second_wins + back.second_wins - 1.0).abs() < 1e-12);
            prop_assert!(there.low <= there.high && (-1.0..=1.0).contains(&there.difference));
        }
    }

    fn counts(tp: usize, fp: usize, r#fn: usize) -> Confusion {
        Confusion { true_positives: tp, false_positives: fp, false_negatives: r#fn }
    }

    fn compare(first: Trainings<'_>, second: Trainings<'_>) -> PairedDifference {
        paired_bootstrap(first, second, BootstrapOptions::default())
    }

    #[test]
    fn a_system_compared_with_itself_differs_by_nothing() {
        let system = [vec![counts(1, 0, 1), counts(2, 1, 0), counts(0, 1, 3)]];
        let found = compare(&system, &system);
        assert_eq!((found.difference, found.low, found.high), (0.0, 0.0, 0.0));
        assert_eq!((found.second_wins, found.is_clear()), (0.5, false));
    }

    #[test]
    fn one_that_is_better_on_every_document_always_wins() {
        let (bad, good) = ([vec![counts(1, 1, 1); 20]], [vec![counts(2, 0, 0); 20]]);
        let found = compare(&bad, &good);
        // Every document alike, so every resample says the same: 1 - 1/2.
        assert_eq!((found.first, found.second), (0.5, 1.0));
        assert_eq!((found.low, found.high, found.second_wins), (0.5, 0.5, 1.0));
        let back = compare(&good, &bad);
        assert_eq!((back.difference, back.second_wins), (-0.5, 0.0));
        assert!(found.is_clear() && back.is_clear());
    }

    #[test]
    fn the_interval_is_as_wide_as_sampling_says() {
        // The second is right where the first errs in 60 of 100 documents, and the other way round
        // in 40; F1 is the share of right documents, so the difference is .2 with a standard error
        // of sqrt((1 - .04) / 100) = .098.
        let right = |is_right| if is_right { counts(1, 0, 0) } else { counts(0, 1, 1) };
        let first = [(0..100).map(|row| right(row < 40)).collect()];
        let second = [(0..100).map(|row| right(row >= 40)).collect()];
        let found = compare(&first, &second);
        assert!((found.difference - 0.2).abs() < 1e-12);
        assert!((found.low - (0.2 - 1.96 * 0.098)).abs() < 0.04, "{found:?}");
        assert!((found.high - (0.2 + 1.96 * 0.098)).abs() < 0.04, "{found:?}");
        assert!((found.second_wins - 0.979).abs() < 0.015, "{found:?}");
        assert_eq!(found, compare(&first, &second), "the same seed draws the same documents");
        let other = BootstrapOptions { seed: 1, ..BootstrapOptions::default() };
        assert_ne!(found, paired_bootstrap(&first, &second, other));
    }

    #[test]
    fn the_figure_of_several_trainings_is_their_mean() {
        let one = [vec![counts(1, 0, 0); 4]];
        let two = [vec![counts(1, 0, 0); 4], vec![counts(0, 1, 1); 4]];
        let found = compare(&one, &two);
        assert_eq!((found.first, found.second, found.difference), (1.0, 0.5, -0.5));
    }

    #[test]
    fn no_document_is_no_difference() {
        let found = compare(&[vec![]], &[vec![]]);
        assert_eq!((found.first, found.difference, found.second_wins), (0.0, 0.0, 0.5));
    }

    #[test]
    fn quantiles_lie_between_the_values() {
        let values = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(quantile(&values, 0.5), 1.5);
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (0.0, 3.0));
        // Between equal values lies that value, to the last bit: an interval's ends stay in order.
        let equal = [counts(2, 1, 0).f1() - counts(1, 3, 1).f1(); 50];
        assert_eq!((quantile(&equal, 0.025), quantile(&equal, 0.975)), (equal[0], equal[0]));
    }
}

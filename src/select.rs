//! Scores become tags and suggestions: thresholds and caps, pure functions.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::interpolate::LabelScore;
use crate::{Error, LabelId, Result};

/// The score, within 0..=1, from which on a label becomes a tag.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Threshold(f32);

impl Threshold {
    /// Checks a threshold.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] unless `threshold` is within 0..=1.
    pub fn new(threshold: f32) -> Result<Self> {
        if (0.0..=1.0).contains(&threshold) {
            return Ok(Threshold(threshold));
        }
        let (name, value) = ("threshold", threshold.into());
        Err(Error::Parameter { name, value, expected: "within 0..=1" })
    }

    /// Returns the threshold.
    pub fn get(self) -> f32 {
        self.0
    }
}

impl Default for Threshold {
    /// Returns the paper's 0.5.
    fn default() -> Self {
        Threshold(0.5)
    }
}

impl TryFrom<f32> for Threshold {
    type Error = Error;

    fn try_from(threshold: f32) -> Result<Self> {
        Threshold::new(threshold)
    }
}

impl From<Threshold> for f32 {
    fn from(threshold: Threshold) -> f32 {
        threshold.0
    }
}

/// The thresholds and caps that make tags of labels, and suggestions for review.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The threshold of every label that has none of its own.
    pub threshold: Threshold,
    /// Thresholds of their own, by label id; labels beyond its end use the global one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_label: Vec<Threshold>,
    /// The most tags that one text gets, the best first; no limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tags: Option<NonZeroUsize>,
    /// The score from which on a label that is no tag is suggested; nothing is where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Threshold>,
}

impl Selection {
    /// Selects by one threshold, without a cap.
    pub fn at(threshold: Threshold) -> Self {
        Selection { threshold, ..Selection::default() }
    }

    /// Returns the threshold that decides over a label.
    pub fn threshold_of(&self, label: LabelId) -> Threshold {
        self.per_label.get(label.index()).copied().unwrap_or(self.threshold)
    }
}

/// The selection from a text's scores: labels in bands of confidence, in each the highest score first.
///
/// Ties stand in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// The labels that are given to the text.
    pub tags: Vec<LabelScore>,
    /// The labels that a person may want to look at.
    pub suggestions: Vec<LabelScore>,
}

/// Parts the scores: those that reach their label's threshold are tags, of the others those that
/// reach the review threshold are suggestions.
///
/// Tags beyond a cap count among the others. A score of 0 is neither, whatever
/// the thresholds.
pub fn select(scores: Vec<LabelScore>, selection: &Selection) -> Selected {
    let (mut tags, mut others): (Vec<LabelScore>, Vec<LabelScore>) = scores
        .into_iter()
        .filter(|s| s.score > 0.0)
        .partition(|s| s.score >= selection.threshold_of(s.label).get());
    best_first(&mut tags);
    let n_tags = tags.len().min(selection.max_tags.map_or(usize::MAX, NonZeroUsize::get));
    let left_over = tags.split_off(n_tags);
    let Some(review) = selection.review else {
        return Selected { tags, suggestions: vec![] };
    };
    others.extend(left_over);
    others.retain(|s| s.score >= review.get());
    best_first(&mut others);
    Selected { tags, suggestions: others }
}

/// A label's score and the threshold that it was compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// The label.
    pub label: LabelId,
    /// Its score, within 0..=1.
    pub score: f32,
    /// Its threshold, within 0..=1.
    pub threshold: f32,
}

impl Margin {
    /// Returns the distance of the score to the threshold, within 0..=1: the smaller, the less certain
    /// is the decision over the label.
    pub fn distance(&self) -> f32 {
        (self.score - self.threshold).abs()
    }
}

/// Returns the `n` labels that were decided with the least certainty, the least certain first.
///
/// A label with a score of 0 is none of them: nothing speaks for it. Ties stand in the order of their
/// ids.
pub fn least_certain(scores: &[LabelScore], selection: &Selection, n: usize) -> Vec<Margin> {
    let margin = |s: &LabelScore| Margin {
        label: s.label,
        score: s.score,
        threshold: selection.threshold_of(s.label).get(),
    };
    let mut margins: Vec<Margin> = scores.iter().filter(|s| s.score > 0.0).map(margin).collect();
    let order =
        |a: &Margin, b: &Margin| a.distance().total_cmp(&b.distance()).then(a.label.cmp(&b.label));
    if n < margins.len() {
        margins.select_nth_unstable_by(n, order);
        margins.truncate(n);
    }
    margins.sort_unstable_by(order);
    margins
}

fn best_first(scores: &mut [LabelScore]) {
    scores.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.label.cmp(&b.label)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(scores: &[f32]) -> Vec<LabelScore> {
        let score = |(label, &score): (usize, &f32)| LabelScore {
            label: LabelId(label as u32),
            score,
            model: None,
            knn: score,
            shares: None,
        };
        scores.iter().enumerate().map(score).collect()
    }

    fn ids(scores: &[LabelScore]) -> Vec<u32> {
        scores.iter().map(|score| score.label.0).collect()
    }

    fn check(values: &[f32], selection: &Selection, expect: &[u32]) {
        let Selected { tags, suggestions } = select(scores(values), selection);
        assert_eq!(ids(&tags), expect);
        assert!(suggestions.is_empty());
    }

    fn check_suggestions(values: &[f32], selection: &Selection, tags: &[u32], expect: &[u32]) {
        let selected = select(scores(values), selection);
        assert_eq!((ids(&selected.tags), ids(&selected.suggestions)), (tags.into(), expect.into()));
    }

    #[test]
    fn labels_between_the_review_threshold_and_their_own_are_suggested() {
        let selection = Selection { review: Some(Threshold(0.25)), ..Selection::default() };
        check_suggestions(&[0.3, 0.24, 0.9, 0.25, 0.49], &selection, &[2], &[4, 0, 3]);
        let per_label = vec![Threshold(0.1), Threshold(0.8)];
        let selection = Selection { per_label, ..selection };
        check_suggestions(&[0.2, 0.7, 0.4], &selection, &[0], &[1, 2]);
        let none = Selection { review: Some(Threshold(0.0)), ..Selection::default() };
        check_suggestions(&[0.0, 0.1], &none, &[], &[1]);
    }

    #[test]
    fn what_a_cap_leaves_over_is_suggested_first() {
        let (max_tags, review) = (NonZeroUsize::new(1), Some(Threshold(0.3)));
        let selection = Selection { max_tags, review, ..Selection::default() };
        check_suggestions(&[0.4, 0.6, 0.9], &selection, &[2], &[1, 0]);
    }

    proptest! {
        /// Every label stands in one band at most, and a review threshold changes no tag.
        #[test]
        fn bands_do_not_overlap(
            values in prop::collection::vec(0.0f32..=1.0, 0..12),
            own in prop::collection::vec(0.0f32..=1.0, 0..12),
            threshold in 0.0f32..=1.0,
            review in 0.0f32..=1.0,
            max_tags in 1usize..12,
        ) {
            let per_label = own.into_iter().map(Threshold).collect();
            let max_tags = NonZeroUsize::new(max_tags);
            let without = Selection { per_label, max_tags, ..Selection::at(Threshold(threshold)) };
            let with = Selection { review: Some(Threshold(review)), ..without.clone() };
            let selected = select(scores(&values), &with);
            prop_assert_eq!(&selected.tags, &select(scores(&values), &without).tags);
            let mut all = ids(&selected.tags);
            all.extend(ids(&selected.suggestions));
            let n_labels = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), n_labels);
            // Nothing that reaches the review threshold is lost.
            let n_reached = values.iter().filter(|&&v| v > 0.0 && v >= review).count();
            prop_assert!(n_labels >= n_reached);
            prop_assert!(selected.suggestions.iter().all(|s| s.score >= review));
        }
    }

    #[test]
    fn scores_at_the_threshold_become_tags_best_first() {
        check(&[0.5, 0.4, 0.9], &Selection::default(), &[2, 0]);
        check(&[0.0, 0.1], &Selection::at(Threshold(0.0)), &[1]);
    }

    #[test]
    fn the_least_certain_labels_are_those_nearest_to_their_thresholds() {
        let per_label = vec![Threshold(0.8), Threshold(0.3)];
        let selection = Selection { per_label, ..Selection::default() };
        let check = |n, expect: &[u32]| {
            let margins = least_certain(&scores(&[0.7, 0.35, 0.9, 0.0, 0.2]), &selection, n);
            assert_eq!(margins.iter().map(|m| m.label.0).collect::<Vec<_>>(), expect);
        };
        check(9, &[1, 0, 4, 2]);
        check(2, &[1, 0]);
        check(0, &[]);
    }

    #[test]
    fn a_label_may_have_its_own_threshold() {
        let per_label = vec![Threshold(0.8), Threshold(0.3)];
        let selection = Selection { per_label, ..Selection::default() };
        check(&[0.7, 0.4, 0.6], &selection, &[2, 1]);
    }

    #[test]
    fn a_cap_keeps_the_best() {
        let selection = Selection { max_tags: NonZeroUsize::new(1), ..Selection::default() };
        check(&[0.6, 0.9], &selection, &[1]);
    }
}

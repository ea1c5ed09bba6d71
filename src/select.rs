//! Scores become tags: thresholds and caps, pure functions.

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

/// Which labels become tags.
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

/// Keeps the scores that reach their label's threshold, the highest first.
///
/// Ties stand in the order of their ids. A score of 0 is never a tag, whatever the threshold.
pub fn select(scores: Vec<LabelScore>, selection: &Selection) -> Vec<LabelScore> {
    let mut tags: Vec<LabelScore> = scores
        .into_iter()
        .filter(|s| s.score > 0.0 && s.score >= selection.threshold_of(s.label).get())
        .collect();
    tags.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.label.cmp(&b.label)));
    tags.truncate(selection.max_tags.map_or(usize::MAX, NonZeroUsize::get));
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scores: &[f32], selection: &Selection, expect: &[u32]) {
        let scores = scores
            .iter()
            .enumerate()
            .map(|(i, &score)| LabelScore {
                label: LabelId(i as u32),
                score,
                model: None,
                knn: score,
            })
            .collect();
        let tags: Vec<u32> = select(scores, selection).iter().map(|tag| tag.label.0).collect();
        assert_eq!(tags, expect);
    }

    #[test]
    fn scores_at_the_threshold_become_tags_best_first() {
        check(&[0.5, 0.4, 0.9], &Selection::default(), &[2, 0]);
        check(&[0.0, 0.1], &Selection::at(Threshold(0.0)), &[1]);
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

//! The learned mix: what model, neighbors and frequency say of a label, weighed as dev showed.
//!
//! It generalizes the paper's interpolation, `lambda knn + (1 - lambda) model`. Each voice is a *feature*
//! of a pair of text and label; a logistic regression, fitted on labeled texts that neither the model nor the
//! datastore has seen, weighs them:
//!
//! ```text
//! score(x, l) = sigmoid(w . z(x, l) + e_l + b)
//! ```
//!
//! z are the standardized features, e_l is what a label has of its own, b the intercept. The logit is a sum,
//! so each voice's share in it is exact ([`Shares`]). Products of a voice and the label's frequency are
//! features too: so a voice can weigh more for rare labels. Pure functions.

mod features;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::interpolate::{LabelScore, Shares};
use crate::{Error, LabelFrequencies, LabelId, Neighbor, Result, Selection, Threshold};

pub use features::{N_FEATURES, N_NEIGHBORS};
pub(crate) use features::{Pair, pairs};

use features::{SHOWN, VOTES, Voice};

/// The range of a mix's scale.
pub(crate) const SCALES: RangeInclusive<f32> = 1e-6..=1e6;

/// The largest magnitude of any other parameter: logits stay finite.
const LARGEST: f32 = 1e6;

/// Standardized features beyond this many standard deviations are clipped: texts unlike those of dev.
const CLIP: f32 = 4.0;

/// A fitted mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parameters", into = "Parameters")]
pub struct LearnedMix(Parameters);

/// The parameters of a [`LearnedMix`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// The unit of distances and temperatures, within 1e-6 to 1e6: dev's mean distance to the tenth
    /// neighbor.
    pub scale: f32,
    /// The mean of each feature on dev.
    pub mean: Vec<f32>,
    /// The standard deviation of each feature on dev, greater than 0.
    pub deviation: Vec<f32>,
    /// w, one for each feature.
    pub weights: Vec<f32>,
    /// e_l, one for each of the model's labels; none for those that come later.
    pub labels: Vec<f32>,
    /// b.
    pub intercept: f32,
    /// The score from which on a label is a tag.
    pub threshold: Threshold,
}

impl TryFrom<Parameters> for LearnedMix {
    type Error = Error;

    /// Checks the parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Mix`] where a value is beyond 1e6 or not a number, a deviation is not greater than 0, the
    /// scale is out of its range, or the number of features is another version's.
    fn try_from(parameters: Parameters) -> Result<Self> {
        let Parameters { scale, mean, deviation, weights, labels, intercept, .. } = &parameters;
        let lengths = [mean.len(), deviation.len(), weights.len()];
        if lengths != [N_FEATURES; 3] {
            return Err(Error::Mix { reason: "it has the features of another version" });
        }
        let all = [mean, deviation, weights, labels].into_iter().flatten();
        if !all.chain([intercept]).all(|value| value.abs() <= LARGEST) {
            return Err(Error::Mix { reason: "it has a value that is not within -1e6 to 1e6" });
        }
        if !SCALES.contains(scale) || deviation.iter().any(|&deviation| deviation <= 0.0) {
            return Err(Error::Mix { reason: "its scale or a deviation is out of range" });
        }
        Ok(LearnedMix(parameters))
    }
}

impl From<LearnedMix> for Parameters {
    fn from(mix: LearnedMix) -> Parameters {
        mix.0
    }
}

impl LearnedMix {
    /// Returns the parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.0
    }

    /// Returns the mix with another threshold.
    pub fn with_threshold(mut self, threshold: Threshold) -> Self {
        self.0.threshold = threshold;
        self
    }

    /// Returns a selection with the mix's threshold for all labels.
    pub fn selection(&self, selection: &Selection) -> Selection {
        Selection {
            threshold: self.0.threshold,
            per_label: Vec::new(),
            max_tags: selection.max_tags,
            review: selection.review,
        }
    }

    /// Weighs the neighbors whose vote stands in evidence for all votes, [`LabelScore::knn`]: the nearest
    /// 12.
    pub fn weights(&self, neighbors: &[Neighbor]) -> Vec<f32> {
        VOTES[SHOWN].weights(neighbors, self.0.scale)
    }

    /// Scores the labels that can be tags of a text, in the order of their ids.
    ///
    /// `model` are the model's scores with the labels that they belong to, in the order of the labels' ids;
    /// `neighbors` the nearest [`N_NEIGHBORS`], the nearest first, at least one. Labels with next to no score
    /// and no votes are left out: they are no tags.
    pub fn scores(
        &self,
        model: &[(LabelId, f32)],
        neighbors: &[Neighbor],
        frequencies: &LabelFrequencies,
    ) -> Vec<LabelScore> {
        let pairs = pairs(model, neighbors, frequencies, self.0.scale);
        pairs.into_iter().map(|pair| self.score(pair)).collect()
    }

    fn score(&self, pair: Pair) -> LabelScore {
        let Parameters { weights, labels, intercept, .. } = &self.0;
        let own = match pair.model {
            Some(_) => labels.get(pair.label.index()).copied().unwrap_or_default(),
            None => 0.0,
        };
        let mut shares = Shares { frequency: intercept + own, ..Shares::default() };
        let standardized = standardized(&pair.features, &self.0.mean, &self.0.deviation);
        for ((value, weight), voice) in
            standardized.into_iter().zip(weights).zip(Voice::OF_FEATURES)
        {
            *share_of(&mut shares, voice) += value * weight;
        }
        let Pair { label, model, knn, .. } = pair;
        LabelScore { label, score: sigmoid(shares.logit()), model, knn, shares: Some(shares) }
    }
}

/// Standardizes and clips features.
pub(crate) fn standardized(
    features: &[f32; N_FEATURES],
    mean: &[f32],
    deviation: &[f32],
) -> [f32; N_FEATURES] {
    std::array::from_fn(|at| ((features[at] - mean[at]) / deviation[at]).clamp(-CLIP, CLIP))
}

fn share_of(shares: &mut Shares, voice: Voice) -> &mut f32 {
    match voice {
        Voice::Model => &mut shares.model,
        Voice::Neighbors => &mut shares.neighbors,
        Voice::Frequency => &mut shares.frequency,
        Voice::Text => &mut shares.text,
    }
}

/// Returns 1 / (1 + e^-x).
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ItemId, LabelSet};

    fn parameters() -> Parameters {
        Parameters {
            scale: 0.5,
            mean: vec![0.25; N_FEATURES],
            deviation: vec![2.0; N_FEATURES],
            weights: (0..N_FEATURES).map(|at| 0.1 * at as f32 - 0.7).collect(),
            labels: vec![0.5, -0.5],
            intercept: -1.0,
            threshold: Threshold::default(),
        }
    }

    fn neighbor(distance: f32, labels: &[u32]) -> Neighbor {
        let labels: LabelSet = labels.iter().copied().map(LabelId).collect();
        Neighbor::new(ItemId(0), distance, labels)
    }

    #[test]
    fn the_shares_of_a_score_sum_to_its_logit() {
        let mix = LearnedMix::try_from(parameters()).unwrap();
        let neighbors = [neighbor(0.1, &[0, 3]), neighbor(0.4, &[3])];
        let frequencies = LabelFrequencies::count(neighbors.iter().map(|n| &n.labels));
        let model = [(LabelId(0), 0.8), (LabelId(1), 0.001)];
        let scores = mix.scores(&model, &neighbors, &frequencies);
        // Label 1 has next to no score and no votes; label 3 is unknown to the model.
        assert_eq!(scores.iter().map(|s| s.label.0).collect::<Vec<_>>(), [0, 3]);
        for score in scores {
            let logit = score.shares.unwrap().logit();
            assert!((score.score - sigmoid(logit)).abs() < 1e-6, "{score:?}");
            assert_eq!(score.model.is_some(), score.label == LabelId(0));
        }
    }

    #[test]
    fn parameters_that_cannot_be_used_are_refused() {
        let refused = |change: fn(&mut Parameters), expect: &str| {
            let mut changed = parameters();
            change(&mut changed);
            let json = serde_json::to_string(&changed).unwrap();
            assert!(serde_json::from_str::<LearnedMix>(&json).is_err(), "{json}");
            let error = LearnedMix::try_from(changed).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        refused(|p| p.weights.truncate(3), "another version");
        refused(|p| p.labels[1] = f32::NAN, "not within -1e6 to 1e6");
        refused(|p| p.weights[2] = f32::MAX, "not within -1e6 to 1e6");
        refused(|p| p.intercept = f32::NEG_INFINITY, "not within -1e6 to 1e6");
        refused(|p| p.deviation[3] = 0.0, "out of range");
        for scale in [-1.0, 0.0, 1e-30, f32::NAN] {
            let error = LearnedMix::try_from(Parameters { scale, ..parameters() }).unwrap_err();
            assert!(error.to_string().contains("out of range"), "{error}");
        }
    }

    /// Evidence is JSON, which has no infinite numbers.
    #[test]
    fn the_most_extreme_parameters_give_finite_scores() {
        for (weight, deviation, scale) in
            [(LARGEST, 1e-45, 1e-6), (-LARGEST, 1e-45, 1e6), (LARGEST, LARGEST, 1e-6)]
        {
            let mix = LearnedMix::try_from(Parameters {
                scale,
                mean: vec![LARGEST; N_FEATURES],
                deviation: vec![deviation; N_FEATURES],
                weights: vec![weight; N_FEATURES],
                ..parameters()
            });
            let neighbors = [neighbor(f32::MAX, &[0])];
            let scores =
                mix.unwrap().scores(&[(LabelId(0), 1.0)], &neighbors, &LabelFrequencies::default());
            let score = scores[0];
            assert!(score.score.is_finite() && score.shares.unwrap().logit().is_finite());
        }
    }

    #[test]
    fn a_mix_is_read_as_it_was_written() {
        let mix = LearnedMix::try_from(parameters()).unwrap();
        let json = serde_json::to_string(&mix).unwrap();
        assert_eq!(serde_json::from_str::<LearnedMix>(&json).unwrap(), mix);
    }
}

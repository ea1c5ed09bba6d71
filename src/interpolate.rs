//! Neighbors vote, and their votes are mixed with the model's scores: pure functions.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::{Error, LabelId, LabelVocabulary, Neighbor, Result, Scores};

/// The softmax's temperature tau: greater than 0 and finite.
///
/// A small tau lets the nearest neighbor decide alone, a large one lets all k vote alike.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Temperature(f32);

impl Temperature {
    /// Checks a temperature.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] unless `tau` is finite and greater than 0.
    pub fn new(tau: f32) -> Result<Self> {
        if tau.is_finite() && tau > 0.0 {
            return Ok(Temperature(tau));
        }
        Err(Error::Parameter { name: "tau", value: tau.into(), expected: "greater than 0" })
    }

    /// Returns tau.
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Temperature {
    type Error = Error;

    fn try_from(tau: f32) -> Result<Self> {
        Temperature::new(tau)
    }
}

impl From<Temperature> for f32 {
    fn from(tau: Temperature) -> f32 {
        tau.0
    }
}

/// The weight lambda of the kNN side; the model's side weighs 1 - lambda.
///
/// It is one number within 0..=1 for all texts, or [adaptive](Proportion::ADAPTIVE): a lambda(x) of
/// its own for each text. Written out it is that number, or the word `adaptive`.
///
/// ```
/// use autotag::Proportion;
///
/// assert_eq!(Proportion::new(0.25)?.to_string(), "0.25");
/// assert_eq!(Proportion::ADAPTIVE.to_string(), "adaptive");
/// # Ok::<(), autotag::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Proportion(Kind);

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Kind {
    Fixed(f32),
    Adaptive,
}

/// A proportion in a file: a plain number, or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number within 0..=1 or \"adaptive\"")]
enum Written {
    Number(f32),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Adaptive,
}

impl Proportion {
    /// The model alone.
    pub const MODEL: Proportion = Proportion(Kind::Fixed(0.0));
    /// The neighbors alone.
    pub const NEIGHBORS: Proportion = Proportion(Kind::Fixed(1.0));
    /// Each text's own lambda(x), as [`adaptive_lambda`] says.
    pub const ADAPTIVE: Proportion = Proportion(Kind::Adaptive);

    /// Checks a proportion that is the same for all texts.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] unless `lambda` is within 0..=1.
    pub fn new(lambda: f32) -> Result<Self> {
        if (0.0..=1.0).contains(&lambda) {
            return Ok(Proportion(Kind::Fixed(lambda)));
        }
        let value = lambda.into();
        Err(Error::Parameter { name: "lambda", value, expected: "within 0..=1, or adaptive" })
    }

    /// Returns lambda where it is the same for all texts.
    pub fn fixed(self) -> Option<f32> {
        match self.0 {
            Kind::Fixed(lambda) => Some(lambda),
            Kind::Adaptive => None,
        }
    }
}

impl fmt::Display for Proportion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Fixed(lambda) => lambda.fmt(formatter),
            Kind::Adaptive => formatter.pad("adaptive"),
        }
    }
}

impl TryFrom<Written> for Proportion {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Number(lambda) => Proportion::new(lambda),
            Written::Word(Word::Adaptive) => Ok(Proportion::ADAPTIVE),
        }
    }
}

impl From<Proportion> for Written {
    fn from(proportion: Proportion) -> Written {
        match proportion.0 {
            Kind::Fixed(lambda) => Written::Number(lambda),
            Kind::Adaptive => Written::Word(Word::Adaptive),
        }
    }
}

/// The number of neighbors that vote, the sharpness of their weights, and the weight of their vote.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interpolation {
    /// The number of neighbors k.
    pub k: NonZeroUsize,
    /// The temperature tau.
    pub temperature: Temperature,
    /// The weight lambda of the kNN side.
    pub proportion: Proportion,
}

impl Default for Interpolation {
    /// Returns the paper's setting for AAPD: k = 5, tau = 1, lambda = 0.5.
    fn default() -> Self {
        Interpolation {
            k: NonZeroUsize::new(5).expect("5 is not 0"),
            temperature: Temperature(1.0),
            proportion: Proportion(Kind::Fixed(0.5)),
        }
    }
}

/// A label's interpolated score and the two parts that it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelScore {
    /// The label.
    pub label: LabelId,
    /// The interpolated score, within 0..=1.
    pub score: f32,
    /// The model's score, absent for a label that the model does not know.
    pub model: Option<f32>,
    /// The kNN score, 0 where no neighbor has the label.
    pub knn: f32,
    /// The parts of the score's logit, where a [`LearnedMix`](crate::LearnedMix) made it.
    pub shares: Option<Shares>,
}

/// The parts of the logit of a score that a [`LearnedMix`](crate::LearnedMix) made: they sum to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// The model's score.
    pub model: f32,
    /// The neighbors' votes.
    pub neighbors: f32,
    /// The label's frequency among the labeled documents, and what the label has of its own.
    pub frequency: f32,
    /// The text as a whole: the label's rank in it, the other labels' scores, the nearest distance.
    pub text: f32,
}

impl Shares {
    /// Returns the logit.
    pub fn logit(&self) -> f32 {
        self.model + self.neighbors + self.frequency + self.text
    }
}

/// Weighs the neighbors by their distance: alpha_i = softmax_i(-d(h_i, f(x)) / tau).
///
/// The weights stand in the order of the distances and sum to 1; there are none for no neighbors.
pub fn weights(distances: &[f32], temperature: Temperature) -> Vec<f32> {
    let nearest = distances.iter().copied().fold(f32::INFINITY, f32::min);
    let unnormalized: Vec<f32> =
        distances.iter().map(|distance| ((nearest - distance) / temperature.get()).exp()).collect();
    let total: f32 = unnormalized.iter().sum();
    unnormalized.into_iter().map(|weight| weight / total).collect()
}

/// The votes of a text's neighbors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Votes {
    /// The kNN scores, within 0..=1, of the labels that a neighbor has, in the order of their ids.
    pub scores: Vec<(LabelId, f32)>,
    /// The labels from whose vote all neighbors abstain, in the order of their ids: the model alone
    /// answers.
    pub undecided: Vec<LabelId>,
}

/// The least weight of the neighbors that decided on a label for their vote to count.
const LEAST_DECIDED: f32 = 1e-3;

/// Lets the neighbors vote: knn_l = sum_i alpha_i y_il, divided by the weight of the neighbors whose
/// people decided on label l.
///
/// `weights` are the alpha_i of [`weights`], one for each neighbor. Where all neighbors are labeled
/// completely that weight is 1, and the vote is the paper's.
pub fn votes(neighbors: &[Neighbor], weights: &[f32]) -> Votes {
    let mut scores = BTreeMap::new();
    let mut abstaining: BTreeMap<LabelId, f32> = BTreeMap::new();
    for (neighbor, &weight) in neighbors.iter().zip(weights) {
        for &label in neighbor.labels.ids() {
            *scores.entry(label).or_insert(0.0) += weight;
        }
        for &label in neighbor.undecided.ids() {
            *abstaining.entry(label).or_default() += weight;
        }
    }
    let is_undecided = |weight: f32| 1.0 - weight < LEAST_DECIDED;
    let undecided: Vec<LabelId> =
        abstaining.iter().filter(|(_, weight)| is_undecided(**weight)).map(|(&l, _)| l).collect();
    scores.retain(|label, _| undecided.binary_search(label).is_err());
    let share = |(label, score): (LabelId, f32)| {
        let decided = 1.0 - abstaining.get(&label).copied().unwrap_or_default();
        (label, (score / decided).min(1.0))
    };
    Votes { scores: scores.into_iter().map(share).collect(), undecided }
}

/// The model's score from which on it is confident of a label.
pub(crate) const CONFIDENT: f32 = 0.5;

/// Chooses one text's proportion: lambda(x) = min { knn_l : model_l >= 0.5 }, or 1 where the model
/// is confident of no label.
///
/// It is that of DENN (arXiv 2408.03202): neighbors weigh as much as they confirm the labels that
/// the model is confident of, and decide alone where there are none. `confirmed` are the kNN scores
/// knn_l of those labels, 0 for one that no neighbor has.
pub fn adaptive_lambda(confirmed: impl IntoIterator<Item = f32>) -> f32 {
    confirmed.into_iter().fold(1.0, f32::min)
}

/// Returns the proportion of one text. Labels from whose vote all neighbors abstain do not count: nobody
/// could have confirmed them.
fn lambda(
    proportion: Proportion,
    model: impl Iterator<Item = (LabelId, f32)>,
    Votes { scores, undecided }: &Votes,
) -> f32 {
    let confident = model
        .filter(|(label, score)| *score >= CONFIDENT && undecided.binary_search(label).is_err());
    proportion.fixed().unwrap_or_else(|| {
        adaptive_lambda(confident.map(|(label, _)| knn_of(scores, label).unwrap_or_default()))
    })
}

fn knn_of(knn: &[(LabelId, f32)], label: LabelId) -> Option<f32> {
    let found = knn.binary_search_by_key(&label, |(label, _)| *label);
    found.ok().map(|position| knn[position].1)
}

/// Mixes both sides: score = lambda * knn + (1 - lambda) * model.
///
/// A label that the model does not know has only its kNN score, as if lambda were 1 for it; one from
/// whose vote all neighbors abstain has only its model score, as if lambda were 0.
/// `knn` comes from [`votes`]; pass `None` where the datastore had no neighbor to offer: the
/// model alone answers then. The result holds every label of the model, then the labels that only
/// neighbors have, in the order of their ids.
pub fn interpolate(
    model: Option<&Scores>,
    knn: Option<&Votes>,
    proportion: Proportion,
) -> Vec<LabelScore> {
    interpolate_moved(model, &[], knn, proportion)
}

/// Mixes both sides as [`interpolate`] does, where the model's scores of labels that were merged
/// stand for others.
///
/// A label with an active fate has the highest score of all that it stands for, the others have 0.
pub fn interpolate_changed(
    model: Option<&Scores>,
    knn: Option<&Votes>,
    proportion: Proportion,
    labels: &LabelVocabulary,
) -> Vec<LabelScore> {
    let Some(model) = model.filter(|_| labels.is_changed()) else {
        return interpolate(model, knn, proportion);
    };
    let (own, moved) = moved_scores(model, labels);
    interpolate_moved(Some(&own), &moved, knn, proportion)
}

/// Returns the model's scores of labels as they stand now, in the order of the labels' ids.
pub(crate) fn changed_scores(
    model: Option<&Scores>,
    labels: &LabelVocabulary,
) -> Vec<(LabelId, f32)> {
    let Some(model) = model.filter(|_| labels.is_changed()) else { return numbered(model) };
    let (own, moved) = moved_scores(model, labels);
    let mut scores = numbered(Some(&own));
    scores.extend(moved);
    scores
}

/// Returns the model's scores with their labels.
pub(crate) fn numbered(model: Option<&Scores>) -> Vec<(LabelId, f32)> {
    let scores = model.map_or(&[][..], Scores::values);
    (0..).map(LabelId).zip(scores.iter().copied()).collect()
}

/// Moves the model's scores to the labels that stand for its own: those of its labels, then others in
/// the order of their ids.
fn moved_scores(model: &Scores, labels: &LabelVocabulary) -> (Scores, Vec<(LabelId, f32)>) {
    let mut own = vec![0.0f32; model.values().len()];
    let mut moved = BTreeMap::new();
    for (label, &score) in model.values().iter().enumerate() {
        let Some(target) = labels.resolve(LabelId(label as u32)) else { continue };
        let known = match own.get_mut(target.index()) {
            Some(known) => known,
            None => moved.entry(target).or_insert(0.0),
        };
        *known = known.max(score);
    }
    let own = Scores::new(own).expect("they were within 0..=1");
    (own, moved.into_iter().collect())
}

/// `moved` are the model's scores of labels beyond its own, in the order of their ids.
fn interpolate_moved(
    model: Option<&Scores>,
    moved: &[(LabelId, f32)],
    knn: Option<&Votes>,
    proportion: Proportion,
) -> Vec<LabelScore> {
    let model = model.map_or(&[][..], Scores::values);
    let own = (0..).map(LabelId).zip(model.iter().copied());
    let all = own.chain(moved.iter().copied());
    let lambda = knn.map_or(0.0, |knn| lambda(proportion, all.clone(), knn));
    let mut scores: Vec<LabelScore> = all
        .map(|(label, model)| LabelScore {
            label,
            score: (1.0 - lambda) * model,
            model: Some(model),
            knn: 0.0,
            shares: None,
        })
        .collect();
    let position = |label: LabelId| match label.index() < model.len() {
        true => Some(label.index()),
        false => {
            let found = moved.binary_search_by_key(&label, |(label, _)| *label);
            found.ok().map(|position| model.len() + position)
        }
    };
    let Some(Votes { scores: knn, undecided }) = knn else { return scores };
    for position in undecided.iter().filter_map(|&label| position(label)) {
        scores[position].score = scores[position].model.unwrap_or_default();
    }
    for &(label, knn) in knn {
        match position(label) {
            Some(position) => {
                scores[position].knn = knn;
                scores[position].score += lambda * knn;
            }
            None => scores.push(LabelScore { label, score: knn, model: None, knn, shares: None }),
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ItemId, LabelSet};

    fn neighbor(distance: f32, labels: &[u32]) -> Neighbor {
        let labels: LabelSet = labels.iter().copied().map(LabelId).collect();
        Neighbor::new(ItemId(0), distance, labels)
    }

    #[test]
    fn a_nearer_neighbor_weighs_more() {
        let weights = weights(&[1.0, 2.0], Temperature(1.0));
        let expected = 1.0 / (1.0 + (-1.0f32).exp());
        assert!((weights[0] - expected).abs() < 1e-6);
        assert!(super::weights(&[], Temperature(1.0)).is_empty());
    }

    #[test]
    fn a_label_the_model_does_not_know_has_its_knn_score() {
        let model = Scores::new(vec![0.8]).unwrap();
        let knn = votes(&[neighbor(1.0, &[0, 3])], &[1.0]);
        let scores = interpolate(Some(&model), Some(&knn), Proportion::new(0.25).unwrap());
        assert!((scores[0].score - (0.25 + 0.75 * 0.8)).abs() < 1e-6);
        assert_eq!(
            scores[1],
            LabelScore { label: LabelId(3), score: 1.0, model: None, knn: 1.0, shares: None }
        );
    }

    #[test]
    fn a_neighbor_abstains_from_the_vote_on_undecided_labels() {
        let undecided: LabelSet = [LabelId(1), LabelId(2)].into_iter().collect();
        let partial = Neighbor { undecided, ..neighbor(1.0, &[0]) };
        let both = [neighbor(1.0, &[1]), partial.clone()];
        let votes_of_both = votes(&both, &[0.25, 0.75]);
        assert_eq!(votes_of_both.scores, [(LabelId(0), 0.75), (LabelId(1), 1.0)]);
        assert_eq!(votes_of_both.undecided, []);
        // Label 2: the one that decided does not have it.
        let half = Proportion::new(0.5).unwrap();
        let model = Scores::new(vec![0.0, 0.5, 0.5]).unwrap();
        let scores = interpolate(Some(&model), Some(&votes_of_both), half);
        let mixed: Vec<f32> = scores.iter().map(|score| score.score).collect();
        assert_eq!(mixed, [0.375, 0.75, 0.25]);
        // All abstain: the model alone answers.
        let scores = interpolate(Some(&model), Some(&votes(&[partial], &[1.0])), half);
        let mixed: Vec<f32> = scores.iter().map(|score| score.score).collect();
        assert_eq!(mixed, [0.5, 0.5, 0.5]);
    }

    #[test]
    fn without_neighbors_the_model_alone_answers() {
        let model = Scores::new(vec![0.8, 0.1]).unwrap();
        let scores = interpolate(Some(&model), None, Proportion::new(0.5).unwrap());
        let mixed: Vec<f32> = scores.iter().map(|score| score.score).collect();
        assert_eq!(mixed, [0.8, 0.1]);
    }

    #[test]
    fn scores_of_changed_labels_count_for_those_that_stand_for_them() {
        let mut labels = LabelVocabulary::new(["a", "b", "c", "d", "new", "old"]).unwrap();
        let [a, b, c, d, new, old] = [0, 1, 2, 3, 4, 5].map(LabelId);
        labels.merge(a, b).unwrap();
        labels.merge(c, new).unwrap();
        labels.retire(d).unwrap();
        let model = Scores::new(vec![0.8, 0.2, 0.6, 0.9]).unwrap();
        let scores = vec![(b, 0.5), (new, 1.0), (old, 0.25)];
        let knn = Votes { scores, undecided: vec![] };
        let half = Proportion::new(0.5).unwrap();
        let scores = interpolate_changed(Some(&model), Some(&knn), half, &labels);
        let of = |label| {
            let found = scores.iter().find(|score| score.label == label);
            found.map(|score| (score.score, score.model))
        };
        assert_eq!(of(a), Some((0.0, Some(0.0))));
        assert_eq!(of(b), Some((0.65, Some(0.8))));
        assert_eq!(of(c), Some((0.0, Some(0.0))));
        assert_eq!(of(d), Some((0.0, Some(0.0))));
        assert_eq!(of(new), Some((0.8, Some(0.6))));
        assert_eq!(of(old), Some((0.25, None)));
        let adaptive = interpolate_changed(Some(&model), Some(&knn), Proportion::ADAPTIVE, &labels);
        assert_eq!(adaptive[1].score, 0.5 * 0.5 + 0.5 * 0.8);
    }

    #[test]
    fn an_adaptive_lambda_is_what_neighbors_confirm() {
        let model = |scores: [f32; 3]| Scores::new(scores).unwrap();
        let lambda_of = |scores, knn: &[(LabelId, f32)]| {
            let knn = Votes { scores: knn.to_vec(), undecided: vec![] };
            let scores = interpolate(Some(&model(scores)), Some(&knn), Proportion::ADAPTIVE);
            // The last label has no kNN score: what is left of the model's is 1 - lambda.
            1.0 - scores[2].score / scores[2].model.unwrap()
        };
        let knn = [(LabelId(0), 0.75), (LabelId(1), 0.25)];
        assert_eq!(lambda_of([0.9, 0.1, 0.25], &knn), 0.75);
        assert_eq!(lambda_of([0.9, 0.5, 0.25], &knn), 0.25);
        assert_eq!(lambda_of([0.4, 0.4, 0.25], &knn), 1.0);
        assert_eq!(lambda_of([0.9, 0.1, 0.5], &knn), 0.0);
        // All abstain on label 1: it neither confirms nor contradicts.
        let knn = Votes { scores: vec![(LabelId(0), 0.75)], undecided: vec![LabelId(1)] };
        let model = model([0.9, 0.8, 0.25]);
        let scores = interpolate(Some(&model), Some(&knn), Proportion::ADAPTIVE);
        assert_eq!((scores[1].score, scores[2].score), (0.8, 0.25 * 0.25));
    }

    #[test]
    fn a_proportion_is_written_as_a_number_or_a_word() {
        let check = |proportion: Proportion, json: &str| {
            assert_eq!(serde_json::to_string(&proportion).unwrap(), json);
            assert_eq!(serde_json::from_str::<Proportion>(json).unwrap(), proportion);
            assert_eq!(json.trim_matches('"'), proportion.to_string());
        };
        check(Proportion::new(0.9).unwrap(), "0.9");
        check(Proportion::ADAPTIVE, "\"adaptive\"");
        assert_eq!(serde_json::from_str::<Proportion>("1").unwrap(), Proportion::NEIGHBORS);
        for wrong in ["1.5", "\"half\"", "null"] {
            let error = serde_json::from_str::<Proportion>(wrong).unwrap_err().to_string();
            assert!(error.contains("0..=1") && error.contains("adaptive"), "{error}");
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        for tau in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(Temperature::new(tau).is_err(), "{tau}");
        }
        for lambda in [-0.1, 1.1, f32::NAN] {
            assert!(Proportion::new(lambda).is_err(), "{lambda}");
        }
    }

    proptest! {
        #[test]
        fn weights_sum_to_one(
            distances in prop::collection::vec(0.0f32..1e4, 1..30),
            tau in 1e-3f32..1e3,
        ) {
            let total: f32 = weights(&distances, Temperature(tau)).iter().sum();
            prop_assert!((total - 1.0).abs() < 1e-4, "{total}");
        }

        #[test]
        fn lambda_0_gives_the_model_and_1_the_neighbors(
            model in prop::collection::vec(0.0f32..=1.0, 4),
            distances in prop::collection::vec(0.0f32..10.0, 1..6),
        ) {
            let model = Scores::new(model).unwrap();
            let neighbors: Vec<Neighbor> =
                distances.iter().enumerate().map(|(i, &d)| neighbor(d, &[i as u32 % 4])).collect();
            let knn = votes(&neighbors, &weights(&distances, Temperature(1.0)));
            for score in interpolate(Some(&model), Some(&knn), Proportion::MODEL) {
                prop_assert_eq!(Some(score.score), score.model);
            }
            for score in interpolate(Some(&model), Some(&knn), Proportion::NEIGHBORS) {
                prop_assert!((score.score - score.knn).abs() < 1e-6);
            }
            for score in interpolate(Some(&model), Some(&knn), Proportion::ADAPTIVE) {
                let parts = [score.knn, score.model.unwrap()];
                let (low, high) = (parts[0].min(parts[1]), parts[0].max(parts[1]));
                prop_assert!((low - 1e-6..=high + 1e-6).contains(&score.score), "{score:?}");
            }
        }
    }
}

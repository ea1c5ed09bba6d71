//! The features of a pair of text and label.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::interpolate::{Votes, votes, weights};
use crate::{LabelFrequencies, LabelId, Neighbor, Temperature};

/// The neighbors that the features are computed from.
pub const N_NEIGHBORS: NonZeroUsize = NonZeroUsize::new(40).expect("40 is not 0");

/// The number of features.
pub const N_FEATURES: usize = 20;

/// A vote's number of neighbors, its temperature in units of the mix's scale, and the clipping of its logit.
pub(super) struct VoteSetting {
    k: usize,
    temperature: f32,
    clip: f32,
}

impl VoteSetting {
    /// Weighs the nearest k neighbors.
    pub(super) fn weights(&self, neighbors: &[Neighbor], scale: f32) -> Vec<f32> {
        let nearest = neighbors.iter().take(self.k);
        let distances: Vec<f32> = nearest.map(|neighbor| neighbor.distance).collect();
        let temperature = Temperature::new(self.temperature * scale);
        weights(&distances, temperature.expect("a mix's scale is within its range"))
    }
}

/// The votes: of the nearest alone, of some, and of all alike.
pub(super) const VOTES: [VoteSetting; 3] = [
    VoteSetting { k: 5, temperature: 0.15, clip: 0.02 },
    VoteSetting { k: 12, temperature: 0.3, clip: 0.02 },
    VoteSetting { k: N_NEIGHBORS.get(), temperature: 1.5, clip: 0.01 },
];

/// The vote that stands for all in evidence.
pub(super) const SHOWN: usize = 1;

/// The clipping of the logit of a model's score.
const MODEL_CLIP: f32 = 1e-3;

/// A label is a candidate from this model score on.
const LEAST_MODEL: f32 = 0.03;

/// A label is a candidate from this share of a vote on.
const LEAST_VOTE: f32 = 0.06;

/// Model scores up to this one do not count in their sum: an index forgets the smallest.
const COUNTED_MODEL: f32 = 1.0 / 256.0;

/// The neighbors whose mean number of labels is a feature.
const N_COUNTED: usize = 10;

/// The side that a feature belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The model's score.
    Model,
    /// The neighbors' votes.
    Neighbors,
    /// The label's frequency.
    Frequency,
    /// The text as a whole.
    Text,
}

impl Voice {
    /// The voice of each feature, in the order of [`features`].
    pub(crate) const OF_FEATURES: [Voice; N_FEATURES] = {
        use Voice::{Frequency, Model, Neighbors, Text};
        [
            Model, Neighbors, Neighbors, Neighbors, // the voices themselves
            Frequency, // and the frequency
            Model, Neighbors, Neighbors, Neighbors, // the voices times the frequency
            Model, Neighbors, // squares
            Text, Text, Text, Text, // the label's rank
            Text, Text, Text, Text, Text, // the text
        ]
    };
}

/// A text and a label that may be its tag.
pub(crate) struct Pair {
    pub(crate) label: LabelId,
    pub(crate) model: Option<f32>,
    /// The weight of the neighbors that have the label, as they are shown.
    pub(crate) knn: f32,
    pub(crate) features: [f32; N_FEATURES],
}

/// The model's score and the votes of a label.
#[derive(Clone, Copy, Default)]
struct Said {
    model: Option<f32>,
    votes: [f32; VOTES.len()],
}

impl Said {
    fn is_candidate(&self) -> bool {
        self.model.is_some_and(|model| model > LEAST_MODEL)
            || self.votes.iter().any(|&vote| vote > LEAST_VOTE)
    }

    /// Mixes both by weights that rank labels well without any fitting.
    fn rough(&self) -> f32 {
        0.6 * self.model.unwrap_or_default() + 0.4 * self.votes[SHOWN]
    }
}

/// Returns the pairs of a text with the labels that may be its tags, in the order of their ids.
///
/// `scale` is the unit of distances.
pub(crate) fn pairs(
    model: &[(LabelId, f32)],
    neighbors: &[Neighbor],
    frequencies: &LabelFrequencies,
    scale: f32,
) -> Vec<Pair> {
    let neighbors = &neighbors[..neighbors.len().min(N_NEIGHBORS.get())];
    let said = said(model, neighbors, scale);
    let sum_of_model: f32 =
        model.iter().map(|(_, score)| score).filter(|&&s| s > COUNTED_MODEL).sum();
    let text = TextFeatures::new(&said, sum_of_model, neighbors, scale);
    let ranks = ranks(&said);
    let pairs = said.into_iter().zip(ranks);
    pairs
        .map(|((label, said), rank)| Pair {
            label,
            model: said.model,
            knn: said.votes[SHOWN],
            features: features(&said, rank, &text, frequencies.log_share(label)),
        })
        .collect()
}

/// Returns the model's score and the votes of each candidate.
///
/// The work depends on the labels that are likely or that neighbors have, not on the number of all labels.
fn said(model: &[(LabelId, f32)], neighbors: &[Neighbor], scale: f32) -> BTreeMap<LabelId, Said> {
    let of_model = |label: LabelId| {
        let found = model.binary_search_by_key(&label, |&(label, _)| label);
        found.ok().map(|at| model[at].1)
    };
    let likely = model.iter().filter(|&&(_, score)| score > LEAST_MODEL);
    let mut said: BTreeMap<LabelId, Said> = likely
        .map(|&(label, score)| (label, Said { model: Some(score), ..Said::default() }))
        .collect();
    let entry = |said: &mut BTreeMap<LabelId, Said>, label, at: usize, vote: Option<f32>| {
        let said =
            said.entry(label).or_insert_with(|| Said { model: of_model(label), ..Said::default() });
        // Where all neighbors abstain, the model speaks for them too.
        said.votes[at] = vote.or(said.model).unwrap_or_default();
    };
    for (at, setting) in VOTES.iter().enumerate() {
        let Votes { scores, undecided } = votes(neighbors, &setting.weights(neighbors, scale));
        scores.into_iter().for_each(|(label, vote)| entry(&mut said, label, at, Some(vote)));
        undecided.into_iter().for_each(|label| entry(&mut said, label, at, None));
    }
    said.retain(|_, said| said.is_candidate());
    said
}

/// Returns each label's rank in its text, from 0.
fn ranks(said: &BTreeMap<LabelId, Said>) -> Vec<usize> {
    let rough: Vec<f32> = said.values().map(Said::rough).collect();
    let mut order: Vec<usize> = (0..rough.len()).collect();
    order.sort_by(|&a, &b| rough[b].total_cmp(&rough[a]));
    let mut ranks = vec![0; order.len()];
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = rank;
    }
    ranks
}

/// The features that all pairs of a text have in common.
struct TextFeatures([f32; 5]);

impl TextFeatures {
    fn new(
        said: &BTreeMap<LabelId, Said>,
        sum_of_model: f32,
        neighbors: &[Neighbor],
        scale: f32,
    ) -> Self {
        let rough = said.values().map(Said::rough);
        let (most, sum) =
            rough.fold((0.0f32, 0.0), |(most, sum), rough| (most.max(rough), sum + rough));
        let counted = &neighbors[..neighbors.len().min(N_COUNTED)];
        let n_labels: usize = counted.iter().map(|neighbor| neighbor.labels.ids().len()).sum();
        let mean_labels = n_labels as f32 / counted.len().max(1) as f32;
        let nearest = neighbors.first().map_or(0.0, |neighbor| neighbor.distance);
        TextFeatures([
            most,
            (0.05 + sum).ln(),
            (0.05 + sum_of_model).ln(),
            nearest / scale,
            (0.1 + mean_labels).ln(),
        ])
    }
}

/// Returns the features, in the order of [`Voice::OF_FEATURES`].
fn features(said: &Said, rank: usize, text: &TextFeatures, frequency: f32) -> [f32; N_FEATURES] {
    let model = logit(said.model.unwrap_or_default(), MODEL_CLIP);
    let [near, some, all]: [f32; VOTES.len()] =
        std::array::from_fn(|at| logit(said.votes[at], VOTES[at].clip));
    let is = |condition: bool| f32::from(u8::from(condition));
    let TextFeatures([most, sum, sum_of_model, nearest, n_labels]) = *text;
    [
        model,
        near,
        some,
        all,
        frequency,
        frequency * model,
        frequency * near,
        frequency * some,
        frequency * all,
        model * model,
        some * some,
        is(rank == 0),
        is(rank == 1),
        (1.0 + rank as f32).ln(),
        is(rank == 0) * model,
        most,
        sum,
        sum_of_model,
        nearest,
        n_labels,
    ]
}

/// Returns the logit of a probability clipped to [clip, 1 - clip].
fn logit(p: f32, clip: f32) -> f32 {
    let p = p.clamp(clip, 1.0 - clip);
    (p / (1.0 - p)).ln()
}

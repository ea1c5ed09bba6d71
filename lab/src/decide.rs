//! The decisions that scores lead to, and which of them are right.

use autotag::interpolate::LabelScore;
use autotag::metrics::Confusion;
use autotag::select::select;
use autotag::tune::{self, Method, Prediction};
use autotag::{Interpolation, LabelFrequencies, LabelSet, LearnedMix, Selection};

/// Returns the labels that a text gets.
pub fn decide(
    prediction: &Prediction,
    method: Method,
    interpolation: &Interpolation,
    selection: &Selection,
) -> LabelSet {
    tags(tune::scores(prediction, method, interpolation), selection)
}

/// Returns the labels that a text gets by a learned mix.
pub fn decide_by_mix(
    prediction: &Prediction,
    mix: &LearnedMix,
    frequencies: &LabelFrequencies,
    selection: &Selection,
) -> LabelSet {
    let selection = tune::mixed_selection(prediction, mix, selection);
    tags(tune::mixed_scores(prediction, mix, frequencies), &selection)
}

/// Returns the labels whose scores make them tags.
pub(crate) fn tags(scores: Vec<LabelScore>, selection: &Selection) -> LabelSet {
    select(scores, selection).tags.iter().map(|tag| tag.label).collect()
}

/// Counts one text's right and wrong decisions.
pub fn decisions(given: &LabelSet, predicted: &LabelSet) -> Confusion {
    let true_positives = given.shared(predicted);
    Confusion {
        true_positives,
        false_positives: predicted.ids().len() - true_positives,
        false_negatives: given.ids().len() - true_positives,
    }
}

//! The settings of tagging, and those given in their place.

use std::num::NonZeroUsize;
use std::sync::Arc;

use autotag::mix::N_NEIGHBORS;
use autotag::{
    Encoder, Interpolation, LearnedMix, Proportion, Selection, Tagger, Temperature, Threshold,
};
use autotag_onnx::ModelBundle;

/// The settings of tagging.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Settings {
    pub interpolation: Interpolation,
    pub mix: Option<LearnedMix>,
    pub selection: Selection,
}

/// Settings given in the place of a bundle's; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SettingsOverride {
    /// The number of neighbors that vote.
    pub k: Option<NonZeroUsize>,
    /// The temperature of their votes.
    pub temperature: Option<Temperature>,
    /// The weight of the neighbors.
    pub proportion: Option<Proportion>,
    /// One threshold for all labels, in the place of those that labels have of their own too.
    pub threshold: Option<Threshold>,
}

impl Settings {
    /// Returns a bundle's settings.
    pub fn of(bundle: &ModelBundle) -> Self {
        let config = bundle.config();
        Settings {
            interpolation: config.interpolation,
            mix: config.mix.clone(),
            selection: config.selection.clone(),
        }
    }

    /// Puts the settings given in the place of these; k, tau or lambda puts the interpolation in the
    /// place of a learned mix too.
    pub fn overridden(mut self, given: SettingsOverride) -> Self {
        if given.k.is_some() || given.temperature.is_some() || given.proportion.is_some() {
            self.mix = None;
        }
        let interpolation = &mut self.interpolation;
        interpolation.k = given.k.unwrap_or(interpolation.k);
        interpolation.temperature = given.temperature.unwrap_or(interpolation.temperature);
        interpolation.proportion = given.proportion.unwrap_or(interpolation.proportion);
        if let Some(threshold) = given.threshold {
            self.selection.threshold = threshold;
            self.selection.per_label.clear();
            self.mix = self.mix.map(|mix| mix.with_threshold(threshold));
        }
        self
    }

    /// Returns the number of neighbors that scores depend on.
    pub fn n_neighbors(&self) -> NonZeroUsize {
        self.mix.as_ref().map_or(self.interpolation.k, |_| N_NEIGHBORS)
    }

    /// Returns the threshold of labels that have none of their own.
    pub fn threshold(&self) -> Threshold {
        self.mix.as_ref().map_or(self.selection.threshold, |mix| mix.parameters().threshold)
    }

    /// Returns the number of labels with a threshold of their own; a learned mix has one for all.
    pub fn n_own_thresholds(&self) -> usize {
        if self.mix.is_some() { 0 } else { self.selection.per_label.len() }
    }

    /// Returns a tagger with these settings.
    pub fn tagger<E: Encoder>(self, encoder: Arc<E>) -> Tagger<E> {
        let mut tagger = Tagger::new(encoder);
        (tagger.interpolation, tagger.selection) = (self.interpolation, self.selection);
        tagger.mix = self.mix.map(Arc::new);
        tagger
    }
}

//! The settings of tagging, and those given in their place.

use std::num::NonZeroUsize;

use autotag::{Encoder, Interpolation, Proportion, Selection, Tagger, Temperature, Threshold};
use autotag_onnx::ModelBundle;

/// The settings of tagging.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Settings {
    pub interpolation: Interpolation,
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
        let (interpolation, selection) = (config.interpolation, config.selection.clone());
        Settings { interpolation, selection }
    }

    /// Puts the settings given in the place of these.
    pub fn overridden(mut self, given: SettingsOverride) -> Self {
        let interpolation = &mut self.interpolation;
        interpolation.k = given.k.unwrap_or(interpolation.k);
        interpolation.temperature = given.temperature.unwrap_or(interpolation.temperature);
        interpolation.proportion = given.proportion.unwrap_or(interpolation.proportion);
        if let Some(threshold) = given.threshold {
            self.selection.threshold = threshold;
            self.selection.per_label.clear();
        }
        self
    }

    /// Returns a tagger with these settings.
    pub fn tagger<E: Encoder>(self, encoder: std::sync::Arc<E>) -> Tagger<E> {
        let mut tagger = Tagger::new(encoder);
        (tagger.interpolation, tagger.selection) = (self.interpolation, self.selection);
        tagger
    }
}

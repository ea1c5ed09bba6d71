//! How often labels occur.

use crate::{LabelId, LabelSet};

/// The number of labeled items, and how many of them each label has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFrequencies {
    counts: Vec<u32>,
    n_items: u32,
}

impl LabelFrequencies {
    /// Counts the labels of items.
    pub fn count<'l>(items: impl IntoIterator<Item = &'l LabelSet>) -> Self {
        let mut frequencies = LabelFrequencies::default();
        for labels in items {
            frequencies.n_items = frequencies.n_items.saturating_add(1);
            for label in labels.ids() {
                if frequencies.counts.len() <= label.index() {
                    frequencies.counts.resize(label.index() + 1, 0);
                }
                frequencies.counts[label.index()] += 1;
            }
        }
        frequencies
    }

    /// Returns ln((n_l + 1) / N) of n_l items with the label among N; N is at least 1.
    pub fn log_share(&self, label: LabelId) -> f32 {
        let count = self.counts.get(label.index()).copied().unwrap_or_default();
        (f64::from(count + 1) / f64::from(self.n_items.max(1))).ln() as f32
    }
}

//! The values of a document that a review sorts by: the origin of its tags, its best score.

use autotag::{Evidence, Origin};
use serde::{Deserialize, Serialize};

/// The origin of a document's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DocumentOrigin {
    /// It has no tag.
    Untagged,
    /// The tagger gave all of them.
    Predicted,
    /// The tagger gave some, people gave others.
    Mixed,
    /// People gave all of them.
    Human,
}

impl DocumentOrigin {
    /// Returns the origin of the tags of a document with this evidence, if any.
    pub fn of(evidence: Option<&Evidence>) -> Self {
        let tags = evidence.map_or(&[][..], |evidence| &evidence.tags);
        let n_human = tags.iter().filter(|tag| tag.origin == Origin::Human).count();
        match (tags.len(), n_human) {
            (0, _) => DocumentOrigin::Untagged,
            (_, 0) => DocumentOrigin::Predicted,
            (n_tags, n_human) if n_human < n_tags => DocumentOrigin::Mixed,
            _ => DocumentOrigin::Human,
        }
    }

    /// Returns the value that stands for it in the index: 0 for an untagged document, 1 for
    /// predicted tags, 2 for mixed ones, 3 for people's.
    pub fn code(self) -> u64 {
        self as u64
    }
}

/// Returns the highest score among the tags and suggestions.
pub(crate) fn best_score(evidence: &Evidence) -> Option<f32> {
    let scores = evidence.tags.iter().chain(&evidence.suggestions).map(|tag| tag.score);
    scores.max_by(f32::total_cmp)
}

//! Labels: ids, names, facet paths.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A label's position in its [`LabelVocabulary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabelId(pub u32);

impl LabelId {
    /// Returns the position as an index into per-label slices.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The labels of one text: y in {0, 1}^L, kept as the sorted ids that are 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSet(Arc<[LabelId]>);

impl LabelSet {
    /// Returns the ids in ascending order.
    pub fn ids(&self) -> &[LabelId] {
        &self.0
    }

    /// Tells whether the label is in the set.
    pub fn contains(&self, label: LabelId) -> bool {
        self.0.binary_search(&label).is_ok()
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether the set has no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts the labels that both sets have: C_ij = y_i . y_j.
    pub fn shared(&self, other: &LabelSet) -> usize {
        self.0.iter().filter(|&&label| other.contains(label)).count()
    }
}

impl FromIterator<LabelId> for LabelSet {
    fn from_iter<I: IntoIterator<Item = LabelId>>(ids: I) -> Self {
        let mut ids: Vec<LabelId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        LabelSet(ids.into())
    }
}

/// The labels that a model or datastore knows: id <-> name.
///
/// Ids are positions and never change; labels are only appended. A datastore's vocabulary begins
/// with its model's, so that an id below the model's label count is one that the model scores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelVocabulary {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, LabelId>,
}

impl LabelVocabulary {
    /// Makes a vocabulary whose ids follow the order of the names.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateLabel`] for a name given twice, [`Error::LabelName`] for one that cannot
    /// become a facet path.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut vocabulary = LabelVocabulary::default();
        for name in names {
            let name = name.as_ref();
            let n_before = vocabulary.len();
            vocabulary.insert(name)?;
            if vocabulary.len() == n_before {
                return Err(Error::DuplicateLabel { name: name.to_owned() });
            }
        }
        Ok(vocabulary)
    }

    /// Returns the label's id, appending the label when it is new.
    ///
    /// # Errors
    ///
    /// [`Error::LabelName`] when the name cannot become a facet path.
    pub fn insert(&mut self, name: &str) -> Result<LabelId> {
        if let Some(id) = self.id(name) {
            return Ok(id);
        }
        check_name(name)?;
        let id = LabelId(self.names.len() as u32);
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.ids.insert(name, id);
        Ok(id)
    }

    /// Returns the label's id, or `None` when the vocabulary lacks it.
    pub fn id(&self, name: &str) -> Option<LabelId> {
        self.ids.get(name).copied()
    }

    /// Returns the label's name.
    ///
    /// # Panics
    ///
    /// When the id comes from a longer vocabulary.
    pub fn name(&self, id: LabelId) -> &str {
        &self.names[id.index()]
    }

    /// Returns the names in the order of their ids.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Tells whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Splits a label's name into the segments of its facet path.
///
/// `role::program` has the segments `role` and `program`, and so has `/role/program`; a slash
/// inside a name that does not begin with one is kept. Empty segments are left out.
///
/// ```
/// assert_eq!(autotag::label::facet_segments("role::program"), ["role", "program"]);
/// assert_eq!(autotag::label::facet_segments("/role/program"), ["role", "program"]);
/// assert_eq!(autotag::label::facet_segments("client/server"), ["client/server"]);
/// ```
pub fn facet_segments(name: &str) -> Vec<&str> {
    let separator = if name.starts_with('/') { "/" } else { "::" };
    name.split(separator).filter(|segment| !segment.is_empty()).collect()
}

/// The longest label name, in bytes; a Tantivy term holds it with room to spare.
const MAX_NAME_BYTES: usize = 1024;

fn check_name(name: &str) -> Result<()> {
    let reason = if name.contains('\0') {
        "it contains a NUL character; remove it"
    } else if name.len() > MAX_NAME_BYTES {
        "it is longer than 1024 bytes; shorten it"
    } else if facet_segments(name).iter().all(|segment| segment.trim().is_empty()) {
        "it has no visible character; give it a name"
    } else {
        return Ok(());
    };
    Err(Error::LabelName { name: name.chars().take(80).collect(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_order_of_names() {
        let mut vocabulary = LabelVocabulary::new(["b", "a"]).unwrap();
        assert_eq!(vocabulary.id("b"), Some(LabelId(0)));
        assert_eq!(vocabulary.insert("c").unwrap(), LabelId(2));
        assert_eq!(vocabulary.insert("a").unwrap(), LabelId(1));
        assert_eq!(vocabulary.name(LabelId(2)), "c");
    }

    #[test]
    fn names_that_cannot_be_facets_are_refused() {
        for name in ["", "/", "::", " ", "a\0b", &"x".repeat(2000)] {
            assert!(LabelVocabulary::new([name]).is_err(), "{name:?}");
        }
        assert!(matches!(
            LabelVocabulary::new(["a", "a"]),
            Err(Error::DuplicateLabel { name }) if name == "a"
        ));
    }

    #[test]
    fn sets_are_sorted_and_count_what_they_share() {
        let a: LabelSet = [3, 1, 3].map(LabelId).into_iter().collect();
        let b: LabelSet = [1, 2, 3].map(LabelId).into_iter().collect();
        assert_eq!(a.ids(), [1, 3].map(LabelId));
        assert_eq!(a.shared(&b), 2);
        assert_eq!(b.shared(&a), 2);
    }
}

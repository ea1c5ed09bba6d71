//! Labels: ids, names, facet paths.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
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

    /// Returns the labels that the other set does not have.
    pub fn without(&self, other: &LabelSet) -> LabelSet {
        if other.is_empty() || self.is_empty() {
            return self.clone();
        }
        self.0.iter().copied().filter(|&label| !other.contains(label)).collect()
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
///
/// A label can be renamed, merged into another and retired; its id stays, and every name that it
/// ever had leads to it. [`resolve`](LabelVocabulary::resolve) says which label stands for it.
///
/// ```
/// use autotag::LabelVocabulary;
///
/// let mut labels = LabelVocabulary::new(["car", "auto", "cart"])?;
/// let (car, auto, cart) = (labels.require("car")?, labels.require("auto")?, labels.require("cart")?);
/// labels.rename(car, "vehicle")?;
/// labels.merge(auto, car)?;
/// labels.retire(cart)?;
/// assert_eq!(labels.id("car"), Some(car));
/// assert_eq!(labels.resolve(auto).map(|label| labels.name(label)), Some("vehicle"));
/// assert_eq!(labels.resolve(cart), None);
/// # Ok::<(), autotag::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelVocabulary {
    /// The current names, by id.
    names: Vec<Arc<str>>,
    /// The ids of current and former names.
    ids: HashMap<Arc<str>, LabelId>,
    /// The changes of labels; those that are not here are as they were inserted.
    changes: BTreeMap<LabelId, Change>,
}

/// The changes of a label since it was inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Change {
    /// The names before the current one, the first first.
    former: Vec<Arc<str>>,
    fate: LabelFate,
}

/// The state of a label: in use or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelFate {
    /// It is.
    #[default]
    Active,
    /// Another one stands for it.
    MergedInto(LabelId),
    /// No text has it any more, whoever gives it.
    Retired,
}

/// A label with all that happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelHistory {
    /// The current name.
    pub name: String,
    /// The names before it, the first first.
    pub former: Vec<String>,
    /// Its state.
    pub fate: LabelFate,
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

    /// Returns the id of the label that has or had a name, or `None` when the vocabulary lacks it.
    pub fn id(&self, name: &str) -> Option<LabelId> {
        self.ids.get(name).copied()
    }

    /// Returns the id of the label that has or had a name.
    ///
    /// # Errors
    ///
    /// [`Error::LabelUnknown`] when the vocabulary lacks it.
    pub fn require(&self, name: &str) -> Result<LabelId> {
        self.id(name).ok_or_else(|| Error::LabelUnknown { name: name.to_owned() })
    }

    /// Returns the label's current name.
    ///
    /// # Panics
    ///
    /// When the id comes from a longer vocabulary.
    pub fn name(&self, id: LabelId) -> &str {
        &self.names[id.index()]
    }

    /// Returns the current names in the order of their ids.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Returns the names that the labels were inserted with, in the order of their ids.
    pub fn first_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().enumerate().map(|(id, name)| {
            let change = self.changes.get(&LabelId(id as u32));
            change.and_then(|change| change.former.first()).unwrap_or(name).as_ref()
        })
    }

    /// Returns the number of labels, whatever became of them.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Tells whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Tells whether a label was ever renamed, merged or retired.
    pub fn is_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Tells whether a label is in use.
    pub fn fate(&self, id: LabelId) -> LabelFate {
        self.changes.get(&id).map_or(LabelFate::Active, |change| change.fate)
    }

    /// Returns the label that stands for one: itself, or what it was merged into; `None` where it
    /// is retired.
    pub fn resolve(&self, id: LabelId) -> Option<LabelId> {
        let mut current = id;
        // Labels are merged into active ones only, so that this ends.
        for _ in 0..=self.changes.len() {
            match self.fate(current) {
                LabelFate::Active => return Some(current),
                LabelFate::MergedInto(target) => current = target,
                LabelFate::Retired => return None,
            }
        }
        None
    }

    /// Returns the labels that stand for those of a set.
    pub fn resolve_set(&self, labels: &LabelSet) -> LabelSet {
        if self.changes.is_empty() {
            return labels.clone();
        }
        labels.ids().iter().filter_map(|&label| self.resolve(label)).collect()
    }

    /// Returns the current name of the label that stands for the one that has or had a name: the
    /// name itself where the vocabulary lacks it, `None` where the label is retired.
    pub fn resolve_name<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match self.id(name) {
            None => Some(name),
            Some(id) => self.resolve(id).map(|id| self.name(id)),
        }
    }

    /// Checks that a text may get the label of a name: a new one, or one that is not retired.
    ///
    /// # Errors
    ///
    /// [`Error::LabelInactive`] when it is retired.
    pub fn check_usable(&self, name: &str) -> Result<()> {
        match self.id(name) {
            Some(id) if self.resolve(id).is_none() => {
                let (name, state) = (name.to_owned(), "retired");
                Err(Error::LabelInactive { name, state })
            }
            _ => Ok(()),
        }
    }

    /// Gives a label another name; the names that it had lead to it still.
    ///
    /// # Errors
    ///
    /// [`Error::LabelName`] when the name cannot become a facet path, [`Error::LabelTaken`] when
    /// another label has or had it, [`Error::LabelInactive`] when the label is not in use,
    /// [`Error::LabelNames`] when it has had as many names as are kept.
    pub fn rename(&mut self, id: LabelId, name: &str) -> Result<()> {
        self.check_active(id)?;
        check_name(name)?;
        if self.id(name).is_some_and(|other| other != id) {
            return Err(Error::LabelTaken { name: name.to_owned() });
        }
        if self.name(id) == name {
            return Ok(());
        }
        let before = self.names[id.index()].clone();
        let former = &mut self.changes.entry(id).or_default().former;
        if !former.contains(&before) {
            if former.len() == MAX_FORMER_NAMES {
                return Err(Error::LabelNames { name: before.to_string(), max: MAX_FORMER_NAMES });
            }
            former.push(before);
        }
        let name: Arc<str> = name.into();
        self.names[id.index()] = name.clone();
        self.ids.insert(name, id);
        Ok(())
    }

    /// Lets another label stand for one.
    ///
    /// # Errors
    ///
    /// [`Error::LabelInactive`] when one of them is not in use, [`Error::LabelItself`] when both
    /// are the same.
    pub fn merge(&mut self, id: LabelId, into: LabelId) -> Result<()> {
        self.check_active(id)?;
        self.check_active(into)?;
        if id == into {
            return Err(Error::LabelItself { name: self.name(id).to_owned() });
        }
        self.changes.entry(id).or_default().fate = LabelFate::MergedInto(into);
        Ok(())
    }

    /// Takes a label out of use: no text has it any more, until it is
    /// [restored](LabelVocabulary::restore).
    ///
    /// # Errors
    ///
    /// [`Error::LabelInactive`] when it is not in use.
    pub fn retire(&mut self, id: LabelId) -> Result<()> {
        self.check_active(id)?;
        self.changes.entry(id).or_default().fate = LabelFate::Retired;
        Ok(())
    }

    /// Takes a merged or retired label into use again; one that is in use stays so.
    pub fn restore(&mut self, id: LabelId) {
        if let Some(change) = self.changes.get_mut(&id) {
            change.fate = LabelFate::Active;
        }
    }

    /// Returns a label with all that happened to it.
    ///
    /// # Panics
    ///
    /// When the id comes from a longer vocabulary.
    pub fn history(&self, id: LabelId) -> LabelHistory {
        let former = self.changes.get(&id).map_or(&[][..], |change| &change.former);
        LabelHistory {
            name: self.name(id).to_owned(),
            former: former.iter().map(|name| name.to_string()).collect(),
            fate: self.fate(id),
        }
    }

    /// Appends a label with all that happened to it, or puts it in the place of the one that has
    /// the id; `None` where that cannot be.
    pub(crate) fn put_history(&mut self, id: LabelId, history: LabelHistory) -> Option<()> {
        let LabelHistory { name, former, fate } = history;
        if former.len() > MAX_FORMER_NAMES {
            return None;
        }
        for name in former.iter().chain([&name]) {
            check_name(name).ok()?;
            if self.id(name).is_some_and(|other| other != id) {
                return None;
            }
        }
        let name: Arc<str> = name.into();
        match id.index().cmp(&self.names.len()) {
            Ordering::Less => self.names[id.index()] = name.clone(),
            Ordering::Equal => self.names.push(name.clone()),
            Ordering::Greater => return None,
        }
        let former: Vec<Arc<str>> = former.into_iter().map(Arc::from).collect();
        for name in former.iter().chain([&name]) {
            self.ids.insert(name.clone(), id);
        }
        if former.is_empty() && fate == LabelFate::Active {
            self.changes.remove(&id);
        } else {
            self.changes.insert(id, Change { former, fate });
        }
        Some(())
    }

    /// Tells whether every label that was merged was so into one that is there.
    pub(crate) fn has_all_targets(&self) -> bool {
        self.changes.values().all(|change| match change.fate {
            LabelFate::MergedInto(target) => target.index() < self.len(),
            LabelFate::Active | LabelFate::Retired => true,
        })
    }

    fn check_active(&self, id: LabelId) -> Result<()> {
        let state = match self.fate(id) {
            LabelFate::Active => return Ok(()),
            LabelFate::MergedInto(_) => "merged into another",
            LabelFate::Retired => "retired",
        };
        Err(Error::LabelInactive { name: self.name(id).to_owned(), state })
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

/// The most names that a label can have had: they are counted in 16 bits where they are stored, and
/// dropping one would let its documents lose the label.
const MAX_FORMER_NAMES: usize = u16::MAX as usize;

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
mod tests;

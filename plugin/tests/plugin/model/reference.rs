//! A reference model of an index, in plain maps.

use std::collections::{BTreeMap, BTreeSet};

use autotag::Review;

use crate::support::LABELS;

/// A label's number: its position in [`State::labels`].
pub(super) type Id = usize;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Active,
    MergedInto(Id),
    Retired,
}

/// A label, with all names that it ever had; the last is the current one.
#[derive(Clone, Debug, PartialEq)]
struct Label {
    names: Vec<String>,
    fate: Fate,
}

/// The model of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Doc {
    pub(super) text: String,
    /// The labels that people gave it.
    pub(super) given: Option<BTreeSet<Id>>,
    /// Those that it was tagged with, where people did not decide all.
    pub(super) tags: BTreeSet<Id>,
    pub(super) rejected: BTreeSet<Id>,
    pub(super) review: Review,
}

/// The labels that a correction does not name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Others {
    Kept,
    Confirmed,
    Rejected,
}

/// One of the states that an index goes through.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) docs: BTreeMap<String, Doc>,
    labels: Vec<Label>,
}

/// A change of labels, by their names.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Rename(String, String),
    Merge(String, String),
    Retire(String),
    Restore(String),
}

/// An index with a writer: the last commit, and what it leads to.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) committed: State,
    pub(super) current: State,
    /// The keys that were changed since the last commit.
    changed: BTreeSet<String>,
    /// Those whose document was made from the committed one.
    derived: BTreeSet<String>,
    /// All documents of the last commit were deleted.
    all_deleted: bool,
}

impl State {
    fn new() -> Self {
        let label = |name: &&str| Label { names: vec![(*name).to_owned()], fate: Fate::Active };
        State { docs: BTreeMap::new(), labels: LABELS.iter().map(label).collect() }
    }

    pub(super) fn name(&self, id: Id) -> &str {
        self.labels[id].names.last().unwrap()
    }

    fn id(&self, name: &str) -> Option<Id> {
        self.labels.iter().position(|label| label.names.iter().any(|known| known == name))
    }

    fn id_or_new(&mut self, name: &str) -> Id {
        self.id(name).unwrap_or_else(|| {
            self.labels.push(Label { names: vec![name.to_owned()], fate: Fate::Active });
            self.labels.len() - 1
        })
    }

    fn resolve(&self, id: Id) -> Option<Id> {
        match self.labels[id].fate {
            Fate::Active => Some(id),
            Fate::MergedInto(target) => self.resolve(target),
            Fate::Retired => None,
        }
    }

    pub(super) fn resolve_all(&self, ids: &BTreeSet<Id>) -> BTreeSet<Id> {
        ids.iter().filter_map(|&id| self.resolve(id)).collect()
    }

    /// Returns the labels that a document is found by.
    pub(super) fn tags(&self, doc: &Doc) -> BTreeSet<Id> {
        self.resolve_all(&doc.given.iter().flatten().chain(&doc.tags).copied().collect())
    }

    /// Does what the tagger does: a label's last segment is the word that tells it.
    fn predict(&self, text: &str, rejected: &BTreeSet<Id>) -> BTreeSet<Id> {
        let is_told = |&id: &Id| {
            let word = LABELS[id].rsplit("::").next().unwrap();
            text.split(' ').any(|found| found == word)
        };
        let told = (0..LABELS.len()).filter(is_told).collect();
        &self.resolve_all(&told) - &self.resolve_all(rejected)
    }

    /// Leaves out rejected labels for which a given one stands.
    fn still_rejected(&self, rejected: &BTreeSet<Id>, given: &BTreeSet<Id>) -> BTreeSet<Id> {
        let is_given = |id: &Id| {
            given.contains(id) || self.resolve(*id).is_some_and(|label| given.contains(&label))
        };
        rejected.iter().copied().filter(|id| !is_given(id)).collect()
    }

    /// Changes a label; false where that cannot be done.
    fn change(&mut self, change: &Change) -> bool {
        let (Change::Rename(name, _)
        | Change::Merge(name, _)
        | Change::Retire(name)
        | Change::Restore(name)) = change;
        let Some(id) = self.id(name) else { return false };
        let is_active = |id: Id| self.labels[id].fate == Fate::Active;
        match change {
            Change::Rename(_, new) => {
                if !is_active(id) || self.id(new).is_some_and(|other| other != id) {
                    return false;
                }
                self.labels[id].names.push(new.clone());
            }
            Change::Merge(_, into) => {
                let Some(into) = self.id(into) else { return false };
                if !is_active(id) || !is_active(into) || id == into {
                    return false;
                }
                self.labels[id].fate = Fate::MergedInto(into);
            }
            Change::Retire(_) if !is_active(id) => return false,
            Change::Retire(_) => self.labels[id].fate = Fate::Retired,
            Change::Restore(_) => self.labels[id].fate = Fate::Active,
        }
        let labels = self.clone();
        for doc in self.docs.values_mut() {
            doc.tags = labels.resolve_all(&doc.tags);
        }
        true
    }

    /// Predicts the labels that people have not decided.
    fn retag(&mut self) {
        let labels = self.clone();
        let has_undecided = |doc: &&mut Doc| doc.given.is_none() || doc.review == Review::Partial;
        for doc in self.docs.values_mut().filter(has_undecided) {
            let given = labels.resolve_all(&doc.given.clone().unwrap_or_default());
            doc.tags = &labels.predict(&doc.text, &doc.rejected) - &given;
        }
    }

    /// Forgets by which way labels came to stand for others.
    fn migrate(&mut self) {
        let before = self.clone();
        for (id, label) in self.labels.iter_mut().enumerate() {
            label.fate = match before.resolve(id) {
                Some(same) if same == id => Fate::Active,
                Some(other) => Fate::MergedInto(other),
                None => Fate::Retired,
            };
        }
        for doc in self.docs.values_mut() {
            doc.given = doc.given.as_ref().map(|given| before.resolve_all(given));
        }
    }
}

impl Reference {
    pub(super) fn new() -> Self {
        let (committed, current) = (State::new(), State::new());
        let (changed, derived, all_deleted) = (BTreeSet::new(), BTreeSet::new(), false);
        Reference { committed, current, changed, derived, all_deleted }
    }

    pub(super) fn commit(&mut self) {
        self.committed = self.current.clone();
        self.changed.clear();
        self.derived.clear();
        self.all_deleted = false;
    }

    /// Drops what was not committed.
    pub(super) fn reopen(&mut self) {
        self.current = self.committed.clone();
        self.commit();
    }

    pub(super) fn add(&mut self, key: &str, text: &str) {
        self.changed.insert(key.to_owned());
        let before = self.current.docs.get(key).cloned().unwrap_or_default();
        let mut doc = Doc { text: text.to_owned(), rejected: before.rejected, ..Doc::default() };
        let given = before.given.map(|given| self.current.resolve_all(&given)).unwrap_or_default();
        if before.review == Review::Partial {
            doc.tags = &self.current.predict(text, &doc.rejected) - &given;
            (doc.given, doc.review) = (Some(given), Review::Partial);
        } else if before.review == Review::Complete && (before.text == text || !given.is_empty()) {
            doc.rejected = self.current.still_rejected(&doc.rejected, &given);
            (doc.given, doc.review) = (Some(given), Review::Complete);
        } else {
            doc.tags = self.current.predict(text, &doc.rejected);
        }
        self.current.docs.insert(key.to_owned(), doc);
    }

    pub(super) fn label(&mut self, key: &str, text: &str, labels: &[&str]) {
        self.changed.insert(key.to_owned());
        let mut given = BTreeSet::new();
        for label in labels {
            let id = self.current.id_or_new(label);
            given.extend(self.current.resolve(id));
        }
        let before = self.current.docs.get(key).cloned().unwrap_or_default();
        let rejected = self.current.still_rejected(&before.rejected, &given);
        let doc = Doc { text: text.to_owned(), given: Some(given), rejected, ..Doc::default() };
        self.current.docs.insert(key.to_owned(), doc);
    }

    /// Notes an operation on a key that fails.
    pub(super) fn fail(&mut self, key: &str) {
        self.changed.insert(key.to_owned());
    }

    pub(super) fn delete(&mut self, key: &str) {
        self.changed.insert(key.to_owned());
        self.current.docs.remove(key);
    }

    /// Deletes the documents of the last commit that have a word and were not changed since; returns
    /// their number.
    pub(super) fn delete_query(&mut self, word: &str) -> u64 {
        let has_word = |doc: &Doc| doc.text.split(' ').any(|found| found == word);
        let docs = &self.committed.docs;
        let found = docs.iter().filter(|(key, doc)| has_word(doc) && !self.is_changed(key));
        let found: Vec<String> = found.map(|(key, _)| key.clone()).collect();
        for key in &found {
            self.current.docs.remove(key);
            self.changed.insert(key.clone());
        }
        found.len() as u64
    }

    pub(super) fn delete_all(&mut self) {
        self.current.docs.clear();
        self.changed.clear();
        self.derived.clear();
        self.all_deleted = true;
    }

    /// Corrects a document of the last commit; false where that cannot be done.
    pub(super) fn correct(
        &mut self,
        key: &str,
        add: &[&str],
        remove: &[&str],
        others: Others,
    ) -> bool {
        let committed = self.committed.clone();
        let Some(before) = committed.docs.get(key) else { return false };
        let is_retired =
            |name: &&str| committed.id(name).is_some_and(|id| committed.resolve(id).is_none());
        let removed: Option<Vec<Id>> = remove.iter().map(|name| committed.id(name)).collect();
        let Some(removed) = removed.filter(|_| !add.iter().any(is_retired)) else {
            return false;
        };
        let mut removed: BTreeSet<Id> =
            removed.into_iter().filter_map(|id| committed.resolve(id)).collect();
        let is_decided = match before.review {
            Review::None => before.given.is_some(),
            review => review == Review::Complete,
        };
        let is_partial = others == Others::Kept && !is_decided;
        let review = if is_partial { Review::Partial } else { Review::Complete };
        let given = committed.resolve_all(&before.given.clone().unwrap_or_default());
        let given = match others {
            Others::Kept => given,
            Others::Confirmed => &given | &committed.tags(before),
            Others::Rejected => {
                removed.extend(committed.tags(before));
                BTreeSet::new()
            }
        };
        let mut given = &given - &removed;
        for name in add {
            let id = self.current.id_or_new(name);
            given.extend(self.current.resolve(id));
        }
        let rejected = self.current.still_rejected(&(&removed | &before.rejected), &given);
        let text = before.text.clone();
        let mut doc = Doc { text, given: Some(given), rejected, review, ..Doc::default() };
        if is_partial {
            let tags = committed.resolve_all(&before.tags);
            let decided = doc.given.iter().flatten().copied().collect();
            doc.tags = &(&tags - &decided) - &committed.resolve_all(&doc.rejected);
        }
        self.current.docs.insert(key.to_owned(), doc);
        self.changed.insert(key.to_owned());
        self.derived.insert(key.to_owned());
        true
    }

    pub(super) fn change(&mut self, change: &Change) -> bool {
        let is_changed = self.current.change(change);
        if is_changed {
            self.commit();
        }
        is_changed
    }

    pub(super) fn retag(&mut self) {
        self.current.retag();
        self.commit();
    }

    pub(super) fn migrate(&mut self) {
        self.reopen();
        self.current.migrate();
        self.commit();
    }

    /// Tells whether a key was changed since the last commit: then its document cannot be corrected.
    pub(super) fn is_changed(&self, key: &str) -> bool {
        self.all_deleted || self.changed.contains(key)
    }

    /// Tells whether an operation on a key must wait for a commit: it must see the outcome of what was
    /// done to the key before.
    pub(super) fn must_wait(&self, key: &str, has_text: bool) -> bool {
        let is_said = |doc: &Doc| doc.review != Review::None || !doc.rejected.is_empty();
        let is_said = !self.all_deleted && self.committed.docs.get(key).is_some_and(is_said);
        self.derived.contains(key) || (has_text && self.is_changed(key) && is_said)
    }
}

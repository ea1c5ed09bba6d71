//! The keys that were changed since the last commit, and what may follow a change.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::Result;
use crate::operation::{Action, Labeling, Operation, Snapshot};

/// The keys changed since the last commit, those of the commit in progress apart.
#[derive(Default)]
pub(crate) struct ChangedKeys {
    changed: Keys,
    committing: Keys,
    hasher: RandomState,
}

/// The hashes of changed keys.
///
/// Why hashes? They bound the memory; a collision only makes an operation wait for a commit.
#[derive(Default)]
struct Keys {
    /// All documents were deleted, whatever their keys.
    all_deleted: bool,
    all: HashSet<u64>,
    /// The keys with a correction, whose outcome a later operation inherits.
    corrected: HashSet<u64>,
}

/// The time at which an operation can be taken.
pub(crate) enum Turn {
    Now,
    /// It depends on [`has_verdict`] in this commit.
    Unknown(Snapshot),
    /// When the commit in progress has ended.
    AfterCommit,
    /// When somebody has committed.
    NotCommitted,
}

impl ChangedKeys {
    /// Tells when an operation can be taken; there is no snapshot while the next commit takes the place
    /// of the last one. `verdict` is that of the snapshot, where it was asked for.
    ///
    /// An operation made from a committed document must wait when its key was changed since. So must
    /// any operation that follows a correction of its key: the worker looks keys up in the last commit,
    /// so it would miss the outcome. For the same reason a text must wait whose key was changed and has
    /// a review or rejections, which the text inherits.
    pub(crate) fn turn(
        &self,
        operation: &Operation,
        snapshot: Option<&Snapshot>,
        verdict: Option<bool>,
    ) -> Turn {
        let hash = self.hasher.hash_one(&operation.key);
        let is_changed = self.changed.has(hash);
        let is_uncommitted = is_changed || self.committing.has(hash);
        if let Some(generation) = operation.made_from {
            let is_last = snapshot.is_some_and(|snapshot| snapshot.generation == generation);
            return if is_last && !is_uncommitted { Turn::Now } else { Turn::NotCommitted };
        }
        if self.changed.corrected.contains(&hash) {
            return Turn::NotCommitted;
        }
        if self.committing.corrected.contains(&hash) {
            return Turn::AfterCommit;
        }
        // Nothing is inherited from a document that was deleted with all others.
        let is_new = !is_uncommitted || self.changed.all_deleted;
        if !operation.action.has_text() || is_new {
            return Turn::Now;
        }
        let Some(snapshot) = snapshot else { return Turn::AfterCommit };
        match verdict {
            None => Turn::Unknown(snapshot.clone()),
            Some(false) => Turn::Now,
            Some(true) if is_changed => Turn::NotCommitted,
            Some(true) => Turn::AfterCommit,
        }
    }

    /// Records the change of an operation's key.
    pub(crate) fn record(&mut self, operation: &Operation) {
        let hash = self.hasher.hash_one(&operation.key);
        self.changed.all.insert(hash);
        if let Action::Index(_, Labeling::Corrected(_)) = operation.action {
            self.changed.corrected.insert(hash);
        }
    }

    /// Tells whether a key was changed behind the commit in progress.
    pub(crate) fn is_changed(&self, key: &str) -> bool {
        self.changed.has(self.hasher.hash_one(key))
    }

    /// Tells whether the commit in progress changes a key.
    pub(crate) fn is_committing(&self, key: &str) -> bool {
        self.committing.has(self.hasher.hash_one(key))
    }

    /// Records that all documents are deleted: earlier changes are of no matter.
    pub(crate) fn delete_all(&mut self) {
        self.changed = Keys { all_deleted: true, ..Keys::default() };
    }

    /// Makes the changed keys those of the commit in progress.
    pub(crate) fn begin_commit(&mut self) {
        self.committing = std::mem::take(&mut self.changed);
    }

    /// Forgets the keys of the commit in progress: it was made, or its operations were dropped.
    pub(crate) fn end_commit(&mut self) {
        self.committing = Keys::default();
    }

    /// Ends the commit in progress, which was not made: its keys remain changed.
    pub(crate) fn abandon_commit(&mut self) {
        let Keys { all_deleted, all, corrected } = std::mem::take(&mut self.committing);
        self.changed.all_deleted |= all_deleted;
        self.changed.all.extend(all);
        self.changed.corrected.extend(corrected);
    }
}

impl Keys {
    fn has(&self, hash: u64) -> bool {
        self.all_deleted || self.all.contains(&hash)
    }
}

/// Tells whether a commit holds a review or rejections of a key.
pub(crate) fn has_verdict(snapshot: &Snapshot, key: &str) -> Result<bool> {
    let record = snapshot.neighbors.documents(&[key])?.remove(0);
    Ok(record.is_some_and(|record| !record.review.is_none() || !record.rejected.is_empty()))
}

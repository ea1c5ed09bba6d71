//! The commit that is searched, and moving on to a newer one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tantivy::directory::{WatchCallback, WatchHandle};
use tantivy::{Directory, Index, IndexReader, Searcher};

use crate::guard::{guard, open_reader};
use crate::segments::SegmentChecks;
use crate::{Error, Result};

/// The options of a [`TagSearcher`](crate::TagSearcher).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SearcherOptions {
    /// When the searcher moves on to a newer commit.
    pub reload: Reload,
    /// The number of earlier commits that are kept for pages by cursor, at most 64; none by default.
    ///
    /// A cursor of a commit that is kept goes on in that commit, whatever was committed since. The files of
    /// a commit that is kept take room on disk, also those that merges replaced.
    pub kept_commits: usize,
}

impl SearcherOptions {
    /// Returns the default options: the searcher moves on when it is told to.
    pub fn new() -> Self {
        SearcherOptions::default()
    }

    /// Sets when the searcher moves on to a newer commit.
    pub fn reload(mut self, reload: Reload) -> Self {
        self.reload = reload;
        self
    }

    /// Sets the number of earlier commits that are kept for pages by cursor.
    pub fn kept_commits(mut self, n: usize) -> Self {
        self.kept_commits = n;
        self
    }
}

/// The most earlier commits that are kept.
const MAX_KEPT: usize = 64;

/// The time at which a searcher moves on to a newer commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reload {
    /// When it is told to.
    #[default]
    Manual,
    /// Soon after each commit, whichever process makes it: within about a second where the index is on
    /// disk. A thread of the index's directory waits for commits and checks their files before they
    /// are searched, so searches never wait for it.
    OnCommit,
}

/// The commit that is searched.
pub(super) struct State {
    reader: IndexReader,
    checks: SegmentChecks,
    /// The error of the last attempt to move on by itself; locked while an attempt is made, so that
    /// no older commit takes the place of a newer one.
    failure: Mutex<Option<Arc<Error>>>,
    /// The earlier commits that are kept, the newest last.
    earlier: Mutex<VecDeque<Searcher>>,
    n_kept: usize,
}

impl State {
    /// Opens the last commit.
    pub(super) fn open(index: &Index, options: SearcherOptions) -> Result<Self> {
        let checks = SegmentChecks::new(index.clone());
        checks.check_small()?;
        let (failure, earlier) = (Mutex::default(), Mutex::default());
        let n_kept = options.kept_commits.min(MAX_KEPT);
        Ok(State { reader: open_reader(index)?, checks, failure, earlier, n_kept })
    }

    /// Follows the commits until the handle returned is dropped.
    pub(super) fn follow(self: &Arc<Self>, index: &Index) -> Result<WatchHandle> {
        let state = self.clone();
        let moved = move || {
            if let Err(error) = state.reload_reporting() {
                tracing::error!(%error, "a new commit is not searched");
            }
        };
        let watched = index.directory().watch(WatchCallback::new(moved));
        let handle = watched.map_err(Error::tantivy("watched the index for commits"))?;
        // There may have been a commit between the opening and now.
        self.reload()?;
        Ok(handle)
    }

    pub(super) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Returns the earlier commits that are kept, the newest first.
    pub(super) fn earlier(&self) -> Vec<Searcher> {
        self.lock_earlier().iter().rev().cloned().collect()
    }

    /// Moves on to the newest commit.
    pub(super) fn reload(&self) -> Result<()> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        self.try_reload()?;
        *failure = None;
        Ok(())
    }

    /// Returns the error of the last attempt to move on by itself, where it failed.
    pub(super) fn failure(&self) -> Option<Arc<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves on to the newest commit, and keeps the error where that fails.
    fn reload_reporting(&self) -> Result<(), Arc<Error>> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.try_reload().map_err(Arc::new);
        *failure = outcome.as_ref().err().cloned();
        outcome
    }

    fn try_reload(&self) -> Result<()> {
        const READ: &str = "read the newest commit";
        self.checks.check_small()?;
        let before = self.reader.searcher();
        guard(READ, || self.reader.reload().map_err(Error::tantivy(READ)))?;
        let mut earlier = self.lock_earlier();
        if self.n_kept > 0
            && before.generation().segments() != self.searcher().generation().segments()
        {
            earlier.push_back(before);
            let n_over = earlier.len().saturating_sub(self.n_kept);
            earlier.drain(..n_over);
        }
        Ok(())
    }

    fn lock_earlier(&self) -> MutexGuard<'_, VecDeque<Searcher>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

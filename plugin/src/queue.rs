//! The queue between the callers and the tagging threads.
//!
//! Operations are collected into chunks, which are numbered in the order of submission. Any thread
//! takes any chunk, so they finish out of order; [`Queue::finish`] holds outcomes back until those
//! before them are applied (a reorder buffer). So the last operation on a key wins, whichever thread
//! is faster.
//!
//! A commit raises a barrier at the next number ([`Queue::pause`]): chunks before it are processed and
//! applied, chunks behind it wait, since they are to see the commit's neighbors. Callers may submit
//! meanwhile.
//!
//! One mutex guards the whole state; it is never held while texts are encoded or stores are changed.
//! Two condition variables separate the waiting: `work` wakes tagging threads, `progress` wakes
//! callers that wait for a commit.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::change::{Change, ProcessedChunk};
use crate::ledger::Ledger;
use crate::operation::{Action, Chunk, Operation, Snapshot};
use crate::{Error, Result, WriterOptions, WriterTimes};

pub(crate) struct Queue {
    state: Mutex<State>,
    /// Signals a chunk to take, or that there will be none.
    work: Condvar,
    /// Signals an applied chunk, a finished commit, or that the queue stopped.
    progress: Condvar,
    chunk_operations: usize,
    chunk_bytes: usize,
    linger: Duration,
}

#[derive(Default)]
struct State {
    /// The chunk being collected.
    open: Vec<Operation>,
    open_bytes: usize,
    /// The time of its first operation.
    opened: Option<Instant>,
    /// Sealed chunks, waiting for a thread.
    ready: VecDeque<(u64, Vec<Operation>)>,
    next_sequence: u64,
    /// The reorder buffer: outcomes that wait for an earlier chunk to be applied.
    processed: BTreeMap<u64, ProcessedChunk>,
    next_applied: u64,
    is_applying: bool,
    /// During a commit: the first chunk behind it.
    barrier: Option<u64>,
    /// The last commit; `None` while the next one is made.
    snapshot: Option<Snapshot>,
    /// The keys changed since the last commit.
    changed: Keys,
    /// The keys changed by the commit in progress.
    committing: Keys,
    hasher: RandomState,
    ledger: Ledger,
    stopped: Option<Arc<Error>>,
    is_closed: bool,
}

/// The hashes of changed keys.
///
/// Why hashes? They bound the memory; a collision only costs a commit.
#[derive(Default)]
struct Keys {
    /// All documents of the last commit were deleted; the keys are those changed since.
    all_deleted: bool,
    all: HashSet<u64>,
    /// The keys whose document was made from its committed version.
    derived: HashSet<u64>,
}

impl Keys {
    fn has(&self, hash: u64) -> bool {
        self.all_deleted || self.all.contains(&hash)
    }

    fn has_derived(&self, hash: u64) -> bool {
        self.derived.contains(&hash)
    }
}

impl Queue {
    pub(crate) fn new(options: &WriterOptions, snapshot: Snapshot) -> Self {
        let (snapshot, ledger) = (Some(snapshot), Ledger::new(options));
        let state = State { snapshot, ledger, ..State::default() };
        Queue {
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
            chunk_operations: options.chunk_limit(),
            chunk_bytes: options.chunk_bytes.get(),
            linger: options.linger,
        }
    }

    /// Fails when the queue has stopped, or when a failed document is to be reported.
    pub(crate) fn check(&self) -> Result<()> {
        let mut state = self.lock();
        state.check_stopped()?;
        state.ledger.report().map_or(Ok(()), Err)
    }

    /// Appends an operation, whose permit has bounded the queue already; returns it where the changes of
    /// its key must be committed first.
    ///
    /// An operation made from a committed document is refused when its key was changed since. So is
    /// any later operation on that key: the worker looks keys up in the last commit, so it would miss
    /// the outcome. For the same reason a text is refused whose key was changed and has a correction
    /// or rejections, which the text inherits.
    pub(crate) fn push(&self, operation: Operation) -> Result<Option<Operation>> {
        let mut state = self.lock();
        state.check_stopped()?;
        if !state.record_key(&operation)? {
            return Ok(Some(operation));
        }
        if state.opened.is_none() {
            state.opened = Some(Instant::now());
            // A chunk is begun: an idle thread starts its linger time.
            self.work.notify_one();
        }
        state.open_bytes += operation.permit.bytes;
        state.open.push(operation);
        if state.open.len() >= self.chunk_operations || state.open_bytes >= self.chunk_bytes {
            state.seal();
            self.work.notify_one();
        }
        Ok(None)
    }

    /// Returns the last commit, waiting while the next one is made.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let mut state = self.lock();
        loop {
            state.check_stopped()?;
            if let Some(snapshot) = &state.snapshot {
                return Ok(snapshot.clone());
            }
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells whether a key was changed since the last commit.
    pub(crate) fn is_changed(&self, key: &str) -> bool {
        let state = self.lock();
        let hash = state.hasher.hash_one(key);
        state.changed.has(hash) || state.committing.has(hash)
    }

    /// Waits for a chunk; `None` when there will be no more.
    ///
    /// A partial chunk is sealed after its linger time, so that a slow caller's documents are not held
    /// back until the chunk is full.
    pub(crate) fn take(&self) -> Option<Chunk> {
        let mut state = self.lock();
        loop {
            if state.is_closed || state.stopped.is_some() {
                return None;
            }
            if let Some(chunk) = state.take_ready() {
                return Some(chunk);
            }
            let Some(opened) = state.opened.filter(|_| state.barrier.is_none()) else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let rest = self.linger.saturating_sub(opened.elapsed());
            if rest.is_zero() {
                state.seal();
            } else {
                let waited = self.work.wait_timeout(state, rest);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Hands in a chunk's outcome, and applies all outcomes that are next in order; `apply` returns the
    /// time spent.
    ///
    /// Only one thread applies at a time; others leave their outcome to it and go on tagging, instead
    /// of waiting for the stores.
    pub(crate) fn finish(
        &self,
        sequence: u64,
        processed: ProcessedChunk,
        apply: impl Fn(Vec<Change>) -> Result<WriterTimes>,
    ) -> Result<()> {
        let mut state = self.lock();
        state.processed.insert(sequence, processed);
        if state.is_applying {
            return Ok(());
        }
        state.is_applying = true;
        while let Some(ProcessedChunk { changes, mut tally }) = state.take_next_processed() {
            drop(state);
            // On failure the queue stops, and `is_applying` stays set: no later chunk may follow.
            tally.times.add(&apply(changes)?);
            state = self.lock();
            state.next_applied += 1;
            state.ledger.record(tally);
            self.progress.notify_all();
        }
        state.is_applying = false;
        Ok(())
    }

    /// Waits until all earlier operations are applied, and holds later ones back until
    /// [`Queue::resume`].
    pub(crate) fn pause(&self) -> Result<()> {
        let mut state = self.lock();
        state.seal();
        let barrier = state.next_sequence;
        state.barrier = Some(barrier);
        state.committing = std::mem::take(&mut state.changed);
        self.work.notify_all();
        while state.stopped.is_none() && state.next_applied < barrier {
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check_stopped()
    }

    /// Drops the snapshot while the queue is paused: LMDB cannot reuse pages that a snapshot holds.
    pub(crate) fn release_snapshot(&self) {
        self.lock().snapshot = None;
    }

    /// Ends a pause after a commit, with its snapshot.
    pub(crate) fn resume_committed(&self, snapshot: Snapshot) {
        let mut state = self.lock();
        state.snapshot = Some(snapshot);
        state.committing = Keys::default();
        self.resume_locked(state);
    }

    /// Ends a pause without a commit: the keys remain changed.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        let Keys { all_deleted, all, derived } = std::mem::take(&mut state.committing);
        state.changed.all_deleted |= all_deleted;
        state.changed.all.extend(all);
        state.changed.derived.extend(derived);
        self.resume_locked(state);
    }

    /// Ends a pause in which all documents were deleted: earlier changes of keys are of no matter.
    pub(crate) fn resume_all_deleted(&self) {
        self.lock().committing = Keys { all_deleted: true, ..Keys::default() };
        self.resume();
    }

    fn resume_locked(&self, mut state: MutexGuard<'_, State>) {
        state.barrier = None;
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// Stops the queue for good; the first cause is kept and returned.
    pub(crate) fn stop(&self, cause: Error) -> Arc<Error> {
        let mut state = self.lock();
        let cause = state.stopped.get_or_insert_with(|| Arc::new(cause)).clone();
        self.work.notify_all();
        self.progress.notify_all();
        cause
    }

    /// Ends the threads that wait in [`Queue::take`].
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_all();
    }

    /// Tells whether there is uncommitted work.
    pub(crate) fn has_uncommitted(&self) -> bool {
        let state = self.lock();
        let is_idle = state.open.is_empty() && state.next_applied == state.next_sequence;
        !is_idle || state.ledger.has_uncommitted()
    }

    /// Reads or changes the ledger.
    pub(crate) fn ledger<T>(&self, read: impl FnOnce(&mut Ledger) -> T) -> T {
        read(&mut self.lock().ledger)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_stopped(&self) -> Result<()> {
        match &self.stopped {
            Some(cause) => Err(Error::Stopped { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Records the change of an operation's key; false where it must wait for a commit.
    fn record_key(&mut self, operation: &Operation) -> Result<bool> {
        let hash = self.hasher.hash_one(&operation.key);
        let is_in =
            |has: fn(&Keys, u64) -> bool| has(&self.changed, hash) || has(&self.committing, hash);
        let may_follow = match operation.made_from {
            None if is_in(Keys::has_derived) => false,
            // Nothing is inherited from a document that was deleted with all others.
            None if self.changed.all_deleted => true,
            None if operation.action.has_text() && is_in(Keys::has) => {
                !self.has_verdict(&operation.key)?
            }
            None => true,
            Some(generation) => {
                let current = self.snapshot.as_ref().map(|snapshot| snapshot.generation);
                current == Some(generation) && !is_in(Keys::has)
            }
        };
        if may_follow {
            self.changed.all.insert(hash);
        }
        // A deletion is the same whatever it was made from.
        let is_deletion = matches!(operation.action, Action::Delete);
        if may_follow && operation.made_from.is_some() && !is_deletion {
            self.changed.derived.insert(hash);
        }
        Ok(may_follow)
    }

    /// Tells whether the last commit holds a correction or rejections of a key; true, to be safe,
    /// while the next one is made.
    fn has_verdict(&self, key: &str) -> Result<bool> {
        let Some(snapshot) = &self.snapshot else { return Ok(true) };
        let record = snapshot.neighbors.documents(&[key])?.remove(0);
        Ok(record.is_some_and(|record| !record.review.is_none() || !record.rejected.is_empty()))
    }

    /// Seals the chunk being collected.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.ready.push_back((self.next_sequence, std::mem::take(&mut self.open)));
        self.next_sequence += 1;
        (self.open_bytes, self.opened) = (0, None);
    }

    fn take_ready(&mut self) -> Option<Chunk> {
        let barrier = self.barrier.unwrap_or(u64::MAX);
        let next = self.ready.front().map(|(sequence, _)| *sequence)?;
        if next >= barrier {
            return None;
        }
        let Snapshot { neighbors, searcher, .. } = self.snapshot.clone()?;
        let (sequence, operations) = self.ready.pop_front()?;
        let all_deleted = self.changed.all_deleted || self.committing.all_deleted;
        Some(Chunk { sequence, operations, neighbors, searcher, all_deleted })
    }

    fn take_next_processed(&mut self) -> Option<ProcessedChunk> {
        self.processed.remove(&self.next_applied)
    }
}

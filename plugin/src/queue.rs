//! The queue between the callers and the tagging threads.
//!
//! Operations are collected into chunks, which are numbered in the callers' order; any thread works
//! on any chunk, and their outcomes are applied in the order of the numbers.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::change::Processed;
use crate::ledger::Ledger;
use crate::operation::{Chunk, Operation, Snapshot};
use crate::{Error, Result, WriterOptions};

/// What becomes of an operation that is handed over.
pub(crate) enum Pushed {
    Taken,
    /// What was changed under its key must be committed first.
    AfterCommit(Box<Operation>),
}

pub(crate) struct Queue {
    state: Mutex<State>,
    /// There is something to work on.
    work: Condvar,
    /// Something was applied, or the queue stopped.
    progress: Condvar,
    chunk_operations: usize,
    chunk_bytes: usize,
    linger: Duration,
}

struct State {
    /// The chunk that is being collected.
    open: Vec<Operation>,
    open_bytes: usize,
    opened: Instant,
    /// Chunks that wait for a thread.
    ready: VecDeque<(u64, Vec<Operation>)>,
    next_sequence: u64,
    /// Chunks that wait for an earlier one to be applied.
    processed: BTreeMap<u64, Processed>,
    next_applied: u64,
    is_applying: bool,
    /// While a commit is made: the first chunk that is not part of it.
    barrier: Option<u64>,
    /// The last commit; absent while the next one is made.
    snapshot: Option<Snapshot>,
    /// The keys that were changed since the last commit.
    changed: Keys,
    /// Those that are part of the commit that is being made.
    committing: Keys,
    hasher: RandomState,
    ledger: Ledger,
    stopped: Option<Arc<Error>>,
    is_closed: bool,
}

/// The hashes of changed keys.
#[derive(Default)]
struct Keys {
    all: HashSet<u64>,
    /// Those whose document was made from the one before it.
    derived: HashSet<u64>,
}

impl Queue {
    pub(crate) fn new(options: &WriterOptions, snapshot: Snapshot) -> Self {
        let state = State {
            open: Vec::new(),
            open_bytes: 0,
            opened: Instant::now(),
            ready: VecDeque::new(),
            next_sequence: 0,
            processed: BTreeMap::new(),
            next_applied: 0,
            is_applying: false,
            barrier: None,
            snapshot: Some(snapshot),
            changed: Keys::default(),
            committing: Keys::default(),
            hasher: RandomState::new(),
            ledger: Ledger::new(options),
            stopped: None,
            is_closed: false,
        };
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

    /// Appends an operation; its permit has bounded the queue already.
    ///
    /// One that was made from a committed document is not taken when that is no longer what its key
    /// has, and neither is any other one on a key with such an operation: it must see its outcome.
    /// So must a text that comes for a key which was changed since people said something of it.
    pub(crate) fn push(&self, operation: Operation) -> Result<Pushed> {
        let mut state = self.lock();
        state.check_stopped()?;
        if !state.note_key(&operation)? {
            return Ok(Pushed::AfterCommit(Box::new(operation)));
        }
        if state.open.is_empty() {
            state.opened = Instant::now();
            // An idle thread begins to wait for the chunk to fill.
            self.work.notify_one();
        }
        state.open_bytes += operation.permit.bytes;
        state.open.push(operation);
        if state.open.len() >= self.chunk_operations || state.open_bytes >= self.chunk_bytes {
            state.seal();
            self.work.notify_one();
        }
        Ok(Pushed::Taken)
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
        state.changed.all.contains(&hash) || state.committing.all.contains(&hash)
    }

    /// Waits for a chunk to work on; `None` when there will be no more.
    pub(crate) fn take(&self) -> Option<Chunk> {
        let mut state = self.lock();
        loop {
            if state.is_closed || state.stopped.is_some() {
                return None;
            }
            if let Some(chunk) = state.take_ready() {
                return Some(chunk);
            }
            if state.barrier.is_some() || state.open.is_empty() {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let rest = self.linger.saturating_sub(state.opened.elapsed());
            if rest.is_zero() {
                state.seal();
            } else {
                let waited = self.work.wait_timeout(state, rest);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Hands in a chunk's outcome, and applies whatever is next in order.
    ///
    /// Only one thread applies at a time; another one leaves its outcome to it and goes on tagging.
    pub(crate) fn finish(
        &self,
        sequence: u64,
        processed: Processed,
        apply: impl Fn(&mut Processed) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.lock();
        state.processed.insert(sequence, processed);
        if state.is_applying {
            return Ok(());
        }
        state.is_applying = true;
        while let Some(mut processed) = state.take_next_processed() {
            drop(state);
            // On failure the queue stops, and `is_applying` stays set: nothing may follow.
            apply(&mut processed)?;
            state = self.lock();
            state.next_applied += 1;
            state.ledger.record(processed.tally);
            self.progress.notify_all();
        }
        state.is_applying = false;
        Ok(())
    }

    /// Waits until everything that was pushed before is applied, and holds back what comes after
    /// until [`Queue::resume`].
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

    /// Lets the snapshot go while the queue is paused: LMDB cannot reuse what a snapshot holds.
    pub(crate) fn release_snapshot(&self) {
        self.lock().snapshot = None;
    }

    /// Goes on after [`Queue::pause`], from what is committed now.
    pub(crate) fn resume_committed(&self, snapshot: Snapshot) {
        let mut state = self.lock();
        state.snapshot = Some(snapshot);
        state.committing = Keys::default();
        self.resume_locked(state);
    }

    /// Goes on after [`Queue::pause`] as if there had been none.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        let Keys { all, derived } = std::mem::take(&mut state.committing);
        state.changed.all.extend(all);
        state.changed.derived.extend(derived);
        self.resume_locked(state);
    }

    fn resume_locked(&self, mut state: MutexGuard<'_, State>) {
        state.barrier = None;
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// Takes no more work, whatever comes; the first cause is kept and returned.
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

    /// Tells whether something would be lost without a commit.
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

    /// Notes that an operation's key is changed; false where that must wait for a commit.
    fn note_key(&mut self, operation: &Operation) -> Result<bool> {
        let hash = self.hasher.hash_one(&operation.key);
        let is_in = |keys: fn(&Keys) -> &HashSet<u64>| {
            keys(&self.changed).contains(&hash) || keys(&self.committing).contains(&hash)
        };
        let made_from = operation.action.made_from();
        let may_follow = match made_from {
            None if is_in(|keys| &keys.derived) => false,
            None if operation.action.has_text() && is_in(|keys| &keys.all) => {
                !self.is_said_of(&operation.key)?
            }
            None => true,
            Some(generation) => {
                let current = self.snapshot.as_ref().map(|snapshot| snapshot.generation);
                current == Some(generation) && !is_in(|keys| &keys.all)
            }
        };
        if may_follow {
            self.changed.all.insert(hash);
        }
        if may_follow && made_from.is_some() {
            self.changed.derived.insert(hash);
        }
        Ok(may_follow)
    }

    /// Tells whether people corrected a key's document or rejected labels of it, as far as the last
    /// commit knows; always while the next one is made.
    fn is_said_of(&self, key: &str) -> Result<bool> {
        let Some(snapshot) = &self.snapshot else { return Ok(true) };
        let record = snapshot.neighbors.documents(&[key])?.remove(0);
        Ok(record.is_some_and(|record| record.is_corrected || !record.rejected.is_empty()))
    }

    /// Makes the chunk that is being collected ready.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.ready.push_back((self.next_sequence, std::mem::take(&mut self.open)));
        self.next_sequence += 1;
        self.open_bytes = 0;
    }

    fn take_ready(&mut self) -> Option<Chunk> {
        let barrier = self.barrier.unwrap_or(u64::MAX);
        let next = self.ready.front().map(|(sequence, _)| *sequence)?;
        if next >= barrier {
            return None;
        }
        let Snapshot { neighbors, searcher, .. } = self.snapshot.clone()?;
        let (sequence, operations) = self.ready.pop_front()?;
        Some(Chunk { sequence, operations, neighbors, searcher })
    }

    fn take_next_processed(&mut self) -> Option<Processed> {
        self.processed.remove(&self.next_applied)
    }
}

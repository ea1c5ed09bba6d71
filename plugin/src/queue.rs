//! The queue between the callers and the tagging threads.
//!
//! Operations are collected into chunks, which are numbered in the callers' order; any thread works
//! on any chunk, and their outcomes are applied in the order of the numbers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use autotag::DatastoreReader;
use tantivy::TantivyDocument;

use crate::budget::Permit;
use crate::ledger::Ledger;
use crate::worker::Processed;
use crate::{Error, Result, WriterOptions};

/// What a caller asked for.
pub(crate) struct Operation {
    pub(crate) key: String,
    pub(crate) action: Action,
    pub(crate) permit: Permit,
}

pub(crate) enum Action {
    Tag(TantivyDocument),
    Label(TantivyDocument, Vec<String>),
    Delete,
}

/// Operations that are worked on together, and the neighbors to tag them by.
pub(crate) struct Chunk {
    pub(crate) sequence: u64,
    pub(crate) operations: Vec<Operation>,
    pub(crate) neighbors: DatastoreReader,
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
    /// The neighbors as of the last commit.
    neighbors: Option<DatastoreReader>,
    ledger: Ledger,
    stopped: Option<Arc<Error>>,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(options: &WriterOptions, neighbors: DatastoreReader) -> Self {
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
            neighbors: Some(neighbors),
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
    pub(crate) fn push(&self, operation: Operation) -> Result<()> {
        let mut state = self.lock();
        // The operation, and its permit, must not be dropped under the lock for long: fine here.
        state.check_stopped()?;
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
        Ok(())
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
        self.work.notify_all();
        while state.stopped.is_none() && state.next_applied < barrier {
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check_stopped()
    }

    /// Lets the snapshot go while the queue is paused: LMDB cannot reuse what a snapshot holds.
    pub(crate) fn release_neighbors(&self) {
        self.lock().neighbors = None;
    }

    /// Sets the neighbors for what comes next.
    pub(crate) fn set_neighbors(&self, neighbors: DatastoreReader) {
        self.lock().neighbors = Some(neighbors);
    }

    /// Goes on after [`Queue::pause`].
    pub(crate) fn resume(&self) {
        self.lock().barrier = None;
        self.work.notify_all();
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
        let neighbors = self.neighbors.clone()?;
        let (sequence, operations) = self.ready.pop_front()?;
        Some(Chunk { sequence, operations, neighbors })
    }

    fn take_next_processed(&mut self) -> Option<Processed> {
        self.processed.remove(&self.next_applied)
    }
}

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

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::change::{Change, ProcessedChunk};
use crate::keys::{ChangedKeys, Turn, has_verdict};
use crate::ledger::{Ledger, Tally};
use crate::operation::{Chunk, Operation, Snapshot};
use crate::plainly::with_causes;
use crate::ticket::Tickets;
use crate::{Error, Health, LastCommit, Result, Ticket, TicketStatus, WriterOptions, WriterTimes};

pub(crate) struct Queue {
    state: Mutex<State>,
    /// Signals a chunk to take, or that there will be none.
    work: Condvar,
    /// Signals an applied chunk, a finished commit, or that the queue stopped.
    progress: Condvar,
    /// Signals what decides on tickets: a commit, a rollback, or that there will be none.
    decided: Condvar,
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
    /// The sealed chunks that are not applied yet.
    outstanding: BTreeMap<u64, Outstanding>,
    /// The reorder buffer: outcomes that wait for an earlier chunk to be applied.
    processed: BTreeMap<u64, ProcessedChunk>,
    next_applied: u64,
    is_applying: bool,
    /// During a commit: the first chunk behind it.
    barrier: Option<u64>,
    /// The first chunk behind an uncommitted deletion of all documents.
    deleted_before: Option<u64>,
    /// The number of commits and rollbacks that have ended.
    n_pauses: u64,
    /// The last commit; `None` while the next one is made.
    snapshot: Option<Snapshot>,
    keys: ChangedKeys,
    tickets: Tickets,
    /// The generation of the last commit.
    generation: u64,
    ledger: Ledger,
    stopped: Option<Arc<Error>>,
    /// Takes no more operations.
    is_closing: bool,
    /// Neither processes nor applies any more.
    is_closed: bool,
}

/// A sealed chunk, wherever its operations are.
struct Outstanding {
    last: Ticket,
    keys: Vec<String>,
}

/// The outcome of a submission.
pub(crate) enum Pushed {
    Accepted(Ticket),
    /// The changes of its key must be committed first.
    Refused(Box<Operation>),
    /// It depends on the commit in progress.
    Early(Box<Operation>),
}

impl Queue {
    pub(crate) fn new(options: &WriterOptions, snapshot: Snapshot) -> Self {
        let (generation, ledger) = (snapshot.generation, Ledger::new(options));
        let state = State { snapshot: Some(snapshot), generation, ledger, ..State::default() };
        Queue {
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
            decided: Condvar::new(),
            chunk_operations: options.chunk_limit(),
            chunk_bytes: options.chunk_bytes.get(),
            linger: options.linger,
        }
    }

    /// Fails when the queue takes no operations, or when a failed document is to be reported.
    pub(crate) fn check(&self) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.ledger.report().map_or(Ok(()), Err)
    }

    /// Fails when the queue takes no operations.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.lock().check_open()
    }

    /// Appends an operation, whose permit has bounded the queue already, and gives it its ticket; returns
    /// it where the changes of its key must be committed first.
    pub(crate) fn push(&self, mut operation: Operation) -> Result<Pushed> {
        let mut known: Option<(u64, bool)> = None;
        let mut state = loop {
            let state = self.lock();
            state.check_open()?;
            let snapshot = state.snapshot.as_ref();
            let is_of_snapshot =
                |of: u64| snapshot.is_some_and(|snapshot| snapshot.generation == of);
            let verdict = known.filter(|(of, _)| is_of_snapshot(*of)).map(|(_, verdict)| verdict);
            match state.keys.turn(&operation, snapshot, verdict) {
                Turn::Now => break state,
                Turn::Unknown(snapshot) => {
                    // It reads the disk: not under the lock.
                    drop(state);
                    let verdict = has_verdict(&snapshot, &operation.key)?;
                    known = Some((snapshot.generation, verdict));
                }
                Turn::AfterCommit => return Ok(Pushed::Early(Box::new(operation))),
                Turn::NotCommitted => return Ok(Pushed::Refused(Box::new(operation))),
            }
        };
        state.keys.record(&operation);
        let ticket = state.tickets.issue();
        operation.ticket = ticket;
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
        Ok(Pushed::Accepted(ticket))
    }

    /// Waits for the end of the commit in progress, if there is one.
    pub(crate) fn await_commit(&self) -> Result<()> {
        let mut state = self.lock();
        let n_pauses = state.n_pauses;
        while state.barrier.is_some() && state.n_pauses == n_pauses {
            state.check_open()?;
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check_open()
    }

    /// Tells whether a key is changed since the last commit; waits where the commit in progress decides.
    pub(crate) fn is_uncommitted(&self, key: &str) -> Result<bool> {
        loop {
            let state = self.lock();
            if state.keys.is_changed(key) {
                return Ok(true);
            }
            if !state.keys.is_committing(key) {
                return Ok(false);
            }
            drop(state);
            self.await_commit()?;
        }
    }

    /// Returns the last commit, waiting while the next one is made.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let mut state = self.lock();
        loop {
            state.check_usable()?;
            if let Some(snapshot) = &state.snapshot {
                return Ok(snapshot.clone());
            }
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells whether a key was changed since the last commit.
    pub(crate) fn is_changed(&self, key: &str) -> bool {
        let state = self.lock();
        state.keys.is_changed(key) || state.keys.is_committing(key)
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
            state.record_applied(tally);
            self.progress.notify_all();
        }
        state.is_applying = false;
        self.progress.notify_all();
        Ok(())
    }

    /// Waits until all earlier operations are applied, and holds later ones back until
    /// [`Queue::resume`].
    pub(crate) fn pause(&self) -> Result<()> {
        let mut state = self.lock();
        state.seal();
        self.raise_barrier(state)
    }

    /// Waits as [`Queue::pause`] does, for the deletion of all documents: what comes after it inherits
    /// nothing from them.
    pub(crate) fn pause_deleting(&self) -> Result<()> {
        let mut state = self.lock();
        state.seal();
        state.keys.delete_all();
        state.deleted_before = Some(state.next_sequence);
        self.raise_barrier(state)
    }

    /// Drops the earlier operations that no thread has begun, waits for the others, and holds later ones
    /// back until [`Queue::resume_rolled_back`], for which it returns the last earlier ticket.
    pub(crate) fn pause_dropping(&self) -> Result<Ticket> {
        let mut state = self.lock();
        let last = state.tickets.last_issued();
        let dropped = state.drop_waiting();
        let paused = self.raise_barrier(state);
        drop(dropped);
        paused.map(|()| last)
    }

    fn raise_barrier(&self, mut state: MutexGuard<'_, State>) -> Result<()> {
        let barrier = state.next_sequence;
        state.barrier = Some(barrier);
        state.keys.begin_commit();
        self.work.notify_all();
        while state.check_usable().is_ok() && state.next_applied < barrier {
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check_usable()
    }

    /// Drops the snapshot while the queue is paused: LMDB cannot reuse pages that a snapshot holds.
    pub(crate) fn release_snapshot(&self) {
        self.lock().snapshot = None;
    }

    /// Ends a pause after a commit, with its snapshot.
    pub(crate) fn resume_committed(&self, snapshot: Snapshot) {
        let mut state = self.lock();
        state.tickets.commit();
        state.generation = snapshot.generation;
        state.snapshot = Some(snapshot);
        state.deleted_before = None;
        state.keys.end_commit();
        self.resume_locked(state);
    }

    /// Ends a pause after a rollback of all operations up to `last`.
    pub(crate) fn resume_rolled_back(&self, last: Ticket) {
        let mut state = self.lock();
        state.tickets.roll_back(last);
        state.ledger.roll_back();
        state.deleted_before = None;
        state.keys.end_commit();
        self.resume_locked(state);
    }

    /// Ends a pause without a commit: the keys remain changed.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        state.keys.abandon_commit();
        self.resume_locked(state);
    }

    fn resume_locked(&self, mut state: MutexGuard<'_, State>) {
        state.barrier = None;
        state.n_pauses += 1;
        self.work.notify_all();
        self.progress.notify_all();
        self.decided.notify_all();
    }

    /// Stops the queue for good; the first cause is kept and returned.
    pub(crate) fn stop(&self, cause: Error) -> Arc<Error> {
        let mut state = self.lock();
        let cause = state.stopped.get_or_insert_with(|| Arc::new(cause)).clone();
        self.work.notify_all();
        self.progress.notify_all();
        self.decided.notify_all();
        cause
    }

    /// Closes the queue: it takes no operations, and its threads end after the chunk that they are at.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        (state.is_closing, state.is_closed) = (true, true);
        // A commit that failed may be completed by the next opening.
        if state.stopped.is_none() {
            state.tickets.close();
        }
        self.work.notify_all();
        self.progress.notify_all();
        self.decided.notify_all();
    }

    /// Takes no more operations, waits until the earlier ones are applied, but not beyond the deadline,
    /// and closes the queue. Returns the keys of the operations that are not applied, and never will be.
    pub(crate) fn close_by(&self, deadline: Option<Instant>) -> Result<Vec<String>> {
        let mut state = self.lock();
        state.check_open()?;
        state.is_closing = true;
        state.seal();
        self.work.notify_all();
        while state.stopped.is_none() && state.next_applied < state.next_sequence {
            let is_over;
            (state, is_over) = wait_until(&self.progress, state, deadline);
            if is_over {
                break;
            }
        }
        state.is_closed = true;
        let dropped = state.drop_waiting();
        self.work.notify_all();
        self.progress.notify_all();
        // A chunk on its way into the stores gets there.
        while state.stopped.is_none() && state.is_applying {
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check_stopped()?;
        let begun = std::mem::take(&mut state.outstanding).into_values();
        let keys = begun.flat_map(|chunk| chunk.keys);
        drop(state);
        let waiting = dropped.into_iter().map(|operation| operation.key);
        Ok(keys.chain(waiting).collect())
    }

    /// Returns what became of an operation, once it is known or the deadline has come.
    ///
    /// # Errors
    ///
    /// When the queue stopped before it was known.
    pub(crate) fn wait_for(
        &self,
        ticket: Ticket,
        deadline: Option<Instant>,
    ) -> Result<TicketStatus> {
        let mut state = self.lock();
        loop {
            let status = state.tickets.status(ticket);
            if !status.is_pending() {
                return Ok(status);
            }
            state.check_stopped()?;
            let is_over;
            (state, is_over) = wait_until(&self.decided, state, deadline);
            if is_over {
                return Ok(status);
            }
        }
    }

    pub(crate) fn committed(&self) -> LastCommit {
        let state = self.lock();
        LastCommit { generation: state.generation, ticket: state.tickets.committed() }
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.lock();
        match &state.stopped {
            Some(cause) => Health::Stopped { reason: with_causes(&**cause) },
            None if state.is_closing => Health::Closed,
            None => Health::Running,
        }
    }

    /// Tells whether nothing is processed or applied any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Tells whether no chunk needs to be processed any more.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.is_closed || state.stopped.is_some()
    }

    /// Tells whether there is uncommitted work.
    pub(crate) fn has_uncommitted(&self) -> bool {
        let state = self.lock();
        state.tickets.has_pending() || state.deleted_before.is_some()
    }

    /// Reads or changes the ledger.
    pub(crate) fn ledger<T>(&self, read: impl FnOnce(&mut Ledger) -> T) -> T {
        read(&mut self.lock().ledger)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a signal; tells whether the deadline had passed before.
fn wait_until<'s>(
    signal: &Condvar,
    state: MutexGuard<'s, State>,
    deadline: Option<Instant>,
) -> (MutexGuard<'s, State>, bool) {
    let Some(deadline) = deadline else {
        return (signal.wait(state).unwrap_or_else(PoisonError::into_inner), false);
    };
    let rest = deadline.saturating_duration_since(Instant::now());
    if rest.is_zero() {
        return (state, true);
    }
    (signal.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0, false)
}

impl State {
    fn check_stopped(&self) -> Result<()> {
        match &self.stopped {
            Some(cause) => Err(Error::Stopped { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Fails when nothing is processed any more.
    fn check_usable(&self) -> Result<()> {
        self.check_stopped()?;
        if self.is_closed { Err(Error::Closed) } else { Ok(()) }
    }

    /// Fails when no operation is taken any more.
    fn check_open(&self) -> Result<()> {
        self.check_stopped()?;
        if self.is_closing { Err(Error::Closed) } else { Ok(()) }
    }

    /// Seals the chunk being collected.
    fn seal(&mut self) {
        let Some(last) = self.open.last().map(|operation| operation.ticket) else { return };
        let keys = self.open.iter().map(|operation| operation.key.clone()).collect();
        self.outstanding.insert(self.next_sequence, Outstanding { last, keys });
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
        let all_deleted = self.deleted_before.is_some_and(|first| sequence >= first);
        Some(Chunk { sequence, operations, neighbors, searcher, all_deleted })
    }

    /// Takes the operations that no thread has begun; the numbers of their chunks are free again.
    fn drop_waiting(&mut self) -> Vec<Operation> {
        if let Some((first, _)) = self.ready.front() {
            self.next_sequence = *first;
        }
        self.outstanding.split_off(&self.next_sequence);
        let sealed = std::mem::take(&mut self.ready).into_iter().flat_map(|(_, chunk)| chunk);
        let open = std::mem::take(&mut self.open);
        (self.open_bytes, self.opened) = (0, None);
        sealed.chain(open).collect()
    }

    fn take_next_processed(&mut self) -> Option<ProcessedChunk> {
        if self.is_closed {
            return None;
        }
        self.processed.remove(&self.next_applied)
    }

    fn record_applied(&mut self, tally: Tally) {
        if let Some(chunk) = self.outstanding.remove(&self.next_applied) {
            self.tickets.apply(chunk.last);
        }
        self.next_applied += 1;
        for failure in &tally.failures {
            self.tickets.fail(failure.ticket, failure.cause.clone());
        }
        self.ledger.record(tally);
    }
}

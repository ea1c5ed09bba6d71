//! Bounds the operations in flight: each holds a permit from its submission until Tantivy has
//! indexed it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tantivy::TantivyDocument;
use tantivy::schema::document::{CompactDocValue, Document};

use crate::WriterOptions;

/// The bound on operations and bytes in flight.
#[derive(Debug)]
pub(crate) struct Budget {
    max_operations: usize,
    max_bytes: usize,
    held: Mutex<Held>,
    /// The time that documents spent in Tantivy's indexing threads, in nanoseconds.
    indexing: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    operations: usize,
    bytes: usize,
    /// The callers that wait for room, the first in line first: else small operations could keep a
    /// large one out for ever. Each has a signal of its own, so that only the first is woken.
    line: VecDeque<Arc<Condvar>>,
    /// The last probe of a caller that does not wait.
    probed: Option<Instant>,
    shut: bool,
}

/// The time that a caller waits for room before it probes whether there will ever be any.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

impl Held {
    fn wake_first(&self) {
        if let Some(first) = self.line.front() {
            first.notify_one();
        }
    }
}

impl Budget {
    pub(crate) fn new(options: &WriterOptions) -> Arc<Self> {
        Arc::new(Budget {
            max_operations: options.pending_operations.get(),
            max_bytes: options.pending_bytes.get(),
            held: Mutex::default(),
            indexing: AtomicU64::new(0),
        })
    }

    /// Waits for room, in the order of the callers; an operation that is larger than the budget gets in
    /// once it is alone.
    ///
    /// Returns `None` after [`Budget::shut`]. While it waits, it calls `probe` at intervals, which
    /// may shut the budget.
    pub(crate) fn acquire(self: &Arc<Self>, bytes: usize, probe: impl Fn()) -> Option<Permit> {
        let mut held = self.lock();
        if !(held.shut || held.line.is_empty() && self.has_room(&held, bytes)) {
            held = self.wait_in_line(held, bytes, probe);
        }
        if held.shut {
            return None;
        }
        Some(self.take(held, bytes))
    }

    /// Waits until an operation is the first in line and has room, or the budget is shut.
    fn wait_in_line<'b>(
        &'b self,
        mut held: MutexGuard<'b, Held>,
        bytes: usize,
        probe: impl Fn(),
    ) -> MutexGuard<'b, Held> {
        let turn = Arc::new(Condvar::new());
        let is_first =
            |held: &Held| held.line.front().is_some_and(|first| Arc::ptr_eq(first, &turn));
        held.line.push_back(turn.clone());
        while !(held.shut || is_first(&held) && self.has_room(&held, bytes)) {
            let waited = turn.wait_timeout(held, PROBE_INTERVAL);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            held = guard;
            if timeout.timed_out() && is_first(&held) {
                drop(held);
                probe();
                held = self.lock();
            }
        }
        held.line.retain(|other| !Arc::ptr_eq(other, &turn));
        held
    }

    /// Takes room where there is some; returns `None` where there is none, and after
    /// [`Budget::shut`]. Without room it calls `probe`, at intervals.
    pub(crate) fn try_acquire(self: &Arc<Self>, bytes: usize, probe: impl Fn()) -> Option<Permit> {
        let mut held = self.lock();
        if held.shut {
            return None;
        }
        if !held.line.is_empty() || !self.has_room(&held, bytes) {
            let is_due = held.probed.is_none_or(|probed| probed.elapsed() >= PROBE_INTERVAL);
            if is_due {
                held.probed = Some(Instant::now());
                drop(held);
                probe();
            }
            return None;
        }
        Some(self.take(held, bytes))
    }

    /// Grants no more permits, and wakes all that wait for one.
    pub(crate) fn shut(&self) {
        let mut held = self.lock();
        held.shut = true;
        held.line.iter().for_each(|waiting| waiting.notify_one());
    }

    /// Returns the number of operations in flight.
    pub(crate) fn operations(&self) -> usize {
        self.lock().operations
    }

    /// Returns the time that documents spent in Tantivy's indexing threads, summed over them.
    pub(crate) fn indexing(&self) -> Duration {
        Duration::from_nanos(self.indexing.load(Ordering::Relaxed))
    }

    fn take(self: &Arc<Self>, mut held: MutexGuard<'_, Held>, bytes: usize) -> Permit {
        held.operations += 1;
        held.bytes += bytes;
        // There may be room for the next in line too.
        held.wake_first();
        Permit { budget: self.clone(), bytes }
    }

    fn has_room(&self, held: &Held, bytes: usize) -> bool {
        held.operations == 0
            || (held.operations < self.max_operations && held.bytes + bytes <= self.max_bytes)
    }

    fn release(&self, bytes: usize) {
        let mut held = self.lock();
        held.operations -= 1;
        held.bytes -= bytes;
        held.wake_first();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be in flight; returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    pub(crate) bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// A document that holds its permit until Tantivy's indexing thread drops it.
///
/// Why not a plain document? Tantivy's own queue counts batches, not bytes, so that large documents
/// would pile up in it without bound. This also measures the time of indexing.
pub(crate) struct Metered {
    document: TantivyDocument,
    started: OnceLock<Instant>,
    permit: Permit,
}

impl Metered {
    pub(crate) fn new(document: TantivyDocument, permit: Permit) -> Self {
        Metered { document, started: OnceLock::new(), permit }
    }
}

impl fmt::Debug for Metered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metered").field("bytes", &self.permit.bytes).finish_non_exhaustive()
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if let Some(started) = self.started.get() {
            let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.permit.budget.indexing.fetch_add(nanos, Ordering::Relaxed);
        }
    }
}

impl Document for Metered {
    type Value<'a> = CompactDocValue<'a>;
    type FieldsValuesIter<'a> = <TantivyDocument as Document>::FieldsValuesIter<'a>;

    fn iter_fields_and_values(&self) -> Self::FieldsValuesIter<'_> {
        self.started.get_or_init(Instant::now);
        self.document.iter_fields_and_values()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::thread;

    use super::*;

    fn budget(operations: usize, bytes: usize) -> Arc<Budget> {
        let count = |n| NonZeroUsize::new(n).unwrap();
        Budget::new(
            &WriterOptions::new().pending_operations(count(operations)).pending_bytes(count(bytes)),
        )
    }

    #[test]
    fn an_operation_waits_for_room() {
        let budget = budget(2, 100);
        let (first, _second) = (budget.acquire(10, || {}), budget.acquire(10, || {}));
        let waiter = thread::spawn({
            let budget = budget.clone();
            move || budget.acquire(10, || {}).is_some()
        });
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        drop(first);
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn what_is_larger_than_the_budget_passes_alone() {
        let budget = budget(9, 100);
        let large = budget.acquire(1000, || {}).unwrap();
        let waiter = thread::spawn({
            let budget = budget.clone();
            move || budget.acquire(1, || {}).is_some()
        });
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        drop(large);
        assert!(waiter.join().unwrap());
        assert_eq!(budget.operations(), 0);
    }

    #[test]
    fn who_does_not_wait_gets_nothing_from_a_full_budget() {
        let budget = budget(2, 100);
        let first = budget.try_acquire(10, || {}).unwrap();
        let _second = budget.try_acquire(10, || {}).unwrap();
        let probes = AtomicU64::new(0);
        let probe = || {
            probes.fetch_add(1, Ordering::Relaxed);
        };
        for _ in 0..3 {
            assert!(budget.try_acquire(10, probe).is_none());
        }
        assert_eq!(probes.load(Ordering::Relaxed), 1, "it probes at intervals");
        drop(first);
        assert!(budget.try_acquire(99, || {}).is_none(), "too large");
        assert!(budget.try_acquire(10, || {}).is_some());
        budget.shut();
        assert!(budget.try_acquire(10, || {}).is_none());
    }

    #[test]
    fn a_large_operation_is_not_kept_out_by_small_ones_behind_it() {
        let budget = budget(9, 100);
        let held = [budget.acquire(40, || {}), budget.acquire(40, || {})];
        let wait = |bytes| {
            let budget = budget.clone();
            let waiter = thread::spawn(move || budget.acquire(bytes, || {}));
            thread::sleep(Duration::from_millis(20));
            waiter
        };
        let (large, small) = (wait(90), wait(10));
        assert!(!small.is_finished(), "it waits behind the large one");
        assert!(budget.try_acquire(10, || {}).is_none(), "so does who would not wait");
        drop(held);
        let large = large.join().unwrap();
        drop((large, small.join().unwrap()));
        assert_eq!(budget.operations(), 0);
        assert!(budget.try_acquire(10, || {}).is_some());
    }

    #[test]
    fn shutting_wakes_the_waiting() {
        let budget = budget(1, 100);
        let _held = budget.acquire(1, || {});
        let waiter = thread::spawn({
            let budget = budget.clone();
            move || budget.acquire(1, || {}).is_none()
        });
        budget.shut();
        assert!(waiter.join().unwrap());
    }
}

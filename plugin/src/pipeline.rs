//! The tagging threads, between the queue and both stores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autotag::Encoder;

use crate::budget::Budget;
use crate::operation::Chunk;
use crate::plainly::with_causes;
use crate::queue::Queue;
use crate::stores::Stores;
use crate::worker::Worker;
use crate::{Error, Result, SharedThreads};

pub(crate) struct Pipeline<E> {
    pub(crate) worker: Worker<E>,
    /// The bound on the work of all writers that share it.
    pub(crate) threads: Option<SharedThreads>,
    pub(crate) queue: Queue,
    pub(crate) budget: Arc<Budget>,
    /// `None` once the writer is closed.
    pub(crate) stores: Mutex<Option<Stores>>,
}

impl<E: Encoder> Pipeline<E> {
    /// Processes chunks until the queue is closed or stopped.
    pub(crate) fn work(&self) {
        while let Some(chunk) = self.queue.take() {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work_on(chunk)));
            let outcome = outcome.unwrap_or_else(|panic| {
                Err(Error::Panicked { message: autotag::panic_message(panic.as_ref()) })
            });
            match outcome {
                // It was stopped where the failure was met.
                Err(Error::Stopped { .. }) | Ok(()) => {}
                Err(cause) if !self.queue.is_closed() => drop(self.stop(cause)),
                // The outcome of a thread that was left behind does not matter.
                Err(_) => {}
            }
        }
    }

    #[tracing::instrument(level = "debug", name = "chunk", skip_all, fields(n_operations = chunk.operations.len()))]
    fn work_on(&self, chunk: Chunk) -> Result<()> {
        let sequence = chunk.sequence;
        let turn = self.threads.as_ref().map(SharedThreads::turn);
        if self.queue.is_over() {
            return Ok(());
        }
        let processed = self.worker.process(chunk)?;
        // The stores of one writer are no matter of the others.
        drop(turn);
        let apply = |changes| {
            let applied = autotag::guarded(|| self.with_stores(|stores| stores.apply(changes)));
            let applied = applied.unwrap_or_else(|message| Err(Error::Panicked { message }));
            // Also when the queue is closed: whoever closes it waits for this, and may not commit then.
            applied.map_err(|cause| self.stop(cause))
        };
        self.queue.finish(sequence, processed, apply)
    }

    pub(crate) fn with_stores<T>(
        &self,
        change: impl FnOnce(&mut Stores) -> Result<T>,
    ) -> Result<T> {
        match self.lock_stores().as_mut() {
            Some(stores) => change(stores),
            None => Err(Error::Closed),
        }
    }

    pub(crate) fn lock_stores(&self) -> MutexGuard<'_, Option<Stores>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops when Tantivy's indexing thread has died, for instance on a full disk.
    ///
    /// Why? The documents in that thread's queue keep their permits then, and callers that wait for
    /// room would wait forever.
    pub(crate) fn probe(&self) {
        // Whoever holds the lock meets the error by itself.
        let outcome = match self.stores.try_lock() {
            Ok(mut stores) => stores.as_mut().map_or(Ok(()), Stores::probe),
            Err(_) => Ok(()),
        };
        if let Err(cause) = outcome {
            self.stop(cause);
        }
    }

    /// Stops the queue and the budget, and wakes all that wait for them.
    pub(crate) fn stop(&self, cause: Error) -> Error {
        tracing::error!(cause = with_causes(&cause), "the writer stops");
        let cause = self.queue.stop(cause);
        self.budget.shut();
        Error::Stopped { cause }
    }
}

//! Closing a writer: in an unbounded time without a commit, or in a bounded time with one.

use std::sync::PoisonError;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use autotag::Encoder;
use tantivy::indexer::NoMergePolicy;

use crate::pipeline::Pipeline;
use crate::plainly::with_causes;
use crate::stores::Stores;
use crate::{CloseReport, CommitSummary, Error, Result, TaggingWriter};

/// The time that idle threads and merges have to end, also when the deadline has passed.
const CLOSING_GRACE: Duration = Duration::from_millis(100);

/// The time between two looks at threads that are to end.
const CLOSING_POLL: Duration = Duration::from_millis(1);

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Closes the writer: waits for Tantivy's merges and releases the index.
    ///
    /// Commit first: uncommitted work is lost. Dropping the writer does the same as this, but only
    /// warns of a failed merge.
    ///
    /// # Errors
    ///
    /// When a merge failed; the last commit is safe nevertheless.
    pub fn close(self) -> Result<()> {
        self.shut_down();
        match self.pipeline.lock_stores().take() {
            Some(stores) => {
                let merged = stores.tantivy.wait_merging_threads();
                merged.map_err(Error::tantivy("merged segments"))
            }
            None => Ok(()),
        }
    }

    /// Takes no more operations, tags those submitted before as far as the time allows, commits what is
    /// done, and releases the index. The report says what was not committed.
    ///
    /// Other processes can open the index then; this one can once the writer is dropped, since a datastore
    /// is open once in a process.
    ///
    /// An encoder that hangs does not hold it up: what its threads are at is left behind with them. The
    /// commit itself, and one that another thread is making, are not cut short. What is committed is in
    /// the order of submission: an operation that is done behind one that is not done is not committed.
    /// Failed documents are in the report's summary, whatever the policy. Later operations and
    /// commits return [`Error::Closed`]; tickets can still be asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when a store failed, now or before; the index is released then too, in the
    /// state of its last commit. [`Error::Closed`] when the writer was closed before.
    pub fn close_within(&self, timeout: Duration) -> Result<CloseReport> {
        let deadline = Instant::now().checked_add(timeout);
        let Pipeline { queue, budget, .. } = &*self.pipeline;
        // Callers that wait for room need not wait until the end.
        budget.shut();
        let committed = queue
            .close_by(deadline)
            .and_then(|uncommitted| Ok((uncommitted, self.commit_closed()?)));
        if let Err(Error::Closed) = committed {
            return Err(Error::Closed);
        }
        queue.close();
        let busy_threads = self.leave_threads(deadline);
        let is_merging = self.release(deadline);
        let (uncommitted, summary) = committed?;
        Ok(CloseReport { summary, uncommitted, busy_threads, is_merging })
    }

    /// Commits what is applied after the queue was closed.
    fn commit_closed(&self) -> Result<CommitSummary> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.commit_paused(&mut committed, |_, _| Ok(()));
        self.end_pause(outcome, |done| self.summarize(done))
    }

    /// Ends the tagging threads, however long that takes.
    fn shut_down(&self) {
        let threads = std::mem::take(&mut *self.lock_threads());
        if threads.is_empty() {
            return;
        }
        if self.pipeline.queue.has_uncommitted() {
            tracing::warn!("the writer is closed with uncommitted work, which is lost");
        }
        self.pipeline.queue.close();
        self.pipeline.budget.shut();
        for thread in threads {
            // A panic was caught and reported already.
            let _ = thread.join();
        }
    }

    /// Waits for the tagging threads to end, but not beyond the deadline; returns the number of those
    /// that have not.
    fn leave_threads(&self, deadline: Option<Instant>) -> usize {
        let mut threads = std::mem::take(&mut *self.lock_threads());
        let grace = Instant::now() + CLOSING_GRACE;
        let deadline = deadline.map(|deadline| deadline.max(grace));
        loop {
            threads.retain(|thread| !thread.is_finished());
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if threads.is_empty() || is_over {
                return threads.len();
            }
            thread::sleep(CLOSING_POLL);
        }
    }

    /// Releases both stores; tells whether Tantivy's merges go on beyond the deadline.
    fn release(&self, deadline: Option<Instant>) -> bool {
        let Some(stores) = self.pipeline.lock_stores().take() else { return false };
        // The merges that run are the last.
        stores.tantivy.set_merge_policy(Box::new(NoMergePolicy));
        let (merged, is_merged) = mpsc::channel();
        let thread = thread::Builder::new().name("autotag-merging".to_owned());
        let wait = move || {
            end_merges(stores);
            let _ = merged.send(());
        };
        if let Err(error) = thread.spawn(wait) {
            tracing::warn!(%error, "Tantivy's merges are not waited for");
            return false;
        }
        let Some(deadline) = deadline else { return is_merged.recv().is_err() };
        let rest = deadline.saturating_duration_since(Instant::now()).max(CLOSING_GRACE);
        matches!(is_merged.recv_timeout(rest), Err(RecvTimeoutError::Timeout))
    }
}

impl<E: Encoder + 'static> Drop for TaggingWriter<E> {
    /// Loses all operations since the last commit, and waits for the tagging threads and Tantivy's
    /// merges, however long they take; after [`close_within`](TaggingWriter::close_within) it does
    /// nothing.
    ///
    /// Why wait? A dropped `IndexWriter` releases its lock while a merge may be ending, which then writes
    /// the list of segments and removes files that the next writer has read about already.
    fn drop(&mut self) {
        self.shut_down();
        if let Some(stores) = self.pipeline.lock_stores().take() {
            end_merges(stores);
        }
    }
}

/// Waits for Tantivy's merges and releases both stores, Tantivy first.
fn end_merges(stores: Stores) {
    let Stores { tantivy, datastore, .. } = stores;
    if let Err(error) = tantivy.wait_merging_threads() {
        tracing::warn!(error = with_causes(&error), "a merge failed; the last commit is safe");
    }
    drop(datastore);
}

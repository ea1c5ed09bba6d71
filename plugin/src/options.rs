//! The options of a writer.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::Clock;

/// The policy for documents that cannot be tagged.
///
/// Under each policy the next [`CommitSummary`](crate::CommitSummary) lists the failed key and its
/// cause, and every other document is indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The operation has no effect (an older document of that key stays), and the next call to the
    /// writer returns [`Error::Document`](crate::Error::Document).
    ///
    /// That call does nothing else: its own document is not taken, or nothing is committed. The
    /// writer stays usable, and making the call again goes on without the failed document.
    #[default]
    Fail,
    /// The operation has no effect: an older document of that key stays.
    Skip,
    /// The document is indexed without predicted tags; one with labels given by hand keeps those
    /// as its tags, but does not become a neighbor.
    IndexUntagged,
}

/// The options of a [`TaggingWriter`](crate::TaggingWriter); the defaults suit a small machine.
#[derive(Clone, Debug, PartialEq)]
pub struct WriterOptions {
    /// The policy for documents that cannot be tagged.
    pub on_failure: OnFailure,
    /// The number of threads that tag; one per available core where absent.
    pub threads: Option<NonZeroUsize>,
    /// The most operations of a chunk, which are tagged together.
    pub chunk_operations: NonZeroUsize,
    /// The size in bytes at which a chunk is full.
    pub chunk_bytes: NonZeroUsize,
    /// The most operations in flight; `add` blocks beyond it.
    pub pending_operations: NonZeroUsize,
    /// The most bytes of documents in flight; `add` blocks beyond it. A larger document passes alone.
    pub pending_bytes: NonZeroUsize,
    /// The time that an idle thread waits for a chunk to fill.
    pub linger: Duration,
    /// The number of Tantivy's indexing threads.
    pub tantivy_threads: NonZeroUsize,
    /// The memory in bytes that each of Tantivy's indexing threads fills before it writes a
    /// segment; Tantivy accepts 15 MB and up.
    pub tantivy_memory: usize,
    /// The number of documents between two commits of a job: an interruption costs at most so many.
    pub job_documents: NonZeroUsize,
    /// The most failures that a commit lists; more are only counted.
    pub listed_failures: usize,
    /// The clock by which documents are dated, where the schema has a field for the time of their
    /// last change.
    pub clock: Clock,
}

impl Default for WriterOptions {
    fn default() -> Self {
        let count = |n| NonZeroUsize::new(n).expect("the defaults are not 0");
        WriterOptions {
            on_failure: OnFailure::default(),
            threads: None,
            chunk_operations: count(256),
            chunk_bytes: count(4 << 20),
            pending_operations: count(4096),
            pending_bytes: count(64 << 20),
            linger: Duration::from_millis(10),
            tantivy_threads: count(1),
            tantivy_memory: 64 << 20,
            job_documents: count(10_000),
            listed_failures: 100,
            clock: Clock::default(),
        }
    }
}

impl WriterOptions {
    /// Returns the number of threads that tag.
    pub(crate) fn n_threads(&self) -> usize {
        let threads = self.threads.or_else(|| available_parallelism().ok());
        threads.map_or(1, NonZeroUsize::get)
    }

    /// Returns the most operations of a chunk.
    ///
    /// Every thread must be able to have one and another waiting for it, or a small bound on pending
    /// operations would leave threads idle.
    pub(crate) fn chunk_limit(&self) -> usize {
        let share = self.pending_operations.get() / (2 * self.n_threads());
        self.chunk_operations.get().min(share.max(1))
    }
}

//! The options of a writer.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tantivy::indexer::MergePolicy;

use crate::{Clock, SharedThreads};

/// The policy for documents that cannot be tagged.
///
/// Under each policy the next [`CommitSummary`](crate::CommitSummary) lists the failed key and its
/// cause, and every other document is indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// The demand that documents of the index can be written again: for corrections, for
/// tagging again, and for changing labels.
///
/// That takes every value of a document. Most are read from stored fields; a field that is not
/// stored can do with its fast field, unless that changes the values (as a tokenizer of fast fields
/// does). Text that is indexed in words must be stored, and so must JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corrections {
    /// Opening an index whose documents cannot be written again is
    /// [`Error::NotStored`](crate::Error::NotStored), with the fields.
    #[default]
    Required,
    /// Any schema is opened. Where documents cannot be written again, corrections and jobs are
    /// [`Error::NotStored`](crate::Error::NotStored); hand a document over again instead, with
    /// [`add_labeled`](crate::TaggingWriter::add_labeled).
    Unsupported,
}

/// The options of a [`TaggingWriter`](crate::TaggingWriter); the defaults suit a small machine.
///
/// In JSON, options that are left out have their defaults; `linger` is in seconds. The merge policy, the
/// bound on threads and the clock have no JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WriterOptions {
    /// The policy for documents that cannot be tagged.
    pub on_failure: OnFailure,
    /// The number of threads that tag; where absent, as many as may work at once by
    /// [`shared_threads`](WriterOptions::shared_threads), else one per available core.
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
    #[serde(with = "crate::seconds")]
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
    /// The demand that the schema allow corrections.
    pub corrections: Corrections,
    /// The policy by which Tantivy merges segments; one by their sizes and deletions where absent.
    /// Damaged segments are never merged.
    #[serde(skip)]
    pub merge_policy: Option<Arc<dyn MergePolicy>>,
    /// A bound on the threads that tag at once, shared with other writers of this process.
    #[serde(skip)]
    pub shared_threads: Option<SharedThreads>,
    /// The clock by which documents are dated, where the schema has a field for the time of their
    /// last change.
    #[serde(skip)]
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
            corrections: Corrections::default(),
            merge_policy: None,
            shared_threads: None,
            clock: Clock::default(),
        }
    }
}

impl WriterOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        WriterOptions::default()
    }

    /// Sets the policy for documents that cannot be tagged.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets the number of threads that tag.
    pub fn threads(mut self, threads: Option<NonZeroUsize>) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the most operations of a chunk.
    pub fn chunk_operations(mut self, chunk_operations: NonZeroUsize) -> Self {
        self.chunk_operations = chunk_operations;
        self
    }

    /// Sets the size in bytes at which a chunk is full.
    pub fn chunk_bytes(mut self, chunk_bytes: NonZeroUsize) -> Self {
        self.chunk_bytes = chunk_bytes;
        self
    }

    /// Sets the most operations in flight.
    pub fn pending_operations(mut self, pending_operations: NonZeroUsize) -> Self {
        self.pending_operations = pending_operations;
        self
    }

    /// Sets the most bytes of documents in flight.
    pub fn pending_bytes(mut self, pending_bytes: NonZeroUsize) -> Self {
        self.pending_bytes = pending_bytes;
        self
    }

    /// Sets the time that an idle thread waits for a chunk to fill.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets the number of Tantivy's indexing threads.
    pub fn tantivy_threads(mut self, tantivy_threads: NonZeroUsize) -> Self {
        self.tantivy_threads = tantivy_threads;
        self
    }

    /// Sets the memory in bytes that each of Tantivy's indexing threads fills.
    pub fn tantivy_memory(mut self, tantivy_memory: usize) -> Self {
        self.tantivy_memory = tantivy_memory;
        self
    }

    /// Sets the number of documents between two commits of a job.
    pub fn job_documents(mut self, job_documents: NonZeroUsize) -> Self {
        self.job_documents = job_documents;
        self
    }

    /// Sets the most failures that a commit lists.
    pub fn listed_failures(mut self, listed_failures: usize) -> Self {
        self.listed_failures = listed_failures;
        self
    }

    /// Sets whether the schema must allow corrections.
    pub fn corrections(mut self, corrections: Corrections) -> Self {
        self.corrections = corrections;
        self
    }

    /// Sets the policy by which Tantivy merges segments.
    pub fn merge_policy(mut self, merge_policy: Option<Arc<dyn MergePolicy>>) -> Self {
        self.merge_policy = merge_policy;
        self
    }

    /// Sets a bound on the threads that tag at once.
    pub fn shared_threads(mut self, shared_threads: Option<SharedThreads>) -> Self {
        self.shared_threads = shared_threads;
        self
    }

    /// Sets the clock by which documents are dated.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the number of threads that tag.
    pub(crate) fn n_threads(&self) -> usize {
        let shared = || self.shared_threads.as_ref().map(SharedThreads::limit);
        let threads = self.threads.or_else(shared).or_else(|| available_parallelism().ok());
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

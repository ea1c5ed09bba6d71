//! Reports of a writer's work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use autotag::{EncodeError, Evidence};
use serde::{Deserialize, Serialize, Serializer};

use crate::Ticket;
use crate::plainly::with_causes;

/// The time spent in each stage, summed over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WriterTimes {
    /// Splitting texts into tokens.
    #[serde(with = "crate::seconds")]
    pub tokenize: Duration,
    /// Running the model.
    #[serde(with = "crate::seconds")]
    pub encode: Duration,
    /// Searching neighbors, mixing and selecting.
    #[serde(with = "crate::seconds")]
    pub neighbors: Duration,
    /// Tantivy: indexing documents, writing segments, committing.
    #[serde(with = "crate::seconds")]
    pub tantivy: Duration,
    /// The datastore: storing neighbors, committing, and where they are many, building trees now and then.
    #[serde(with = "crate::seconds")]
    pub datastore: Duration,
}

impl WriterTimes {
    pub(crate) fn add(&mut self, more: &WriterTimes) {
        self.tokenize += more.tokenize;
        self.encode += more.encode;
        self.neighbors += more.neighbors;
        self.tantivy += more.tantivy;
        self.datastore += more.datastore;
    }

    /// Returns the time since an earlier reading of the same writer.
    pub(crate) fn since(&self, earlier: &WriterTimes) -> WriterTimes {
        WriterTimes {
            tokenize: self.tokenize.saturating_sub(earlier.tokenize),
            encode: self.encode.saturating_sub(earlier.encode),
            neighbors: self.neighbors.saturating_sub(earlier.neighbors),
            tantivy: self.tantivy.saturating_sub(earlier.tantivy),
            datastore: self.datastore.saturating_sub(earlier.datastore),
        }
    }
}

/// The state of a writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Health {
    /// It takes operations.
    #[default]
    Running,
    /// It met a failure that it cannot work around, and takes no more operations: fix the cause and
    /// open the index again, in the state of its last commit.
    Stopped {
        /// The failure and what caused it, as one line.
        reason: String,
    },
    /// It was closed.
    Closed,
}

/// A writer's work since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WriterStats {
    /// The writer's state.
    pub health: Health,
    /// Documents given to Tantivy, tagged or with labels of their own.
    pub documents: u64,
    /// Texts that were encoded.
    pub encoded: u64,
    /// Texts whose earlier answer was reused: they are the same as before under the same key.
    pub reused: u64,
    /// Operations in flight.
    pub queue_depth: usize,
    /// Chunks of operations.
    pub batches: u64,
    /// The time spent in each stage, summed over the threads.
    pub times: WriterTimes,
    /// The time since the writer was opened.
    #[serde(with = "crate::seconds")]
    pub wall: Duration,
}

/// The summary of a commit.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CommitSummary {
    /// Documents that were tagged.
    pub tagged: u64,
    /// Documents that came with labels and are neighbors from now on.
    pub labeled: u64,
    /// Requested deletions, of existing documents or not.
    pub deleted: u64,
    /// Documents that could not be tagged.
    pub failed: u64,
    /// The first of the failed documents, as many as the options list.
    pub failures: Vec<FailedDocument>,
    /// The time spent in each stage since the last commit, summed over the threads.
    pub times: WriterTimes,
    /// Tantivy's number of the commit.
    pub opstamp: u64,
    /// The commit's number, larger than that of every earlier commit to the index.
    pub generation: u64,
}

/// The outcome of [`close_within`](crate::TaggingWriter::close_within).
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CloseReport {
    /// The last commit.
    pub summary: CommitSummary,
    /// The keys of the operations that were not committed, in the order of their submission; a key
    /// may stand several times. Their tickets are lost.
    pub uncommitted: Vec<String>,
    /// The tagging threads that were still at work on a chunk. They end when their encoder returns.
    pub busy_threads: usize,
    /// Tantivy is still merging segments, on a thread of its own. The index stays locked until
    /// that has ended; ending the process instead loses nothing.
    pub is_merging: bool,
}

/// The changes of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RetagReport {
    /// Documents examined.
    pub documents: u64,
    /// Documents whose tags changed.
    pub changed: u64,
    /// The number of documents that gained a label, by label.
    pub gained: BTreeMap<String, u64>,
    /// The number of documents that lost a label, by label.
    pub lost: BTreeMap<String, u64>,
}

impl RetagReport {
    /// Counts a document.
    pub(crate) fn add(&mut self, before: &Evidence, after: &Evidence) {
        let labels = |evidence: &Evidence| -> BTreeSet<String> {
            evidence.tags.iter().map(|tag| tag.label.clone()).collect()
        };
        let (before, after) = (labels(before), labels(after));
        self.documents += 1;
        self.changed += u64::from(before != after);
        for label in after.difference(&before) {
            *self.gained.entry(label.clone()).or_default() += 1;
        }
        for label in before.difference(&after) {
            *self.lost.entry(label.clone()).or_default() += 1;
        }
    }

    pub(crate) fn merge(&mut self, more: RetagReport) {
        self.documents += more.documents;
        self.changed += more.changed;
        for (all, more) in [(&mut self.gained, more.gained), (&mut self.lost, more.lost)] {
            for (label, count) in more {
                *all.entry(label).or_default() += count;
            }
        }
    }
}

/// A document that could not be tagged.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FailedDocument {
    /// Its key.
    pub key: String,
    /// Its ticket.
    pub ticket: Ticket,
    /// Why it failed; in JSON the error and its causes as one line.
    #[serde(serialize_with = "as_line")]
    pub cause: EncodeError,
}

/// Writes an error and its causes as one line.
pub(crate) fn as_line<S: Serializer>(
    error: &EncodeError,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&with_causes(error))
}

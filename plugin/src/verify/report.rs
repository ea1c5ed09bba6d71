//! The findings of an integrity check.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use autotag::datastore::DatastoreProblem;
use serde::{Serialize, Serializer};

use crate::plainly::with_causes;
use crate::{Job, Result};

/// The most problems that are listed; more are only counted.
const MAX_LISTED: usize = 100;

/// The findings of [`IndexFolder::verify`](crate::IndexFolder::verify).
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The number of the last commit; 0 where autotag has committed nothing yet.
    pub generation: u64,
    /// The number of documents, where they can be read.
    pub documents: Option<u64>,
    /// The number of documents whose labels people gave.
    pub labeled: u64,
    /// The number of neighbors, where they can be read.
    pub neighbors: Option<u64>,
    /// The number of neighbors of the training set.
    pub training: u64,
    /// The index was migrated to another encoder, and nothing was committed since.
    pub is_migrated: bool,
    /// The unfinished job.
    pub job: Option<Job>,
    /// The fate of an interrupted commit once the index is opened for writing.
    pub interrupted: Option<Interrupted>,
    /// Files that belong to no commit, as killed processes leave them. They are harmless; opening the
    /// index for writing removes them.
    pub unused_files: Vec<PathBuf>,
    /// The first problems, at most 100.
    pub problems: Vec<Problem>,
    /// The number of problems.
    pub n_problems: u64,
}

/// The fate of a commit whose process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interrupted {
    /// Its documents are published; its neighbors follow.
    Completed,
    /// It is dropped as a whole.
    Dropped,
}

/// A part of an index that is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexPart {
    /// The schema and the list of segments.
    Index,
    /// The last commit: its payload and its list of segments.
    LastCommit,
    /// The folder's list of files.
    Folder,
    /// A file of a segment.
    File,
    /// The stored documents.
    Documents,
    /// The datastore.
    Datastore,
    /// The datastore's items.
    Neighbors,
    /// The datastore's journal.
    Journal,
}

impl fmt::Display for IndexPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            IndexPart::Index => "the index",
            IndexPart::LastCommit => "the last commit",
            IndexPart::Folder => "the folder",
            IndexPart::File => "a file of the index",
            IndexPart::Documents => "the documents",
            IndexPart::Datastore => "the datastore",
            IndexPart::Neighbors => "the neighbors",
            IndexPart::Journal => "the journal",
        })
    }
}

/// A violation of an index's integrity; in JSON its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file was changed after it was written.
    #[error("the file {} is damaged: its checksum differs", path.display())]
    DamagedFile {
        /// Its path inside the index's folder.
        path: PathBuf,
    },
    /// A part of the index cannot be read.
    #[error("{part} cannot be read: {cause}")]
    Unreadable {
        /// The part.
        part: IndexPart,
        /// The error and its causes.
        cause: String,
    },
    /// The datastore's own integrity check failed.
    #[error("the datastore: {0}")]
    Datastore(DatastoreProblem),
    /// The datastore has commits that the index lacks.
    #[error(
        "the datastore is at commit {datastore}, the index at {index}: was one restored alone?"
    )]
    DatastoreAhead {
        /// The datastore's last commit.
        datastore: u64,
        /// The index's.
        index: u64,
    },
    /// A document has no key.
    #[error("a document has no key")]
    NoKey,
    /// Another program made the last commit: the datastore lacks its changes.
    #[error(
        "the last commit was not made by autotag, or its payload is gone: the neighbors lack its changes; `repair` makes both agree"
    )]
    UnknownCommit,
    /// A segment has another number of documents than the list of segments says.
    #[error("segment {segment} holds {found} {what} where meta.json says {listed}")]
    Count {
        /// The segment's id.
        segment: String,
        /// The things counted.
        what: &'static str,
        /// Their number in meta.json.
        listed: u32,
        /// Their number in the segment.
        found: u32,
    },
    /// Two documents have the same key.
    #[error("document {key:?} is there twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// A document's evidence does not decode.
    #[error("the evidence of document {key:?} does not decode")]
    Evidence {
        /// The document's key.
        key: String,
    },
    /// A document that people labeled is no neighbor.
    #[error("document {key:?} was labeled by people but is no neighbor")]
    NoNeighbor {
        /// The document's key.
        key: String,
    },
    /// A neighbor's document is missing.
    #[error("neighbor {key:?} has no document")]
    NoDocument {
        /// The neighbor's key.
        key: String,
    },
    /// A record's document is missing.
    #[error("the datastore keeps a record of document {key:?}, which is not there")]
    Forgotten {
        /// The document's key.
        key: String,
    },
    /// A document and its neighbor have different labels.
    #[error("document {key:?} is labeled {document:?}, its neighbor {neighbor:?}")]
    Labels {
        /// Their key.
        key: String,
        /// The labels that people gave the document.
        document: BTreeSet<String>,
        /// The neighbor's labels.
        neighbor: BTreeSet<String>,
    },
}

impl VerifyReport {
    /// Tells whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.n_problems == 0
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.n_problems += 1;
        if self.problems.len() < MAX_LISTED {
            self.problems.push(problem);
        }
    }

    /// Records the error of a part that cannot be read.
    pub(super) fn note<T, E: std::error::Error + 'static>(
        &mut self,
        part: IndexPart,
        outcome: Result<T, E>,
    ) -> Option<T> {
        outcome
            .map_err(|error| self.add(Problem::Unreadable { part, cause: with_causes(&error) }))
            .ok()
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

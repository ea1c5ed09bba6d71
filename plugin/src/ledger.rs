//! Counts the work done: since the last commit, and since the writer was opened.

use std::time::Duration;

use autotag::EncodeError;

use crate::{
    CommitSummary, Error, FailedDocument, OnFailure, RetagReport, WriterOptions, WriterStats,
    WriterTimes,
};

/// The work done on one chunk.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) tagged: u64,
    pub(crate) labeled: u64,
    pub(crate) deleted: u64,
    /// Texts that were encoded, and those whose earlier answer was reused.
    pub(crate) encoded: u64,
    pub(crate) reused: u64,
    pub(crate) retagged: RetagReport,
    pub(crate) failures: Vec<FailedDocument>,
    pub(crate) times: WriterTimes,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    on_failure: OnFailure,
    listed_failures: usize,
    /// The work since the last commit; its times are filled when it is taken.
    summary: CommitSummary,
    times_at_commit: WriterTimes,
    unreported: Option<Unreported>,
    documents: u64,
    encoded: u64,
    reused: u64,
    batches: u64,
    times: WriterTimes,
    /// The changes of the running job.
    retagged: RetagReport,
}

/// A failure to be reported, and the number of failures after it.
#[derive(Debug)]
struct Unreported {
    key: String,
    cause: EncodeError,
    others: usize,
}

impl Ledger {
    pub(crate) fn new(options: &WriterOptions) -> Self {
        let WriterOptions { on_failure, listed_failures, .. } = *options;
        Ledger { on_failure, listed_failures, ..Ledger::default() }
    }

    /// Adds an applied chunk.
    pub(crate) fn record(&mut self, tally: Tally) {
        self.batches += 1;
        self.documents += tally.tagged + tally.labeled;
        self.encoded += tally.encoded;
        self.reused += tally.reused;
        self.retagged.merge(tally.retagged);
        self.times.add(&tally.times);
        self.summary.tagged += tally.tagged;
        self.summary.labeled += tally.labeled;
        self.summary.deleted += tally.deleted;
        for failure in tally.failures {
            self.record_failure(failure);
        }
    }

    fn record_failure(&mut self, failure: FailedDocument) {
        self.summary.failed += 1;
        if self.on_failure == OnFailure::Fail {
            match &mut self.unreported {
                Some(unreported) => unreported.others += 1,
                none => {
                    let FailedDocument { key, cause, .. } = failure.clone();
                    *none = Some(Unreported { key, cause, others: 0 });
                }
            }
        }
        if self.summary.failures.len() < self.listed_failures {
            self.summary.failures.push(failure);
        }
    }

    /// Takes the failure to be reported.
    pub(crate) fn report(&mut self) -> Option<Error> {
        let Unreported { key, cause, others } = self.unreported.take()?;
        Some(Error::Document { key, others, source: cause })
    }

    /// Takes the summary of the work since it was last taken. `indexing` is the time that Tantivy's
    /// threads have spent so far.
    pub(crate) fn take_summary(&mut self, indexing: Duration) -> CommitSummary {
        let times = self.times(indexing);
        let mut summary = std::mem::take(&mut self.summary);
        summary.times = times.since(&self.times_at_commit);
        self.times_at_commit = times;
        summary
    }

    /// Forgets the work since the last commit, which was dropped; the totals count it all the same.
    pub(crate) fn roll_back(&mut self) {
        self.summary = CommitSummary::default();
        self.unreported = None;
        self.retagged = RetagReport::default();
    }

    /// Adds time spent outside of chunks.
    pub(crate) fn add_times(&mut self, times: &WriterTimes) {
        self.times.add(times);
    }

    /// Returns the work since the writer was opened, as far as the ledger counts it.
    pub(crate) fn stats(&self, indexing: Duration) -> WriterStats {
        WriterStats {
            documents: self.documents,
            encoded: self.encoded,
            reused: self.reused,
            batches: self.batches,
            times: self.times(indexing),
            ..WriterStats::default()
        }
    }

    /// Takes the changes of the running job.
    pub(crate) fn take_retagged(&mut self) -> RetagReport {
        std::mem::take(&mut self.retagged)
    }

    fn times(&self, indexing: Duration) -> WriterTimes {
        WriterTimes { tantivy: self.times.tantivy + indexing, ..self.times }
    }
}

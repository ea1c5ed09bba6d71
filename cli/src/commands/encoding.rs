//! Shows how a frozen encoder goes through texts.

use crate::progress::{Progress, Quiet};

/// A bar for the data set under way.
pub(super) struct Encoding {
    bar: Option<Progress>,
    done: usize,
    is_quiet: Quiet,
}

impl Encoding {
    pub(super) fn begin(is_quiet: Quiet) -> Self {
        Encoding { bar: None, done: 0, is_quiet }
    }

    /// Shows that `done` of a data set's texts are encoded; the first time those that are known.
    pub(super) fn show(&mut self, done: usize, of: usize) {
        if self.bar.is_none() {
            (self.bar, self.done) = (Some(self.first(done, of)), done);
        }
        if let Some(bar) = &self.bar {
            bar.add(done.saturating_sub(self.done) as u64);
        }
        self.done = done;
        if done == of {
            self.bar = None;
        }
    }

    fn first(&self, known: usize, of: usize) -> Progress {
        tracing::info!(n_texts = of, known, "encode");
        Progress::begin("encode", Some((of - known) as u64), self.is_quiet)
    }
}

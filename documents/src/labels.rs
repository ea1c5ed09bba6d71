//! The labels of one document while it is read.

use std::collections::HashSet;

/// Labels, each once, in the order given.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    names: Vec<String>,
    seen: HashSet<String>,
}

/// More labels than a document may have.
#[derive(Debug)]
pub(crate) struct TooMany;

/// The most labels of one document; more are a mistake, and would take memory without bound.
pub(crate) const MAX_LABELS: usize = 1 << 16;

impl Labels {
    /// Adds a label where it is not there yet.
    pub(crate) fn add(&mut self, name: &str) -> Result<(), TooMany> {
        if self.seen.contains(name) {
            return Ok(());
        }
        if self.names.len() == MAX_LABELS {
            return Err(TooMany);
        }
        self.seen.insert(name.to_owned());
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Returns them.
    pub(crate) fn into_vec(self) -> Vec<String> {
        self.names
    }
}

//! A document, and its size in memory.

/// A document as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The line it begins on, counted from 1.
    pub line: u64,
    /// The line it ends on.
    pub last_line: u64,
    /// The caller's key, not empty.
    pub key: String,
    /// The text; it may be empty.
    pub text: String,
    /// The labels, each once, in the order given; none for an unlabeled document.
    pub labels: Vec<String>,
}

impl Document {
    /// Estimates what it takes in memory, in bytes.
    pub fn memory(&self) -> usize {
        let labels = self.labels.iter().map(memory_of).sum::<usize>();
        size_of::<Document>() + memory_of(&self.key) + memory_of(&self.text) + labels
    }
}

/// Returns what a string takes in memory, with what the allocator adds to it.
pub(crate) fn memory_of(text: &String) -> usize {
    const ALLOCATED: usize = 16;
    size_of::<String>() + ALLOCATED + text.capacity()
}

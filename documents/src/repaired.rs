//! Counts repaired lines.

/// The lines with invalid UTF-8 in a text, which was replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Repaired {
    n_lines: u64,
    first: u64,
}

impl Repaired {
    pub(crate) fn note(&mut self, line: u64) {
        self.first = if self.n_lines == 0 { line } else { self.first };
        self.n_lines += 1;
    }

    pub(crate) fn warn(self, file: &str) {
        if self.n_lines > 0 {
            let Repaired { n_lines, first } = self;
            tracing::warn!(
                file,
                n_lines,
                first,
                "invalid UTF-8: the broken bytes were replaced by U+FFFD"
            );
        }
    }
}

//! The distinct tokens of a batch, and the windows over them.
//!
//! A window counts when it lies within its text. A text shorter than the window has one window, the first,
//! filled up with padding, token 0, whose embedding is zero. This goes for each width by itself: in a text of
//! two tokens a width of 2 has one window without padding, whatever the widest is. [`met`] is the one place
//! that says so for the trainer; the export says the same of its mask (`export.rs`).

use crate::distinct::Distinct;

/// A batch's texts as rows of its distinct tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct DistinctTokens {
    /// The distinct tokens; row 0 is padding.
    distinct: Distinct,
    /// Every text's tokens as rows of the distinct ones, one text after the other, each at least as long as the
    /// widest window.
    rows: Vec<u32>,
    /// Where each text begins in `rows`, and where the last ends.
    starts: Vec<usize>,
    /// Each text's length without padding.
    lengths: Vec<usize>,
}

/// Returns the number of a text's tokens, trailing padding included, that windows of one width cover.
fn met(length: usize, width: usize) -> usize {
    length.max(width)
}

impl DistinctTokens {
    /// Replaces the batch. Texts shorter than `min_length` are padded with token 0.
    pub(super) fn fill(&mut self, texts: &[&[u32]], n_tokens: usize, min_length: usize) {
        self.distinct.begin(n_tokens);
        self.rows.clear();
        self.starts.clear();
        self.lengths.clear();
        self.distinct.insert(0);
        for text in texts {
            self.starts.push(self.rows.len());
            self.lengths.push(text.len());
            let padding = min_length.saturating_sub(text.len());
            for &token in text.iter().chain(std::iter::repeat_n(&0, padding)) {
                self.rows.push(self.distinct.insert(token));
            }
        }
        self.starts.push(self.rows.len());
    }

    /// Makes a batch whose rows are the token ids themselves.
    pub(super) fn identity(texts: &[&[u32]], min_length: usize) -> Self {
        let mut batch = DistinctTokens::default();
        for text in texts {
            batch.starts.push(batch.rows.len());
            batch.lengths.push(text.len());
            let padding = min_length.saturating_sub(text.len());
            batch.rows.extend(text.iter().chain(std::iter::repeat_n(&0, padding)));
        }
        batch.starts.push(batch.rows.len());
        batch
    }

    /// Returns the number of texts.
    pub(super) fn n_texts(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Returns the distinct tokens' ids, row by row.
    pub(super) fn ids(&self) -> &[u32] {
        &self.distinct.ids
    }

    /// Returns one text's tokens as rows of the distinct ones, padded to the widest window.
    pub(super) fn text(&self, text: usize) -> &[u32] {
        &self.rows[self.starts[text]..self.starts[text + 1]]
    }

    /// Returns the windows of one width in a text, at least one.
    pub(super) fn windows(&self, text: usize, width: usize) -> std::slice::Windows<'_, u32> {
        self.text(text)[..met(self.lengths[text], width)].windows(width)
    }

    /// Returns the row that holds a token, or `None` when the batch lacks it.
    pub(super) fn position(&self, token: usize) -> Option<usize> {
        self.distinct.position(token)
    }
}

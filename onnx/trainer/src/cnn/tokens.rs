//! The distinct tokens of a batch.

/// A batch's texts as rows of its distinct tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct DistinctTokens {
    /// The distinct tokens' ids, in the order of their first occurrence; row 0 is padding.
    pub(super) ids: Vec<u32>,
    /// Every text's tokens as rows of `ids`, one text after the other, each at least as long as the
    /// widest window.
    rows: Vec<u32>,
    /// Where each text begins in `rows`, and where the last ends.
    starts: Vec<usize>,
    /// For each token id, its row and the batch in which that was noted.
    seen: Vec<(u32, u32)>,
    n_batches: u32,
}

impl DistinctTokens {
    /// Takes a new batch. Texts shorter than `min_length` are padded with token 0.
    pub(super) fn fill(&mut self, texts: &[&[u32]], n_tokens: usize, min_length: usize) {
        self.n_batches += 1;
        self.seen.resize(n_tokens, (0, 0));
        self.ids.clear();
        self.rows.clear();
        self.starts.clear();
        self.row_of(0);
        for text in texts {
            self.starts.push(self.rows.len());
            let padding = min_length.saturating_sub(text.len());
            for &token in text.iter().chain(std::iter::repeat_n(&0, padding)) {
                let row = self.row_of(token);
                self.rows.push(row);
            }
        }
        self.starts.push(self.rows.len());
    }

    /// Takes a batch whose rows are the token ids themselves.
    pub(super) fn identity(texts: &[&[u32]], min_length: usize) -> Self {
        let mut batch = DistinctTokens::default();
        for text in texts {
            batch.starts.push(batch.rows.len());
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

    /// Returns one text's tokens as rows of `ids`.
    pub(super) fn text(&self, text: usize) -> &[u32] {
        &self.rows[self.starts[text]..self.starts[text + 1]]
    }

    /// Returns the row of `ids` that holds a token, or `None` when the batch lacks it.
    pub(super) fn position(&self, token: usize) -> Option<usize> {
        let (row, batch) = self.seen[token];
        (batch == self.n_batches).then_some(row as usize)
    }

    fn row_of(&mut self, token: u32) -> u32 {
        let (row, batch) = &mut self.seen[token as usize];
        if *batch != self.n_batches {
            *batch = self.n_batches;
            *row = self.ids.len() as u32;
            self.ids.push(token);
        }
        *row
    }
}

//! The distinct ids of a batch.

/// The distinct ids of a batch in the order of their first occurrence, and each id's position.
///
/// Positions are stamped with the number of the batch, so that a new one needs no clearing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distinct {
    /// The ids.
    pub(crate) ids: Vec<u32>,
    /// For each id, its position in `ids` and the batch that it was stamped in.
    seen: Vec<(u32, u32)>,
    n_batches: u32,
}

impl Distinct {
    /// Begins a new batch of ids below `n_ids`.
    pub(crate) fn begin(&mut self, n_ids: usize) {
        self.n_batches += 1;
        self.seen.resize(n_ids, (0, 0));
        self.ids.clear();
    }

    /// Inserts an id and returns its position.
    pub(crate) fn insert(&mut self, id: u32) -> u32 {
        let (position, batch) = &mut self.seen[id as usize];
        if *batch != self.n_batches {
            *batch = self.n_batches;
            *position = self.ids.len() as u32;
            self.ids.push(id);
        }
        *position
    }

    /// Returns an id's position, or `None` when the batch lacks it.
    pub(crate) fn position(&self, id: usize) -> Option<usize> {
        let (position, batch) = self.seen[id];
        (batch == self.n_batches).then_some(position as usize)
    }
}

//! The search: exact or by the index, whichever was measured to cost less.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use heed::RoTxn;
use ndarray::{ArrayView2, s};

use super::exact::Found;
use super::index::{Indexed, NeighborIndex};
use super::item::Neighbor;
use super::options::SearchMode;
use super::snapshot::Snapshot;
use super::store::Store;
use super::trees::Trees;
use crate::Result;

/// The measurements of each search before one is chosen; the best time counts.
const MEASUREMENTS: u32 = 3;

/// The queries of a batch that the trees are timed with: their cost does not hang on the batch.
const TIMED_QUERIES: usize = 8;

/// The batch sizes from which an exact search shares its work among more queries.
const BATCH_CLASSES: [usize; 4] = [1, 4, 16, 64];

/// Searches one datastore: exactly, or by its index.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) index: Box<dyn NeighborIndex>,
    /// The measured costs, by class of batch size.
    costs: Mutex<[Option<Cost>; BATCH_CLASSES.len()]>,
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    n_items: usize,
    n_measurements: u32,
    /// The least time for one query.
    exact: Duration,
    arroy: Duration,
}

impl Default for Search {
    fn default() -> Self {
        Search { index: Box::new(Trees::default()), costs: Mutex::default() }
    }
}

impl Search {
    /// Finds the k nearest items of each query.
    pub(super) fn nearest(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        queries: ArrayView2<'_, f32>,
        k: usize,
        mode: SearchMode,
    ) -> Result<Vec<Vec<Neighbor>>> {
        let n_items = snapshot.vectors.n_rows();
        let queries = queries.as_standard_layout();
        let queries = queries.view();
        let _span = tracing::debug_span!("nearest", n_queries = queries.nrows(), k, n_items, ?mode)
            .entered();
        let choice = match mode {
            SearchMode::Auto => self.choice(snapshot, queries.nrows()),
            mode => Some(mode),
        };
        let found = match choice {
            Some(SearchMode::Arroy) => self.indexed_or_exact(store, snapshot, queries, k)?,
            Some(_) => snapshot.vectors.nearest(queries, k),
            None => self.measure(store, snapshot, queries, k)?,
        };
        let neighbors = |found: Vec<Found>| {
            found.into_iter().map(|(row, distance)| snapshot.neighbor(row, distance)).collect()
        };
        Ok(found.into_iter().map(neighbors).collect())
    }

    fn indexed_or_exact(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        queries: ArrayView2<'_, f32>,
        k: usize,
    ) -> Result<Vec<Vec<Found>>> {
        let found = self.indexed(store, snapshot, queries, k)?;
        Ok(found.unwrap_or_else(|| {
            tracing::debug!(snapshot.generation, "no index for this commit: searching exactly");
            snapshot.vectors.nearest(queries, k)
        }))
    }

    /// Searches the index, and exactly what it does not cover; returns `None` where there is no index
    /// for this snapshot.
    ///
    /// The index may be that of a later commit, as long as it was built before this snapshot: what it covers
    /// now has been the same since.
    fn indexed(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        queries: ArrayView2<'_, f32>,
        k: usize,
    ) -> Result<Option<Vec<Vec<Found>>>> {
        let k = k.min(snapshot.vectors.n_rows());
        if k == 0 {
            return Ok(Some(vec![Vec::new(); queries.nrows()]));
        }
        let near = |txn: &RoTxn| self.index.nearest(store, txn, queries, k, snapshot.generation);
        let Some(Indexed { near, uncovered }) = store.read(near)? else { return Ok(None) };
        let beside: Vec<u32> =
            uncovered.iter().filter_map(|id| Some(snapshot.row(id)? as u32)).collect();
        let beside = snapshot.vectors.nearest_among(queries, &beside, k);
        let mut found = Vec::with_capacity(queries.nrows());
        for ((query, ids), beside) in queries.rows().into_iter().zip(near).zip(beside) {
            let rows: Option<Vec<usize>> = ids.into_iter().map(|id| snapshot.row(id)).collect();
            let rows = rows.ok_or_else(|| store.damaged("its trees"))?;
            let query = query.to_slice().expect("queries have the standard layout");
            let beside = beside.into_iter().map(|(row, _)| row);
            found.push(snapshot.vectors.ranked(query, rows.into_iter().chain(beside), k));
        }
        Ok(Some(found))
    }

    /// Returns the cheaper search, or `None` where it is not known yet.
    pub(super) fn choice(&self, snapshot: &Snapshot, n_queries: usize) -> Option<SearchMode> {
        if !snapshot.is_indexed || n_queries == 0 {
            return Some(SearchMode::Exact);
        }
        let n_items = snapshot.vectors.n_rows();
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = costs[class(n_queries)].filter(|cost| cost.holds_for(n_items))?;
        (cost.n_measurements >= MEASUREMENTS).then(|| cost.cheaper())
    }

    /// Answers exactly, times both searches and remembers what they took.
    fn measure(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        queries: ArrayView2<'_, f32>,
        k: usize,
    ) -> Result<Vec<Vec<Found>>> {
        let n_items = snapshot.vectors.n_rows();
        let started = Instant::now();
        let found = snapshot.vectors.nearest(queries, k);
        let exact = started.elapsed() / queries.nrows() as u32;
        let timed = queries.slice(s![..queries.nrows().min(TIMED_QUERIES), ..]);
        let started = Instant::now();
        if self.indexed(store, snapshot, timed, k)?.is_some() {
            let arroy = started.elapsed() / timed.nrows() as u32;
            self.remember(queries.nrows(), Cost { n_items, n_measurements: 1, exact, arroy });
        }
        Ok(found)
    }

    fn remember(&self, n_queries: usize, measured: Cost) {
        let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut costs[class(n_queries)];
        let cost = match *known {
            Some(before) if before.holds_for(measured.n_items) => before.merged(measured),
            _ => measured,
        };
        *known = Some(cost);
        tracing::debug!(
            n_items = cost.n_items,
            n_queries,
            exact_us = cost.exact.as_micros() as u64,
            arroy_us = cost.arroy.as_micros() as u64,
            cheaper = ?cost.cheaper(),
            decided = cost.n_measurements >= MEASUREMENTS,
            "search cost"
        );
    }
}

/// Returns the position of a batch's class of size.
fn class(n_queries: usize) -> usize {
    BATCH_CLASSES.iter().rposition(|&least| n_queries >= least).unwrap_or(0)
}

impl Cost {
    fn cheaper(&self) -> SearchMode {
        if self.arroy < self.exact { SearchMode::Arroy } else { SearchMode::Exact }
    }

    /// Keeps the best times: what is slower was disturbed.
    fn merged(self, other: Cost) -> Cost {
        Cost {
            n_items: self.n_items,
            n_measurements: self.n_measurements + other.n_measurements,
            exact: self.exact.min(other.exact),
            arroy: self.arroy.min(other.arroy),
        }
    }

    /// Tells whether the datastore is still of about the size that was measured.
    fn holds_for(&self, n_items: usize) -> bool {
        n_items <= self.n_items.saturating_mul(2) && self.n_items <= n_items.saturating_mul(2)
    }
}

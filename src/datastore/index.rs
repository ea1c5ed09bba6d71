//! The approximate index over the items, which lies in the datastore's environment.

use std::fmt::Debug;

use heed::{RoTxn, RwTxn};
use ndarray::ArrayView2;
use roaring::RoaringBitmap;

use super::report::DatastoreReport;
use super::store::Store;
use crate::Result;

/// Finds near items without comparing all.
///
/// An index is kept in a database of its own, beside those of the items. It covers the items of the
/// generation that it was built for, as far as they are still the same; the others are searched exactly. The
/// header's fields about trees, and the center and the uncovered items in `meta`, are Arroy's; `Store`
/// refuses names in `meta` that it does not know.
pub(super) trait NeighborIndex: Debug + Send + Sync {
    /// Notes that the items `touched` were added, changed or deleted, and builds the index anew where it
    /// covers too few by now.
    fn update(&self, store: &Store, txn: &mut RwTxn, touched: &RoaringBitmap) -> Result<()>;

    /// Finds about k nearest covered items for each query. `None` where there is no index, or only one of
    /// a later generation than `generation`.
    fn nearest(
        &self,
        store: &Store,
        txn: &RoTxn,
        queries: ArrayView2<'_, f32>,
        k: usize,
        generation: u64,
    ) -> Result<Option<Indexed>>;

    /// Checks that the index is as it was written, holds the items `ids` and leads to all, but for those
    /// that it does not cover.
    fn verify(
        &self,
        store: &Store,
        txn: &RoTxn,
        ids: &RoaringBitmap,
        report: &mut DatastoreReport,
    ) -> Result<()>;
}

/// The outcome of a search in an index.
#[derive(Debug)]
pub(super) struct Indexed {
    /// The numbers of the items near each query, in no particular order.
    pub(super) near: Vec<Vec<u32>>,
    /// The numbers of the items that the index does not cover, and of deleted ones.
    pub(super) uncovered: RoaringBitmap,
}

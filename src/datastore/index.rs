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
/// An index is kept in a database of its own, beside those of the items. The header's fields about
/// trees, and the center in `meta`, are Arroy's; `Store` refuses names in `meta` that it does not know.
pub(super) trait NeighborIndex: Debug + Send + Sync {
    /// Brings the index to the items as they are now, of which those `touched` were changed.
    fn update(&self, store: &Store, txn: &mut RwTxn, touched: &RoaringBitmap) -> Result<()>;

    /// Finds the numbers of about k nearest items for each query, in no particular order.
    fn nearest(
        &self,
        store: &Store,
        txn: &RoTxn,
        queries: ArrayView2<'_, f32>,
        k: usize,
    ) -> Result<Vec<Vec<u32>>>;

    /// Checks that the index is as it was written, holds the items `ids` and leads to all.
    fn verify(
        &self,
        store: &Store,
        txn: &RoTxn,
        ids: &RoaringBitmap,
        report: &mut DatastoreReport,
    ) -> Result<()>;
}

//! Exact nearest neighbors for the dev metrics during training, before there is a datastore.

use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;

use autotag::datastore::ExactIndex;
use autotag::{ItemId, LabelSet, Neighbor};

/// The queries of one task.
const QUERIES: usize = 256;

/// Returns the k nearest training texts of each query by exhaustive comparison.
///
/// Texts with an all-zero representation are left out, as later in the datastore.
pub(crate) fn nearest(
    queries: ArrayView2<'_, f32>,
    items: ArrayView2<'_, f32>,
    labels: &[LabelSet],
    k: usize,
) -> Vec<Vec<Neighbor>> {
    let mut index = ExactIndex::new(items.ncols());
    let is_indexed = |&item: &usize| index.push(items.row(item).iter().copied()).is_some();
    let indexed: Vec<usize> = (0..items.nrows()).filter(is_indexed).collect();
    let neighbor = |(row, distance): (usize, f32)| {
        let item = indexed[row];
        Neighbor::new(ItemId(item as u32), distance, labels[item].clone())
    };
    let chunks: Vec<ArrayView2<'_, f32>> = queries.axis_chunks_iter(Axis(0), QUERIES).collect();
    chunks
        .into_par_iter()
        .flat_map_iter(|queries| index.nearest(queries, k))
        .map(|found| found.into_iter().map(neighbor).collect())
        .collect()
}

//! Neighbors for the dev figures of a model in training, before there is a datastore.

use ndarray::ArrayView2;
use rayon::prelude::*;

use autotag::datastore::ExactIndex;
use autotag::{ItemId, LabelSet, Neighbor};

use crate::matrix::Matrix;

/// The queries of a task.
const QUERIES: usize = 256;

/// Finds the k nearest training texts of each query by comparing all.
///
/// Texts whose representation is all zero are nobody's neighbors, as later in the datastore.
pub(crate) fn nearest(
    queries: &Matrix,
    items: &Matrix,
    labels: &[LabelSet],
    k: usize,
) -> Vec<Vec<Neighbor>> {
    let mut index = ExactIndex::new(items.n_cols());
    let is_indexed = |&item: &usize| index.push(items.row(item).iter().copied()).is_some();
    let indexed: Vec<usize> = (0..items.n_rows()).filter(is_indexed).collect();
    let neighbor = |(row, distance): (usize, f32)| {
        let item = indexed[row];
        Neighbor { item: ItemId(item as u32), distance, labels: labels[item].clone() }
    };
    let n_cols = queries.n_cols();
    queries
        .values()
        .par_chunks(QUERIES * n_cols)
        .flat_map_iter(|queries| {
            let shape = (queries.len() / n_cols, n_cols);
            index.nearest(ArrayView2::from_shape(shape, queries).expect("whole rows"), k)
        })
        .map(|found| found.into_iter().map(neighbor).collect())
        .collect()
}

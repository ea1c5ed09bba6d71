//! Neighbors for the dev figures of a model in training, before there is a datastore.

use autotag::{ItemId, LabelSet, Neighbor};

use crate::matrix::{Matrix, multiply};

/// The queries compared at once.
const QUERY_BATCH: usize = 256;

/// Finds the k nearest training texts of each query by comparing all.
pub(crate) fn nearest(
    queries: &Matrix,
    items: &Matrix,
    labels: &[LabelSet],
    k: usize,
) -> Vec<Vec<Neighbor>> {
    use rayon::prelude::*;
    let squares: Vec<f32> =
        (0..items.n_rows()).map(|i| items.row(i).iter().map(|v| v * v).sum()).collect();
    let n_dimensions = queries.n_cols();
    let mut found = Vec::with_capacity(queries.n_rows());
    for batch in queries.values().chunks(QUERY_BATCH * n_dimensions) {
        let batch = Matrix::from_values(batch.len() / n_dimensions, n_dimensions, batch.to_vec());
        let mut products = Matrix::default();
        multiply(&mut products, batch.view(), items.transposed());
        found.par_extend((0..batch.n_rows()).into_par_iter().map(|query| {
            let mut ranked: Vec<(f32, usize)> = products
                .row(query)
                .iter()
                .zip(&squares)
                .map(|(product, square)| square - 2.0 * product)
                .zip(0..)
                .collect();
            let k = k.min(ranked.len());
            if k < ranked.len() {
                ranked.select_nth_unstable_by(k, |a, b| a.0.total_cmp(&b.0));
                ranked.truncate(k);
            }
            let mut neighbors: Vec<Neighbor> = ranked
                .into_iter()
                .map(|(_, item)| Neighbor {
                    item: ItemId(item as u32),
                    distance: distance(batch.row(query), items.row(item)),
                    labels: labels[item].clone(),
                })
                .collect();
            neighbors.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.item.cmp(&b.item)));
            neighbors
        }));
    }
    found
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

//! Exact search: every item is compared, a block of items and a batch of queries at a time.
//!
//! |q - h|^2 = |q|^2 + |h|^2 - 2 q.h, so that |h|^2 / 2 - q.h orders the items as their distance
//! does, and a matrix product gives all q.h. In single precision such values are off by a little;
//! what comes that close to the k-th is kept too, and the distances of those few are computed
//! directly.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use super::block::{Block, ROWS};
use crate::product::{self, Threads};

/// Vectors in memory, searched by comparing all of them.
///
/// ```
/// use autotag::datastore::ExactIndex;
/// use ndarray::array;
///
/// let mut index = ExactIndex::new(2);
/// for vector in [[1.0, 0.0], [4.0, 4.0], [1.0, 2.0]] {
///     index.push(vector.into_iter());
/// }
/// let found = index.nearest(array![[1.0, 1.9], [4.0, 3.0]].view(), 2);
/// let rows = |found: &[(usize, f32)]| found.iter().map(|found| found.0).collect::<Vec<_>>();
/// assert_eq!(rows(&found[0]), [2, 0]);
/// assert_eq!(rows(&found[1]), [1, 2]);
/// ```
#[derive(Clone, Debug)]
pub struct ExactIndex {
    dimensions: usize,
    /// Every block but the last is full. Copies share them until one is changed.
    blocks: Vec<Arc<Block>>,
    /// The largest |h|.
    largest_norm: f64,
}

/// A row and the Euclidean distance between it and a query.
pub type Found = (usize, f32);

/// The queries that one product takes: as many as the widest kernel of `gemm`, that for AVX-512,
/// keeps in registers. More cost it half its speed; the other kernels do not care.
const QUERIES: usize = 48;

/// Rows beyond k that are kept for being as near as rounding can tell.
const SPARE: usize = 64;

/// The rows that are copied side by side at once, where only some are searched.
const COPIED_ROWS: usize = 4096;

impl ExactIndex {
    /// Makes an empty index for vectors of a length.
    pub fn new(dimensions: usize) -> Self {
        ExactIndex { dimensions, blocks: Vec::new(), largest_norm: 0.0 }
    }

    /// Adds a row; `None`, and no row, when its values cannot be an embedding's: another number of
    /// them, all zero, or one that is not finite.
    pub fn push(&mut self, values: impl ExactSizeIterator<Item = f32>) -> Option<()> {
        let values: Vec<f32> = values.collect();
        let norm = self.square_norm_of(&values)?;
        self.largest_norm = self.largest_norm.max(norm.sqrt());
        self.last_block().push(&values, norm);
        Some(())
    }

    /// Replaces a row; `None` as for [`ExactIndex::push`].
    pub(super) fn replace(&mut self, row: usize, values: &[f32]) -> Option<()> {
        let norm = self.square_norm_of(values)?;
        // The largest norm bounds rounding errors: it may be too large.
        self.largest_norm = self.largest_norm.max(norm.sqrt());
        Arc::make_mut(&mut self.blocks[row / ROWS]).replace(row % ROWS, values, norm);
        Some(())
    }

    /// Adds rows of another index of the same length of vectors, sharing the blocks that come to stand as
    /// they stood there.
    pub(super) fn push_rows_of(&mut self, other: &ExactIndex, rows: Range<usize>) {
        self.largest_norm = self.largest_norm.max(other.largest_norm);
        let mut row = rows.start;
        while row < rows.end {
            let block = &other.blocks[row / ROWS];
            let is_aligned = row.is_multiple_of(ROWS) && self.n_rows().is_multiple_of(ROWS);
            if is_aligned && row + ROWS <= rows.end {
                self.blocks.push(block.clone());
                row += ROWS;
            } else {
                self.last_block().push_row_of(block, row % ROWS);
                row += 1;
            }
        }
    }

    /// Returns the block that the next row comes into.
    fn last_block(&mut self) -> &mut Block {
        if self.blocks.last().is_none_or(|block| block.n_rows() == ROWS) {
            self.blocks.push(Arc::new(Block::new(self.dimensions)));
        }
        Arc::make_mut(self.blocks.last_mut().expect("there is one now"))
    }

    /// Returns |h|^2; `None` for values that cannot be an embedding's.
    fn square_norm_of(&self, row: &[f32]) -> Option<f64> {
        let finite = row.iter().fold(true, |finite, value| finite & value.is_finite());
        let norm = square_norm(row);
        (finite && norm > 0.0 && row.len() == self.dimensions).then_some(norm)
    }

    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub(super) fn n_rows(&self) -> usize {
        let last = self.blocks.last().map_or(0, |block| block.n_rows());
        self.blocks.len().saturating_sub(1) * ROWS + last
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        self.blocks[row / ROWS].row(row % ROWS)
    }

    /// Finds the k nearest rows of each query, the nearest first; rows at the same distance stand
    /// in their order. All rows are returned where there are fewer than k.
    ///
    /// # Panics
    ///
    /// When the queries have another length than the rows.
    pub fn nearest(&self, queries: ArrayView2<'_, f32>, k: usize) -> Vec<Vec<Found>> {
        let k = k.min(self.n_rows());
        if k == 0 {
            return vec![Vec::new(); queries.nrows()];
        }
        let queries = queries.as_standard_layout();
        let chunks = queries.axis_chunks_iter(Axis(0), QUERIES);
        let mut batches: Vec<Batch<'_>> =
            chunks.map(|queries| Batch::new(self, queries, k)).collect();
        let mut products = vec![0.0; QUERIES.min(queries.nrows()) * ROWS.min(self.n_rows())];
        for (block, first_row) in self.blocks.iter().zip((0..).step_by(ROWS)) {
            for batch in &mut batches {
                let shape = (block.n_rows(), batch.queries.nrows());
                let products = &mut products[..shape.0 * shape.1];
                let view = ArrayViewMut2::from_shape(shape, products).expect("whole rows");
                let rows = block.matrix();
                product::multiply(view.reversed_axes(), batch.queries, rows.t(), Threads::One);
                batch.offer(first_row, block.half_norms(), products);
            }
        }
        batches.into_iter().flat_map(|batch| batch.nearest).map(Nearest::into_ranked).collect()
    }

    /// Finds the k nearest of some rows for each query, as [`ExactIndex::nearest`] does of all.
    pub(super) fn nearest_among(
        &self,
        queries: ArrayView2<'_, f32>,
        rows: &[u32],
        k: usize,
    ) -> Vec<Vec<Found>> {
        let mut nearest = vec![Vec::new(); queries.nrows()];
        for rows in rows.chunks(COPIED_ROWS) {
            let mut some = ExactIndex::new(self.dimensions);
            rows.iter().for_each(|&row| some.push_rows_of(self, row as usize..row as usize + 1));
            for (nearest, found) in nearest.iter_mut().zip(some.nearest(queries, k)) {
                nearest
                    .extend(found.into_iter().map(|(at, distance)| (rows[at] as usize, distance)));
                rank(nearest, k);
            }
        }
        nearest
    }

    /// Returns how far a row's |h|^2 / 2 - q.h can be off against another's.
    ///
    /// A product of D terms in single precision is off by at most D eps |q| |h|, and |h|^2 / 2,
    /// computed in double precision, by one rounding; two rows are compared. It is not finite where
    /// the products may overflow: then every distance is computed directly.
    fn margin(&self, query: &[f32]) -> f32 {
        let norm = square_norm(query).sqrt();
        let n_terms = self.dimensions as f64 + 1.0;
        let largest = self.largest_norm * (norm * n_terms + self.largest_norm);
        if largest > f64::from(f32::MAX) / 4.0 {
            return f32::INFINITY;
        }
        (2.0 * f64::from(f32::EPSILON) * largest) as f32
    }

    /// Computes the rows' distances and returns the k nearest.
    pub(super) fn ranked(
        &self,
        query: &[f32],
        rows: impl IntoIterator<Item = usize>,
        k: usize,
    ) -> Vec<Found> {
        let rows = rows.into_iter();
        let mut found: Vec<Found> = rows.map(|row| (row, distance(query, self.row(row)))).collect();
        rank(&mut found, k);
        found
    }
}

/// Keeps the k nearest, the nearest first.
fn rank(found: &mut Vec<Found>, k: usize) {
    found.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    found.truncate(k);
}

/// Queries that are multiplied with the rows at once.
struct Batch<'a> {
    queries: ArrayView2<'a, f32>,
    nearest: Vec<Nearest<'a>>,
    /// The bound of each query's [`Nearest`], side by side to be compared at once.
    bounds: Vec<f32>,
}

impl<'a> Batch<'a> {
    fn new(matrix: &'a ExactIndex, queries: ArrayView2<'a, f32>, k: usize) -> Self {
        let values = queries.to_slice().expect("queries have the standard layout");
        let queries_alone = values.chunks_exact(matrix.dimensions);
        let nearest: Vec<Nearest<'a>> =
            queries_alone.map(|query| Nearest::new(matrix, query, k)).collect();
        let bounds = nearest.iter().map(|nearest| nearest.bound).collect();
        Batch { queries, nearest, bounds }
    }

    /// Looks at a block of rows, given their products with the queries, row by row; most rows are
    /// near none of the queries and cost one comparison of all.
    fn offer(&mut self, first_row: usize, half_norms: &[f32], products: &[f32]) {
        let n_queries = self.bounds.len();
        for (position, (half_norm, products)) in
            half_norms.iter().zip(products.chunks_exact(n_queries)).enumerate()
        {
            let pairs = products.iter().zip(&self.bounds);
            if pairs.fold(false, |any, (q_h, bound)| any | (half_norm - q_h <= *bound)) {
                let row = (first_row + position) as u32;
                for (query, q_h) in products.iter().enumerate() {
                    self.nearest[query].push(half_norm - q_h, row);
                    self.bounds[query] = self.nearest[query].bound;
                }
            }
        }
    }
}

/// The rows nearest to one query so far, by |h|^2 / 2 - q.h.
struct Nearest<'a> {
    matrix: &'a ExactIndex,
    query: &'a [f32],
    k: usize,
    /// See [`ExactIndex::margin`].
    margin: f32,
    /// No row above it is among the k nearest.
    bound: f32,
    candidates: Vec<(f32, u32)>,
}

impl<'a> Nearest<'a> {
    fn new(matrix: &'a ExactIndex, query: &'a [f32], k: usize) -> Self {
        let margin = matrix.margin(query);
        // Products that overflow decide nothing: no value is at most NaN.
        let bound = if margin.is_finite() { f32::INFINITY } else { f32::NAN };
        let candidates = Vec::with_capacity(2 * (k + SPARE));
        Nearest { matrix, query, k, margin, bound, candidates }
    }

    fn push(&mut self, value: f32, row: u32) {
        if value <= self.bound {
            self.candidates.push((value, row));
            if self.candidates.len() == 2 * (self.k + SPARE) {
                self.shrink();
            }
        }
    }

    /// Keeps the k nearest and what rounding cannot tell from them; where that is a crowd, its
    /// distances are computed now.
    fn shrink(&mut self) {
        let (_, kth, _) =
            self.candidates.select_nth_unstable_by(self.k - 1, |a, b| a.0.total_cmp(&b.0));
        self.bound = self.bound.min(kth.0 + self.margin);
        self.candidates.retain(|candidate| candidate.0 <= self.bound);
        if self.candidates.len() > self.k + SPARE {
            let rows: Vec<u32> = self.ranked().into_iter().map(|(row, _)| row as u32).collect();
            self.candidates.retain(|(_, row)| rows.contains(row));
        }
    }

    fn ranked(&self) -> Vec<Found> {
        let rows = self.candidates.iter().map(|&(_, row)| row as usize);
        self.matrix.ranked(self.query, rows, self.k)
    }

    fn into_ranked(mut self) -> Vec<Found> {
        if !self.margin.is_finite() {
            return self.matrix.ranked(self.query, 0..self.matrix.n_rows(), self.k);
        }
        if self.candidates.len() > self.k {
            self.shrink();
        }
        self.ranked()
    }
}

/// Returns the Euclidean distance; one beyond single precision is cut to its largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let square = sum_over(a, b, |a, b| (a - b) * (a - b));
    (square.sqrt() as f32).min(f32::MAX)
}

fn square_norm(vector: &[f32]) -> f64 {
    sum_over(vector, vector, |a, b| a * b)
}

/// Adds up the terms of two vectors, in several sums at once that do not wait for each other.
fn sum_over(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(a.into(), b.into());
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(a.into(), b.into()));
    rest.sum::<f64>() + sums.iter().sum::<f64>()
}

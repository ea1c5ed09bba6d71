//! Exact search: every item is compared, a block of items and a batch of queries at a time.
//!
//! |q - h|^2 = |q|^2 + |h|^2 - 2 q.h, so that |h|^2 / 2 - q.h orders the items as their distance
//! does. All q.h come from a matrix product in single precision, or from one in 8 bits where the
//! processor is faster at that. Such values are off by what has a bound; what comes that close to the k-th
//! is kept too, and the distances of those few are computed directly.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use super::block::{Block, Kernel, ROWS, moved};
use super::int8::{Hit, Int8Queries, MAX_QUERIES, is_supported};
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
    kernel: Kernel,
    /// A point amid the rows, from which vectors in 8 bits are counted.
    center: Arc<[f32]>,
    /// The number of rows whose mean it is; 0 where it is the origin.
    n_centered: usize,
}

/// A row and the Euclidean distance between it and a query.
pub type Found = (usize, f32);

/// The queries that one product takes: as many as the widest kernel of `gemm`, that for AVX-512,
/// keeps in registers. More cost it half its speed; the other kernels do not care.
const QUERIES: usize = MAX_QUERIES;

/// The rows that are compared with the same bounds in 8 bits.
const SCANNED_ROWS: usize = 128;

/// The numbers of rows from and up to which the center is computed anew when the rows have doubled.
const LEAST_CENTERED: usize = 64;
const MOST_CENTERED: usize = 1 << 15;

/// Rows beyond k that are kept for being as near as rounding can tell.
const SPARE: usize = 256;

/// The rows that are copied side by side at once, where only some are searched.
const COPIED_ROWS: usize = 4096;

impl ExactIndex {
    /// Makes an empty index for vectors of a length.
    pub fn new(dimensions: usize) -> Self {
        let kernel = if is_supported(dimensions) { Kernel::Int8 } else { Kernel::Float };
        ExactIndex::with_kernel(dimensions, kernel)
    }

    pub(super) fn with_kernel(dimensions: usize, kernel: Kernel) -> Self {
        ExactIndex {
            dimensions,
            blocks: Vec::new(),
            largest_norm: 0.0,
            kernel,
            center: vec![0.0; dimensions].into(),
            n_centered: 0,
        }
    }

    /// Makes an empty index for rows of this one and others.
    pub(super) fn without_rows(&self) -> Self {
        ExactIndex { blocks: Vec::new(), ..self.clone() }
    }

    /// Adds a row; `None`, and no row, when its values cannot be an embedding's: another number of
    /// them, all zero, or one that is not finite.
    pub fn push(&mut self, values: impl ExactSizeIterator<Item = f32>) -> Option<()> {
        let values: Vec<f32> = values.collect();
        let norm = self.square_norm_of(&values)?;
        self.largest_norm = self.largest_norm.max(norm.sqrt());
        let center = self.center.clone();
        self.last_block().push(&values, norm, &center);
        let n_rows = self.n_rows();
        let has_doubled = n_rows >= LEAST_CENTERED.max(2 * self.n_centered);
        if self.kernel == Kernel::Int8 && has_doubled && n_rows <= MOST_CENTERED {
            self.move_center();
        }
        Some(())
    }

    /// Replaces a row; `None` as for [`ExactIndex::push`].
    pub(super) fn replace(&mut self, row: usize, values: &[f32]) -> Option<()> {
        let norm = self.square_norm_of(values)?;
        // The largest norm bounds rounding errors: it may be too large.
        self.largest_norm = self.largest_norm.max(norm.sqrt());
        let block = Arc::make_mut(&mut self.blocks[row / ROWS]);
        block.replace(row % ROWS, values, norm, &self.center);
        Some(())
    }

    /// Adds rows of another index of the same length of vectors, sharing the blocks that come to stand as
    /// they stood there.
    pub(super) fn push_rows_of(&mut self, other: &ExactIndex, rows: Range<usize>) {
        self.largest_norm = self.largest_norm.max(other.largest_norm);
        if self.center != other.center {
            for row in rows {
                self.push(other.row(row).iter().copied()).expect("it is a row of an index");
            }
            return;
        }
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

    /// Makes the rows' mean the center.
    fn move_center(&mut self) {
        let mut sums = vec![0.0f64; self.dimensions];
        for row in (0..self.n_rows()).map(|row| self.row(row)) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        self.n_centered = self.n_rows();
        self.center = sums.into_iter().map(|sum| (sum / self.n_centered as f64) as f32).collect();
        for block in &mut self.blocks {
            Arc::make_mut(block).round_rows(&self.center);
        }
    }

    /// Returns the block that the next row comes into.
    fn last_block(&mut self) -> &mut Block {
        if self.blocks.last().is_none_or(|block| block.n_rows() == ROWS) {
            self.blocks.push(Arc::new(Block::new(self.dimensions, self.kernel)));
        }
        Arc::make_mut(self.blocks.last_mut().expect("there is one now"))
    }

    /// Returns |h|^2; `None` for values that cannot be an embedding's.
    fn square_norm_of(&self, row: &[f32]) -> Option<f64> {
        let finite = row.iter().fold(true, |finite, value| finite & value.is_finite());
        let norm = square_norm(row);
        (finite && norm > 0.0 && row.len() == self.dimensions).then_some(norm)
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
        assert_eq!(queries.ncols(), self.dimensions, "the length of the queries");
        let queries = queries.as_standard_layout();
        let chunks = queries.axis_chunks_iter(Axis(0), QUERIES);
        let mut batches: Vec<Batch<'_>> =
            chunks.map(|queries| Batch::new(self, queries, k)).collect();
        let mut scratch = Scratch::default();
        for (block, first_row) in self.blocks.iter().zip((0..).step_by(ROWS)) {
            for batch in &mut batches {
                batch.offer(block, first_row, &mut scratch);
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
            let mut some = self.without_rows();
            rows.iter().for_each(|&row| some.push_rows_of(self, row as usize..row as usize + 1));
            for (nearest, found) in nearest.iter_mut().zip(some.nearest(queries, k)) {
                nearest
                    .extend(found.into_iter().map(|(at, distance)| (rows[at] as usize, distance)));
                rank(nearest, k);
            }
        }
        nearest
    }

    /// Returns how far a row's |h|^2 / 2 - q.h can be off by rounding, against another's.
    ///
    /// A product of D terms in single precision is off by at most D eps |q| |h|, and |h|^2 / 2,
    /// computed in double precision, by one rounding; two rows are compared. With a center |q| and |h| grow by
    /// at most the largest |h|, and sums of integers are not rounded. It is not finite where
    /// the products may overflow: then every distance is computed directly. What is too small for single
    /// precision is off by less than its smallest value in each term.
    fn rounding(&self, query: &[f32]) -> f32 {
        let norm = square_norm(query).sqrt();
        let n_terms = self.dimensions as f64 + 1.0;
        let largest = 4.0 * self.largest_norm * (norm * n_terms + self.largest_norm);
        if largest > f64::from(f32::MAX) / 4.0 {
            return f32::INFINITY;
        }
        let smallest = n_terms * f64::from(f32::MIN_POSITIVE);
        (2.0 * f64::from(f32::EPSILON) * largest + smallest) as f32
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
    /// The same queries for [`Kernel::Int8`].
    int8: Option<Int8Queries>,
    nearest: Vec<Nearest<'a>>,
    /// The largest value that is still offered to each [`Nearest`], side by side to be compared at once.
    limits: Vec<f32>,
}

/// The memory of products, used again for the next ones.
#[derive(Default)]
struct Scratch {
    products: Vec<f32>,
    hits: Vec<Hit>,
}

impl<'a> Batch<'a> {
    fn new(index: &'a ExactIndex, queries: ArrayView2<'a, f32>, k: usize) -> Self {
        let values = queries.to_slice().expect("queries have the standard layout");
        let queries_alone = values.chunks_exact(index.dimensions);
        let nearest: Vec<Nearest<'a>> =
            queries_alone.map(|query| Nearest::new(index, query, k)).collect();
        let int8 = (index.kernel == Kernel::Int8).then(|| {
            let queries = values.chunks_exact(index.dimensions);
            let centered: Vec<f32> = queries.flat_map(|q| moved(q, &index.center)).collect();
            Int8Queries::new(&centered, index.dimensions)
        });
        Batch { queries, int8, limits: vec![0.0; nearest.len()], nearest }
    }

    /// Looks at a block of rows, of which the first one stands at `first_row`.
    fn offer(&mut self, block: &Block, first_row: usize, scratch: &mut Scratch) {
        match (&self.int8, &block.int8) {
            (Some(queries), Some(rows)) => {
                for (query, nearest) in self.nearest.iter_mut().enumerate() {
                    nearest.margin = queries.margin(query, rows) + nearest.rounding;
                }
                self.offer_int8(block, first_row, &mut scratch.hits);
            }
            _ => self.offer_float(block, first_row, &mut scratch.products),
        }
    }

    fn offer_int8(&mut self, block: &Block, first_row: usize, hits: &mut Vec<Hit>) {
        let (Some(queries), Some(rows)) = (&self.int8, &block.int8) else { return };
        for start in (0..block.n_rows()).step_by(SCANNED_ROWS) {
            let end = block.n_rows().min(start + SCANNED_ROWS);
            for (limit, nearest) in self.limits.iter_mut().zip(&self.nearest) {
                *limit = nearest.limit();
            }
            hits.clear();
            queries.scan(rows, start..end, &self.limits, hits);
            for hit in hits.iter() {
                let row = first_row as u32 + hit.row;
                self.nearest[hit.query as usize].push(hit.value, row);
            }
        }
    }

    fn offer_float(&mut self, block: &Block, first_row: usize, products: &mut Vec<f32>) {
        let (n_rows, n_queries) = (block.n_rows(), self.nearest.len());
        products.resize(n_rows * n_queries, 0.0);
        let view = ArrayViewMut2::from_shape((n_rows, n_queries), products).expect("whole rows");
        product::multiply(view.reversed_axes(), self.queries, block.matrix().t(), Threads::One);
        for (limit, nearest) in self.limits.iter_mut().zip(&self.nearest) {
            *limit = nearest.limit();
        }
        // Most rows are near none of the queries and cost one comparison of all.
        let products = block.half_norms.iter().zip(products.chunks_exact(n_queries));
        for (row, (half_norm, products)) in (first_row as u32..).zip(products) {
            let pairs = products.iter().zip(&self.limits);
            if pairs.fold(false, |any, (q_h, limit)| any | (half_norm - q_h <= *limit)) {
                for (query, q_h) in products.iter().enumerate() {
                    self.nearest[query].push(half_norm - q_h, row);
                    self.limits[query] = self.nearest[query].limit();
                }
            }
        }
    }
}

/// The rows nearest to one query so far, by |h|^2 / 2 - q.h.
struct Nearest<'a> {
    index: &'a ExactIndex,
    query: &'a [f32],
    k: usize,
    /// See [`ExactIndex::rounding`].
    rounding: f32,
    /// How far the values that are offered can be off.
    margin: f32,
    /// No row of a larger value is among the k nearest.
    bound: f32,
    candidates: Vec<Candidate>,
}

/// A row that may be among the k nearest, with the least and the largest value that it can have.
struct Candidate {
    least: f32,
    largest: f32,
    row: u32,
}

impl<'a> Nearest<'a> {
    fn new(index: &'a ExactIndex, query: &'a [f32], k: usize) -> Self {
        let rounding = index.rounding(query);
        // Products that overflow decide nothing: no value is at most NaN.
        let bound = if rounding.is_finite() { f32::INFINITY } else { f32::NAN };
        let candidates = Vec::with_capacity(2 * (k + SPARE));
        Nearest { index, query, k, rounding, margin: rounding, bound, candidates }
    }

    /// Returns the largest value that a row may be offered with.
    fn limit(&self) -> f32 {
        self.bound + self.margin
    }

    fn push(&mut self, value: f32, row: u32) {
        if value <= self.limit() {
            let (least, largest) = (value - self.margin, value + self.margin);
            self.candidates.push(Candidate { least, largest, row });
            if self.candidates.len() == 2 * (self.k + SPARE) {
                self.shrink();
            }
        }
    }

    /// Keeps the k nearest and what the margin cannot tell from them; where that is a crowd, its
    /// distances are computed now.
    fn shrink(&mut self) {
        self.lower_bound();
        if self.candidates.len() > self.k + SPARE {
            let nearest = self.ranked();
            self.candidates.clear();
            for (row, _) in nearest {
                let value = self.value(row);
                let (least, largest) = (value - self.rounding, value + self.rounding);
                self.candidates.push(Candidate { least, largest, row: row as u32 });
            }
            self.lower_bound();
        }
    }

    /// Drops the candidates behind the k-th nearest.
    fn lower_bound(&mut self) {
        let largest = |a: &Candidate, b: &Candidate| a.largest.total_cmp(&b.largest);
        let (_, kth, _) = self.candidates.select_nth_unstable_by(self.k - 1, largest);
        self.bound = self.bound.min(kth.largest);
        self.candidates.retain(|candidate| candidate.least <= self.bound);
    }

    /// Computes a row's |h|^2 / 2 - q.h, counted from the center.
    fn value(&self, row: usize) -> f32 {
        let vectors = self.index.row(row).iter().zip(self.query).zip(&*self.index.center);
        let terms = vectors.map(|((&h, &q), &center)| {
            let (h, q) = (f64::from(h) - f64::from(center), f64::from(q) - f64::from(center));
            h * (h / 2.0 - q)
        });
        terms.sum::<f64>() as f32
    }

    fn ranked(&self) -> Vec<Found> {
        let rows = self.candidates.iter().map(|candidate| candidate.row as usize);
        self.index.ranked(self.query, rows, self.k)
    }

    fn into_ranked(mut self) -> Vec<Found> {
        if !self.rounding.is_finite() {
            return self.index.ranked(self.query, 0..self.index.n_rows(), self.k);
        }
        if self.candidates.len() > self.k {
            self.lower_bound();
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

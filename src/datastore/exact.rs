//! Exact search: every item is compared, a block of items and a batch of queries at a time.
//!
//! |q - h|^2 = |q|^2 + |h|^2 - 2 q.h, so that |h|^2 / 2 - q.h orders the items as their distance
//! does, and a matrix product gives all q.h. In single precision such values are off by a little;
//! what comes that close to the k-th is kept too, and the distances of those few are computed
//! directly.

use gemm::Parallelism;

/// Vectors as the rows of one matrix.
pub(super) struct Matrix {
    dimensions: usize,
    values: Vec<f32>,
    /// |h|^2 / 2 for each row.
    half_norms: Vec<f32>,
    /// The largest |h|.
    largest_norm: f64,
}

/// A row and the Euclidean distance between it and a query.
pub(super) type Found = (usize, f32);

/// The rows that one product takes: with [`QUERIES`] their products fit a core's cache.
const ROWS: usize = 512;

/// The queries that one product takes.
const QUERIES: usize = 256;

/// Rows beyond k that are kept for being as near as rounding can tell.
const SPARE: usize = 64;

/// The rows whose values are compared with the bound in one step.
const STEP: usize = 32;

impl Matrix {
    pub(super) fn new(dimensions: usize) -> Self {
        Matrix { dimensions, values: Vec::new(), half_norms: Vec::new(), largest_norm: 0.0 }
    }

    pub(super) fn reserve(&mut self, n_rows: usize) {
        self.values.reserve_exact(n_rows * self.dimensions);
        self.half_norms.reserve_exact(n_rows);
    }

    /// Adds a row; `None` when its values cannot be an embedding's.
    pub(super) fn push(&mut self, values: impl ExactSizeIterator<Item = f32>) -> Option<()> {
        let start = self.values.len();
        self.values.extend(values);
        let row = &self.values[start..];
        let finite = row.iter().fold(true, |finite, value| finite & value.is_finite());
        let norm = square_norm(row);
        if !finite || norm == 0.0 || row.len() != self.dimensions {
            self.values.truncate(start);
            return None;
        }
        self.largest_norm = self.largest_norm.max(norm.sqrt());
        self.half_norms.push((norm / 2.0) as f32);
        Some(())
    }

    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub(super) fn n_rows(&self) -> usize {
        self.half_norms.len()
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }

    /// Finds the k nearest rows of each query, the nearest first; rows at the same distance stand
    /// in their order.
    pub(super) fn nearest(&self, queries: &[&[f32]], k: usize) -> Vec<Vec<Found>> {
        let k = k.min(self.n_rows());
        if k == 0 {
            return vec![Vec::new(); queries.len()];
        }
        queries.chunks(QUERIES).flat_map(|queries| self.nearest_of_chunk(queries, k)).collect()
    }

    fn nearest_of_chunk(&self, queries: &[&[f32]], k: usize) -> Vec<Vec<Found>> {
        let margins: Vec<f32> = queries.iter().map(|query| self.margin(query)).collect();
        if margins.iter().any(|margin| !margin.is_finite()) {
            return queries.iter().map(|query| self.nearest_one_by_one(query, k)).collect();
        }
        let mut nearest: Vec<Nearest<'_>> = queries
            .iter()
            .zip(margins)
            .map(|(query, margin)| Nearest::new(self, query, k, margin))
            .collect();
        let queries_matrix = queries.concat();
        let mut products = vec![0.0; queries.len() * ROWS.min(self.n_rows())];
        for (block, half_norms) in self.half_norms.chunks(ROWS).enumerate() {
            let first_row = block * ROWS;
            let n_rows = half_norms.len();
            let rows = &self.values[first_row * self.dimensions..][..n_rows * self.dimensions];
            multiply(rows, &queries_matrix, self.dimensions, &mut products);
            for (nearest, products) in nearest.iter_mut().zip(products.chunks(n_rows)) {
                nearest.offer(first_row, half_norms, products);
            }
        }
        nearest.into_iter().map(Nearest::into_ranked).collect()
    }

    /// Returns how far a row's |h|^2 / 2 - q.h can be off against another's.
    ///
    /// A product of D terms in single precision is off by at most D eps |q| |h|, and |h|^2 / 2,
    /// computed in double precision, by one rounding; two rows are compared. It is not finite where
    /// the products may overflow.
    fn margin(&self, query: &[f32]) -> f32 {
        let norm = square_norm(query).sqrt();
        let n_terms = self.dimensions as f64 + 1.0;
        let largest = self.largest_norm * (norm * n_terms + self.largest_norm);
        if largest > f64::from(f32::MAX) / 4.0 {
            return f32::INFINITY;
        }
        (2.0 * f64::from(f32::EPSILON) * largest) as f32
    }

    /// Searches among values so large that their products overflow.
    fn nearest_one_by_one(&self, query: &[f32], k: usize) -> Vec<Found> {
        self.ranked(query, 0..self.n_rows(), k)
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
        found.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        found.truncate(k);
        found
    }
}

/// The rows nearest to one query so far, by |h|^2 / 2 - q.h.
struct Nearest<'a> {
    matrix: &'a Matrix,
    query: &'a [f32],
    k: usize,
    /// See [`Matrix::margin`].
    margin: f32,
    /// No row above it is among the k nearest.
    bound: f32,
    candidates: Vec<(f32, u32)>,
}

impl<'a> Nearest<'a> {
    fn new(matrix: &'a Matrix, query: &'a [f32], k: usize, margin: f32) -> Self {
        let candidates = Vec::with_capacity(2 * (k + SPARE));
        Nearest { matrix, query, k, margin, bound: f32::INFINITY, candidates }
    }

    /// Looks at a block of rows; most steps hold none that is near enough and cost one comparison.
    fn offer(&mut self, first_row: usize, half_norms: &[f32], products: &[f32]) {
        let steps = half_norms.chunks(STEP).zip(products.chunks(STEP));
        for (step, (half_norms, products)) in steps.enumerate() {
            let values = half_norms.iter().zip(products).map(|(half_norm, q_h)| half_norm - q_h);
            if values.clone().fold(false, |any, value| any | (value <= self.bound)) {
                let first_row = first_row + step * STEP;
                for (row, value) in (first_row as u32..).zip(values) {
                    self.push(value, row);
                }
            }
        }
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
        if self.candidates.len() > self.k {
            self.shrink();
        }
        self.ranked()
    }
}

/// Writes q.h for every row h and query q: each query's products stand together.
fn multiply(rows: &[f32], queries: &[f32], dimensions: usize, products: &mut [f32]) {
    let (n_rows, n_queries) = (rows.len() / dimensions, queries.len() / dimensions);
    assert!(rows.len() == n_rows * dimensions && queries.len() == n_queries * dimensions);
    assert!(products.len() >= n_rows * n_queries);
    // SAFETY: the strides below keep row r, query q and dimension d at r * dimensions + d,
    // q * dimensions + d and q * n_rows + r, for all r < n_rows, q < n_queries and d < dimensions:
    // within the slices, as just asserted. `products` is borrowed mutably and overlaps nothing.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            n_rows,
            n_queries,
            dimensions,
            products.as_mut_ptr(),
            n_rows as isize,
            1,
            false,
            rows.as_ptr(),
            1,
            dimensions as isize,
            queries.as_ptr(),
            dimensions as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Returns the Euclidean distance; one beyond single precision is cut to its largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let square = sum(a.iter().zip(b).map(|(&a, &b)| {
        let difference = f64::from(a) - f64::from(b);
        difference * difference
    }));
    (square.sqrt() as f32).min(f32::MAX)
}

fn square_norm(vector: &[f32]) -> f64 {
    sum(vector.iter().map(|&value| f64::from(value) * f64::from(value)))
}

fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    terms.sum()
}

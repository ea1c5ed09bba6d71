//! Rows side by side in memory.

use ndarray::ArrayView2;

/// The rows of a block: a core's cache holds them while batch after batch of queries is multiplied with
/// them.
pub(super) const ROWS: usize = 1024;

/// At most [`ROWS`] rows side by side.
#[derive(Clone, Debug)]
pub(super) struct Block {
    dimensions: usize,
    values: Vec<f32>,
    /// |h|^2 / 2 for each row.
    half_norms: Vec<f32>,
}

impl Block {
    pub(super) fn new(dimensions: usize) -> Self {
        Block { dimensions, values: Vec::new(), half_norms: Vec::new() }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.half_norms.len()
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }

    /// Returns the rows: [rows, D].
    pub(super) fn matrix(&self) -> ArrayView2<'_, f32> {
        let shape = (self.n_rows(), self.dimensions);
        ArrayView2::from_shape(shape, &self.values).expect("whole rows")
    }

    pub(super) fn half_norms(&self) -> &[f32] {
        &self.half_norms
    }

    pub(super) fn push(&mut self, values: &[f32], square_norm: f64) {
        self.values.extend_from_slice(values);
        self.half_norms.push((square_norm / 2.0) as f32);
    }

    pub(super) fn replace(&mut self, row: usize, values: &[f32], square_norm: f64) {
        self.values[row * self.dimensions..][..self.dimensions].copy_from_slice(values);
        self.half_norms[row] = (square_norm / 2.0) as f32;
    }

    pub(super) fn push_row_of(&mut self, other: &Block, row: usize) {
        self.values.extend_from_slice(other.row(row));
        self.half_norms.push(other.half_norms[row]);
    }
}

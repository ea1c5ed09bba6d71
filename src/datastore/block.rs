//! Rows side by side in memory, as floats and where that is faster in 8 bits too.

use ndarray::ArrayView2;

use super::int8::Int8Rows;

/// The way in which products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// In single precision.
    Float,
    /// In 8 bits, for processors that are faster at that.
    Int8,
}

/// The rows of a block: a core's cache holds them while batch after batch of queries is multiplied with
/// them.
pub(super) const ROWS: usize = 1024;

/// At most [`ROWS`] rows side by side.
#[derive(Clone, Debug)]
pub(super) struct Block {
    dimensions: usize,
    values: Vec<f32>,
    /// |h|^2 / 2 for each row.
    pub(super) half_norms: Vec<f32>,
    /// The same rows for [`Kernel::Int8`].
    pub(super) int8: Option<Int8Rows>,
}

impl Block {
    pub(super) fn new(dimensions: usize, kernel: Kernel) -> Self {
        let int8 = (kernel == Kernel::Int8).then(|| Int8Rows::new(dimensions));
        Block { dimensions, values: Vec::new(), half_norms: Vec::new(), int8 }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.half_norms.len()
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dimensions..][..self.dimensions]
    }

    pub(super) fn matrix(&self) -> ArrayView2<'_, f32> {
        let shape = (self.n_rows(), self.dimensions);
        ArrayView2::from_shape(shape, &self.values).expect("whole rows")
    }

    pub(super) fn push(&mut self, values: &[f32], square_norm: f64, center: &[f32]) {
        self.values.extend_from_slice(values);
        self.half_norms.push((square_norm / 2.0) as f32);
        if let Some(int8) = &mut self.int8 {
            int8.push(&moved(values, center));
        }
    }

    pub(super) fn replace(&mut self, row: usize, values: &[f32], square_norm: f64, center: &[f32]) {
        self.values[row * self.dimensions..][..self.dimensions].copy_from_slice(values);
        self.half_norms[row] = (square_norm / 2.0) as f32;
        if let Some(int8) = &mut self.int8 {
            int8.replace(row, &moved(values, center));
        }
    }

    /// Makes the rows in 8 bits anew, around a center.
    pub(super) fn round_rows(&mut self, center: &[f32]) {
        let mut int8 = Int8Rows::new(self.dimensions);
        for row in self.values.chunks_exact(self.dimensions) {
            int8.push(&moved(row, center));
        }
        self.int8 = Some(int8);
    }

    pub(super) fn push_row_of(&mut self, other: &Block, row: usize) {
        self.values.extend_from_slice(other.row(row));
        self.half_norms.push(other.half_norms[row]);
        if let (Some(int8), Some(other)) = (&mut self.int8, &other.int8) {
            int8.push_row_of(other, row);
        }
    }
}

/// Returns a vector as it is seen from a center.
pub(super) fn moved(vector: &[f32], center: &[f32]) -> Vec<f32> {
    vector.iter().zip(center).map(|(value, center)| value - center).collect()
}

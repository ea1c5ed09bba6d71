//! Row-major matrices as slices, for hot loops, and their products.

use autotag::product::{self, Threads};
use ndarray::{Array2, ArrayView2};

/// A matrix in standard layout, as every owned one of this crate is.
pub(crate) trait RowMajor {
    /// Returns all values, row after row.
    fn values(&self) -> &[f32];

    /// Returns all values to write, row after row.
    fn values_mut(&mut self) -> &mut [f32];

    /// Returns one row.
    fn row_slice(&self, row: usize) -> &[f32];

    /// Returns one row to write.
    fn row_slice_mut(&mut self, row: usize) -> &mut [f32];

    /// Changes the shape, keeping the allocation; the values are unspecified afterwards.
    fn resize(&mut self, n_rows: usize, n_cols: usize);
}

impl RowMajor for Array2<f32> {
    fn values(&self) -> &[f32] {
        self.as_slice().expect("standard layout")
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self.as_slice_mut().expect("standard layout")
    }

    fn row_slice(&self, row: usize) -> &[f32] {
        self.row(row).to_slice().expect("standard layout")
    }

    fn row_slice_mut(&mut self, row: usize) -> &mut [f32] {
        self.row_mut(row).into_slice().expect("standard layout")
    }

    fn resize(&mut self, n_rows: usize, n_cols: usize) {
        if self.dim() != (n_rows, n_cols) {
            let (mut values, _) = std::mem::take(self).into_raw_vec_and_offset();
            values.resize(n_rows * n_cols, 0.0);
            *self = row_major(n_rows, n_cols, values);
        }
    }
}

/// Makes a matrix of values in row-major order.
///
/// # Panics
///
/// When the number of values is not `n_rows * n_cols`.
pub(crate) fn row_major(n_rows: usize, n_cols: usize, values: Vec<f32>) -> Array2<f32> {
    Array2::from_shape_vec((n_rows, n_cols), values).expect("as many values as the shape has")
}

/// Computes `a b` on the threads of the current rayon pool.
pub(crate) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut out = Array2::zeros((0, 0));
    multiply(&mut out, a, b);
    out
}

/// Computes `out = a b` on the threads of the current rayon pool, reshaping `out`.
pub(crate) fn multiply(out: &mut Array2<f32>, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) {
    out.resize(a.nrows(), b.ncols());
    product::multiply(out.view_mut(), a, b, Threads::Pool);
}

//! Row-major matrices and their product: the one place that calls the `gemm` crate.

use gemm::Parallelism;

/// A row-major matrix of `f32`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    n_rows: usize,
    n_cols: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Makes a matrix of zeros.
    pub fn zeros(n_rows: usize, n_cols: usize) -> Self {
        Matrix { n_rows, n_cols, values: vec![0.0; n_rows * n_cols] }
    }

    /// Takes values in row-major order.
    ///
    /// # Panics
    ///
    /// When the number of values is not `n_rows * n_cols`.
    pub fn from_values(n_rows: usize, n_cols: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), n_rows * n_cols, "a matrix of {n_rows} x {n_cols}");
        Matrix { n_rows, n_cols, values }
    }

    /// Returns the number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Returns the number of columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Returns one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.n_cols..][..self.n_cols]
    }

    /// Returns one row to write.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.n_cols..][..self.n_cols]
    }

    /// Returns all values in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns all values to write, in row-major order.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Changes the shape, keeping the allocation; the values are unspecified afterwards.
    pub fn reshape(&mut self, n_rows: usize, n_cols: usize) {
        self.n_rows = n_rows;
        self.n_cols = n_cols;
        self.values.resize(n_rows * n_cols, 0.0);
    }

    /// Sees the matrix as a factor of a product.
    pub(crate) fn view(&self) -> View<'_> {
        View { matrix: self, transposed: false }
    }

    /// Sees the matrix transposed, as a factor of a product.
    pub(crate) fn transposed(&self) -> View<'_> {
        View { matrix: self, transposed: true }
    }
}

/// A matrix or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    matrix: &'a Matrix,
    transposed: bool,
}

impl View<'_> {
    fn shape(&self) -> (usize, usize) {
        let (rows, cols) = (self.matrix.n_rows, self.matrix.n_cols);
        if self.transposed { (cols, rows) } else { (rows, cols) }
    }

    /// Returns the distance between neighbors in a row and in a column, in values.
    fn strides(&self) -> (isize, isize) {
        let n_cols = self.matrix.n_cols as isize;
        if self.transposed { (n_cols, 1) } else { (1, n_cols) }
    }
}

/// Computes `out = a b` on the threads of the current rayon pool, reshaping `out`.
#[allow(unsafe_code)]
pub(crate) fn multiply(out: &mut Matrix, a: View<'_>, b: View<'_>) {
    let ((m, k), (k_b, n)) = (a.shape(), b.shape());
    assert_eq!(k, k_b, "inner dimensions of a product");
    out.reshape(m, n);
    let ((a_cs, a_rs), (b_cs, b_rs)) = (a.strides(), b.strides());
    // SAFETY: `out` holds m * n values in row-major order; the strides of `a` and `b` address
    // exactly the m * k and k * n values that they hold; `out` is borrowed mutably, so it overlaps
    // neither. With `read_dst` false the old values are not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.values.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.matrix.values.as_ptr(),
            a_cs,
            a_rs,
            b.matrix.values.as_ptr(),
            b_cs,
            b_rs,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_plain_and_transposed_factors() {
        let a = Matrix::from_values(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = Matrix::from_values(2, 3, vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        let mut out = Matrix::default();
        multiply(&mut out, a.view(), b.transposed());
        assert_eq!(out.values(), [4.0, 2.0, 10.0, 5.0]);
        multiply(&mut out, a.transposed(), b.view());
        assert_eq!(out.values(), [1.0, 4.0, 1.0, 2.0, 5.0, 2.0, 3.0, 6.0, 3.0]);
    }
}

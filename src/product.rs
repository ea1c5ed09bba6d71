//! Matrix products: the one place that calls the `gemm` crate.

use gemm::Parallelism;
use ndarray::{ArrayView2, ArrayViewMut2};

/// The threads of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread alone.
    One,
    /// Those of the current rayon pool.
    Pool,
}

/// Computes `out = a b`, whatever the strides of the three: `out` [m, n], `a` [m, k], `b` [k, n].
///
/// ```
/// use autotag::product::{Threads, multiply};
/// use ndarray::{Array2, array};
///
/// let (a, b) = (array![[1.0, 2.0], [3.0, 4.0]], array![[1.0, 0.0], [1.0, 1.0]]);
/// let mut out = Array2::zeros((2, 2));
/// multiply(out.view_mut(), a.view(), b.t(), Threads::One);
/// assert_eq!(out, array![[1.0, 3.0], [3.0, 7.0]]);
/// ```
///
/// # Panics
///
/// When the shapes do not fit.
#[allow(unsafe_code)]
pub fn multiply(
    mut out: ArrayViewMut2<'_, f32>,
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    threads: Threads,
) {
    let ((m, k), (k_b, n)) = (a.dim(), b.dim());
    assert_eq!(k, k_b, "inner dimensions of a product");
    assert_eq!(out.dim(), (m, n), "the shape of a product");
    let strides = |strides: &[isize]| (strides[1], strides[0]);
    let (a_cs, a_rs) = strides(a.strides());
    let (b_cs, b_rs) = strides(b.strides());
    let (out_cs, out_rs) = strides(out.strides());
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::Pool => Parallelism::Rayon(0),
    };
    // SAFETY: the shapes were compared, so pointers and strides of the views address their own elements
    // and no others; `out` is borrowed mutably, so it overlaps neither factor, nor itself. With
    // `read_dst` false its old values are not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_cs,
            out_rs,
            false,
            a.as_ptr(),
            a_cs,
            a_rs,
            b.as_ptr(),
            b_cs,
            b_rs,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};

    use super::*;

    #[test]
    fn plain_transposed_and_sliced_factors() {
        let a = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
        let b = array![[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]];
        for threads in [Threads::One, Threads::Pool] {
            let check = |a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>| {
                let mut out = Array2::zeros((a.nrows(), b.ncols()));
                multiply(out.view_mut(), a, b, threads);
                assert_eq!(out, a.dot(&b));
                let mut transposed = Array2::zeros((b.ncols(), a.nrows()));
                multiply(transposed.view_mut().reversed_axes(), a, b, threads);
                assert_eq!(transposed.t(), out);
            };
            check(a.view(), b.t());
            check(a.t(), b.view());
            check(a.slice(s![.., ..;2]), b.slice(s![.., ..;-2]).t());
        }
    }
}

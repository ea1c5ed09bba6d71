//! Subspaces in which data varies most: subspace iteration.

use ndarray::{Array2, Axis};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::init::uniform;
use crate::rows::product;

/// The rounds of subspace iteration; a direction's share is multiplied by its variance in each.
const ROUNDS: usize = 24;

/// Returns an orthonormal basis, [R, D], of the subspace in which rows [N, R] vary most; it has fewer
/// columns where they vary in fewer than D directions.
///
/// It spans the first D principal components, in no particular order or rotation: distances do not depend
/// on them. It is found by subspace iteration on the covariance matrix from a random start (Halko,
/// Martinsson and Tropp, 2011, algorithm 4.4).
pub(crate) fn principal_subspace(rows: &Array2<f32>, n_dimensions: usize) -> Array2<f32> {
    let covariance = covariance(rows);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
    let mut basis = uniform(&mut rng, covariance.nrows(), n_dimensions, 1.0);
    orthonormalize(&mut basis);
    for _ in 0..ROUNDS {
        basis = product(covariance.view(), basis.view());
        orthonormalize(&mut basis);
    }
    let is_used = |&column: &usize| basis.column(column).iter().any(|&value| value != 0.0);
    let used: Vec<usize> = (0..basis.ncols()).filter(is_used).collect();
    basis.select(Axis(1), &used).as_standard_layout().into_owned()
}

/// Returns the covariance matrix of rows [N, R]: [R, R].
fn covariance(rows: &Array2<f32>) -> Array2<f32> {
    let n_rows = rows.nrows().max(1) as f32;
    let mean = rows.sum_axis(Axis(0)) / n_rows;
    let centered = rows - &mean;
    product(centered.t(), centered.view()) / n_rows
}

/// Makes a matrix's columns orthonormal; a column that depends on those before it becomes zero.
///
/// CholeskyQR2 (Yamamoto et al., 2015): `Z R^-1` with the Cholesky factor R of `Z^T Z`, twice, since one
/// pass loses half of the digits. Why not Householder's QR? All work on the tall matrix is products.
pub(crate) fn orthonormalize(matrix: &mut Array2<f32>) {
    for _ in 0..2 {
        let inverse = inverse_factor(&product(matrix.t(), matrix.view()));
        *matrix = product(matrix.view(), inverse.view());
    }
}

/// A column is linearly dependent when less than this share of its squared length is orthogonal to the
/// columns before it.
const DEPENDENT: f64 = 1e-6;

/// Returns R^-1 for the upper triangular R with `R^T R = G`, with zero columns where G has no rank.
fn inverse_factor(gram: &Array2<f32>) -> Array2<f32> {
    let n = gram.nrows();
    let mut factor = Array2::<f64>::zeros((n, n));
    let mut inverse = Array2::<f64>::zeros((n, n));
    for column in 0..n {
        for row in 0..column {
            let known: f64 = (0..row).map(|k| factor[[k, row]] * factor[[k, column]]).sum();
            let pivot = factor[[row, row]];
            let value = f64::from(gram[[row, column]]) - known;
            factor[[row, column]] = if pivot > 0.0 { value / pivot } else { 0.0 };
        }
        let squared = f64::from(gram[[column, column]]);
        let known: f64 = (0..column).map(|k| factor[[k, column]].powi(2)).sum();
        let left = squared - known;
        if left <= DEPENDENT * squared || left <= 0.0 {
            continue;
        }
        let pivot = left.sqrt();
        factor[[column, column]] = pivot;
        // Back substitution: the column of R^-1 that belongs to this one of R.
        inverse[[column, column]] = 1.0 / pivot;
        for row in 0..column {
            let sum: f64 = (row..column).map(|k| inverse[[row, k]] * factor[[k, column]]).sum();
            inverse[[row, column]] = -sum / pivot;
        }
    }
    inverse.mapv(|value| value as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that vary by 3 along (1, 1, 0) / sqrt 2, by 1 along (0, 0, 1), and not along (1, -1, 0).
    fn rows() -> Array2<f32> {
        let root = 0.5f32.sqrt();
        let row = |i: usize| {
            let (strong, weak) = ([-3.0, 3.0][i % 2], [-1.0, -1.0, 1.0, 1.0][i % 4]);
            [5.0 + strong * root, 2.0 + strong * root, weak]
        };
        Array2::from_shape_fn((40, 3), |(i, j)| row(i)[j])
    }

    #[test]
    fn the_subspace_is_the_one_of_the_largest_variance() {
        let one = principal_subspace(&rows(), 1);
        let sign = one[[0, 0]].signum();
        for (row, expected) in [0.5f32.sqrt(), 0.5f32.sqrt(), 0.0].into_iter().enumerate() {
            assert!((sign * one[[row, 0]] - expected).abs() < 1e-3, "{one:?}");
        }
        let two = principal_subspace(&rows(), 2);
        let gram = product(two.t(), two.view());
        for (at, value) in gram.indexed_iter() {
            let expected = f32::from(u8::from(at.0 == at.1));
            assert!((value - expected).abs() < 1e-3, "{gram:?}");
        }
    }

    #[test]
    fn there_are_no_dimensions_beyond_the_rank() {
        assert_eq!(principal_subspace(&rows(), 3).dim(), (3, 2));
        assert_eq!(principal_subspace(&Array2::ones((4, 3)), 2).dim(), (3, 0));
    }
}

//! Random initialization.

use ndarray::Array2;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use crate::rows::row_major;

/// Draws a matrix uniformly from `-limit..=limit`.
pub(crate) fn uniform(
    rng: &mut Xoshiro256PlusPlus,
    n_rows: usize,
    n_cols: usize,
    limit: f32,
) -> Array2<f32> {
    let values = (0..n_rows * n_cols).map(|_| rng.random_range(-limit..=limit)).collect();
    row_major(n_rows, n_cols, values)
}

/// Draws a matrix whose spread keeps the variance of activations (Glorot and Bengio, 2010).
pub(crate) fn glorot(rng: &mut Xoshiro256PlusPlus, n_rows: usize, n_cols: usize) -> Array2<f32> {
    uniform(rng, n_rows, n_cols, (6.0 / (n_rows + n_cols) as f32).sqrt())
}

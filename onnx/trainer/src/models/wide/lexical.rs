//! The lexical part of a representation: latent semantic analysis of the n-grams.
//!
//! The hidden layer keeps what predicts the labels, so its neighbors repeat the scores. Neighbors by the
//! words themselves add information. With X the training texts'
//! n-gram weights, [N, V], and P an orthonormal basis of the subspace in which X varies most, [V, D],
//! `g = x P` has the same inner products as the first D dimensions of latent semantic analysis
//! (Deerwester et al., 1990), whose rotation does not matter to distances.
//!
//! P is found by subspace iteration from a random start (Halko, Martinsson and Tropp, 2011, algorithm
//! 4.4): `P <- orth(X^T (X P))`. Each round multiplies the share of a direction with singular value s by
//! s^2, so that the largest ones win in a few rounds, and only sparse products with X are needed.

use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use autotag_onnx::Features;

use super::batch::Batch;
use super::config::table_format;
use crate::init::uniform;
use crate::rows::RowMajor as _;
use crate::subspace::orthonormalize;

/// The rounds of subspace iteration.
const ROUNDS: usize = 4;

/// The most texts that the subspace is found from, evenly sampled.
const MAX_TEXTS: usize = 20_000;

/// Returns the basis P, [V, D], rounded as it is exported.
///
/// Where the texts span fewer than D dimensions, the remaining columns are zero.
pub(super) fn basis(
    texts: &[&Features],
    n_ngrams: usize,
    n_dimensions: usize,
    seed: u64,
) -> Array2<f32> {
    let stride = texts.len().div_ceil(MAX_TEXTS).max(1);
    let texts: Vec<&Features> = texts.iter().step_by(stride).copied().collect();
    let mut batch = Batch::default();
    batch.fill(&texts, n_ngrams, 0.0, 0);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut basis = uniform(&mut rng, n_ngrams, n_dimensions, 1.0);
    let mut rows = Array2::zeros((0, 0));
    for _ in 0..ROUNDS {
        let coordinates = batch.sums(&basis);
        batch.table_gradient(&coordinates, &mut rows);
        orthonormalize(&mut rows);
        basis.fill(0.0);
        for ngram in 0..n_ngrams {
            if let Some(position) = batch.position(ngram) {
                basis.row_mut(ngram).assign(&rows.row(position));
            }
        }
    }
    table_format(n_dimensions).round(basis.values_mut());
    basis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::product;

    fn features(entries: &[(u32, f32)]) -> Features {
        let (ids, weights) = entries.iter().copied().unzip();
        Features { ids, weights }
    }

    /// Texts of two topics, whose words never meet.
    fn texts() -> Vec<Features> {
        (0..40)
            .map(|text| {
                let topic = text % 2;
                let word = |n: u32| (topic * 10 + (text + n * n) % 10, 0.5 + n as f32 / 10.0);
                features(&[word(0), word(1), word(3)])
            })
            .collect()
    }

    #[test]
    fn the_basis_is_orthonormal() {
        let texts = texts();
        let texts: Vec<&Features> = texts.iter().collect();
        let basis = basis(&texts, 20, 6, 1);
        let gram = product(basis.t(), basis.view());
        for row in 0..6 {
            for column in 0..6 {
                let expected = f32::from(u8::from(row == column));
                let found = gram[[row, column]];
                assert!((found - expected).abs() < 1e-2, "{row} {column}: {found}");
            }
        }
    }

    #[test]
    fn the_first_dimensions_keep_what_varies_most() {
        // One strong direction, (1, 1, 0) / sqrt 2, and a weak one, (0, 0, 1).
        let strong: Vec<Features> =
            (0..20).map(|n| features(&[(0, 1.0 + n as f32), (1, 1.0 + n as f32)])).collect();
        let weak = features(&[(2, 0.5)]);
        let mut texts: Vec<&Features> = strong.iter().collect();
        texts.push(&weak);
        let basis = basis(&texts, 3, 1, 5);
        let expected = [0.5f32.sqrt(), 0.5f32.sqrt(), 0.0];
        let sign = basis[[0, 0]].signum();
        for (ngram, expected) in expected.into_iter().enumerate() {
            let found = sign * basis[[ngram, 0]];
            assert!((found - expected).abs() < 1e-3, "{ngram}: {found}");
        }
    }

    #[test]
    fn dimensions_beyond_the_texts_are_zero() {
        let two = [features(&[(0, 1.0)]), features(&[(1, 2.0)])];
        let texts: Vec<&Features> = two.iter().collect();
        let basis = basis(&texts, 4, 8, 3);
        let n_used = (0..8).filter(|&d| (0..4).any(|n| basis[[n, d]].abs() > 1e-3)).count();
        assert_eq!(n_used, 2, "{basis:?}");
        assert!(basis.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn one_seed_gives_one_basis() {
        let texts = texts();
        let texts: Vec<&Features> = texts.iter().collect();
        assert_eq!(basis(&texts, 20, 4, 7), basis(&texts, 20, 4, 7));
    }
}

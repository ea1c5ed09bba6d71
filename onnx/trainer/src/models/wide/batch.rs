//! A batch as a sparse matrix of n-gram weights, by text and by n-gram.

use ndarray::Array2;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use autotag_onnx::Features;

use crate::distinct::Distinct;
use crate::layers::add_scaled;
use crate::rows::RowMajor as _;

/// The n-grams of a batch after dropout.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    distinct: Distinct,
    /// Each text's n-grams with their weights, text after text.
    by_text: Lists,
    /// The texts that each distinct n-gram occurs in, with its weight there.
    by_ngram: Lists,
}

/// Lists of weighted ids in compressed sparse row form.
#[derive(Clone, Debug, Default)]
struct Lists {
    entries: Vec<(u32, f32)>,
    /// Where each list begins, and where the last ends.
    starts: Vec<usize>,
}

impl Lists {
    fn get(&self, list: usize) -> &[(u32, f32)] {
        &self.entries[self.starts[list]..self.starts[list + 1]]
    }
}

impl Batch {
    /// Replaces the batch by texts with n-grams below `n_ngrams`, with dropout of whole n-grams.
    pub(super) fn fill(&mut self, texts: &[&Features], n_ngrams: usize, dropout: f32, seed: u64) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let limit = (f64::from(dropout) * 2f64.powi(32)) as u64;
        let scale = 1.0 / (1.0 - dropout);
        self.distinct.begin(n_ngrams);
        self.by_text.entries.clear();
        self.by_text.starts.clear();
        for text in texts {
            self.by_text.starts.push(self.by_text.entries.len());
            for (&id, &weight) in text.ids.iter().zip(&text.weights) {
                if rng.next_u64() >> 32 >= limit {
                    self.distinct.insert(id);
                    self.by_text.entries.push((id, scale * weight));
                }
            }
        }
        self.by_text.starts.push(self.by_text.entries.len());
        self.turn();
    }

    /// Transposes the lists by counting sort: from texts to n-grams.
    fn turn(&mut self) {
        let n = self.distinct.ids.len();
        let Lists { entries, starts } = &mut self.by_ngram;
        starts.clear();
        starts.resize(n + 1, 0);
        let position = |id: u32| self.distinct.position(id as usize).expect("it was inserted");
        for &(id, _) in &self.by_text.entries {
            starts[position(id) + 1] += 1;
        }
        for list in 0..n {
            starts[list + 1] += starts[list];
        }
        entries.resize(self.by_text.entries.len(), (0, 0.0));
        let mut next = starts.clone();
        for text in 0..self.by_text.starts.len() - 1 {
            for &(id, weight) in self.by_text.get(text) {
                let place = &mut next[position(id)];
                entries[*place] = (text as u32, weight);
                *place += 1;
            }
        }
    }

    /// Returns an n-gram's position among the distinct ones, or `None` when the batch lacks it.
    pub(super) fn position(&self, ngram: usize) -> Option<usize> {
        self.distinct.position(ngram)
    }

    /// Computes each text's weighted sum of table rows, `X T`: [B, columns].
    pub(super) fn sums(&self, table: &Array2<f32>) -> Array2<f32> {
        let n_texts = self.by_text.starts.len() - 1;
        let mut sums = Array2::zeros((n_texts, table.ncols()));
        let rows = sums.values_mut().par_chunks_mut(table.ncols()).enumerate();
        rows.for_each(|(text, sum)| {
            for &(id, weight) in self.by_text.get(text) {
                add_scaled(sum, weight, table.row_slice(id as usize));
            }
        });
        sums
    }

    /// Computes the gradient of the distinct n-grams' rows, `X^T` times the slopes [B, columns]:
    /// [U, columns].
    pub(super) fn table_gradient(&self, slopes: &Array2<f32>, gradient: &mut Array2<f32>) {
        gradient.resize(self.distinct.ids.len(), slopes.ncols());
        let rows = gradient.values_mut().par_chunks_mut(slopes.ncols()).enumerate();
        rows.with_min_len(64).for_each(|(ngram, gradient)| {
            gradient.fill(0.0);
            for &(text, weight) in self.by_ngram.get(ngram) {
                add_scaled(gradient, weight, slopes.row_slice(text as usize));
            }
        });
    }
}

/// Computes each text's weighted sum of table rows: [B, columns].
pub(super) fn weighted_sums(table: &Array2<f32>, texts: &[&Features]) -> Array2<f32> {
    let mut sums = Array2::zeros((texts.len(), table.ncols()));
    sums.values_mut().par_chunks_mut(table.ncols()).zip(texts).for_each(|(sum, text)| {
        for (&id, &weight) in text.ids.iter().zip(&text.weights) {
            add_scaled(sum, weight, table.row_slice(id as usize));
        }
    });
    sums
}

//! Linear classifiers over a text's most frequent n-grams, one for each label.
//!
//! ```text
//! g = sum_f x_f W_f + c             x_f: the n-grams' weights, W: [F + 1, L], c: the biases
//! ```
//!
//! Each label's column is a support vector machine ([`LinearSvm`]). The last row of W is zero: that of all
//! n-grams that were left out.

use autotag::{LabelId, LabelSet};
use autotag_onnx::graph::{Dim, GraphBuilder, Value};
use autotag_onnx::proto::ElementType;
use autotag_onnx::{Features, Precision, QuantizedTable, TableFormat};
use ndarray::{Array1, Array2};
use rayon::prelude::*;

use crate::layers::add_scaled;
use crate::rows::RowMajor as _;
use crate::svm::{LinearSvm, SvmConfig};

/// The most labels that there are classifiers for: a machine for each of more takes longer than a network.
pub(crate) const MAX_LABELS: usize = 1000;

/// The classifiers of all labels.
pub(crate) struct LinearLayer {
    /// W: [F + 1, L].
    table: Array2<f32>,
    /// c: `[L]`.
    bias: Array1<f32>,
    /// The row of each of the V n-grams.
    rows: Vec<u32>,
}

impl LinearLayer {
    /// Trains on texts with n-grams below `n_ngrams`, of which the `n_kept` in the most texts are kept.
    pub(crate) fn train(
        texts: &[&Features],
        labels: &[LabelSet],
        n_labels: usize,
        n_ngrams: usize,
        n_kept: usize,
    ) -> Self {
        let (rows, n_kept) = most_frequent(texts, n_ngrams, n_kept);
        let kept: Vec<Features> =
            texts.par_iter().map(|text| selected(text, &rows, n_kept)).collect();
        let machines: Vec<LinearSvm> = (0..n_labels)
            .into_par_iter()
            .map(|label| {
                let sign = |labels: &LabelSet| match labels.contains(LabelId(label as u32)) {
                    true => 1.0,
                    false => -1.0,
                };
                let signs: Vec<f32> = labels.iter().map(sign).collect();
                LinearSvm::train(&kept, &signs, n_kept, &SvmConfig::default(), label as u64)
            })
            .collect();
        let weight = |(row, label): (usize, usize)| {
            machines[label].weights.get(row).copied().unwrap_or_default()
        };
        let mut table = Array2::from_shape_fn((n_kept + 1, n_labels), weight);
        table_format(n_labels).round(table.values_mut());
        LinearLayer { table, bias: machines.iter().map(|machine| machine.bias).collect(), rows }
    }

    /// Returns g: [B, L].
    pub(crate) fn margins(&self, texts: &[&Features]) -> Array2<f32> {
        let mut margins = Array2::zeros((texts.len(), self.bias.len()));
        let n_labels = self.bias.len().max(1);
        margins.values_mut().par_chunks_mut(n_labels).zip(texts).for_each(|(margins, text)| {
            add_scaled(margins, 1.0, self.bias.as_slice().expect("standard layout"));
            for (&id, &weight) in text.ids.iter().zip(&text.weights) {
                add_scaled(margins, weight, self.table.row_slice(self.rows[id as usize] as usize));
            }
        });
        margins
    }

    /// Writes g, from the inputs that the wide model has too.
    pub(crate) fn write(&self, graph: &mut GraphBuilder) -> Value {
        let shape = [Dim::Symbol("batch"), Dim::Symbol("features")];
        let ids = graph.input("feature_ids", ElementType::Int64, &shape);
        let weights = graph.input("feature_weights", ElementType::Float, &shape);
        let rows: Vec<i64> = self.rows.iter().map(|&row| row.into()).collect();
        let rows = graph.constant_i64("linear_rows", &[rows.len()], &rows);
        let rows = graph.gather(&rows, &ids, 0);
        let table = QuantizedTable::new(self.table.values(), table_format(self.table.ncols()));
        let sums = graph.embedding_bag("linear_table", &table, &rows, &weights);
        let bias = graph.constant_f32("linear_bias", &[self.bias.len()], &self.bias.to_vec());
        graph.add(&sums, &bias)
    }
}

/// Returns the format in which W is exported; training rounds it to that.
fn table_format(n_labels: usize) -> TableFormat {
    TableFormat::new(n_labels, 1, Precision::Int8)
}

/// Returns the row of each n-gram, that behind the last kept one for those that are left out, and the number
/// of those that are kept: the n-grams in the most texts, of equal ones the first.
fn most_frequent(texts: &[&Features], n_ngrams: usize, n_kept: usize) -> (Vec<u32>, usize) {
    let mut counts = vec![0u32; n_ngrams];
    for &id in texts.iter().flat_map(|text| &text.ids) {
        counts[id as usize] += 1;
    }
    let mut order: Vec<usize> = (0..n_ngrams).collect();
    order.sort_by_key(|&id| std::cmp::Reverse(counts[id]));
    order.truncate(n_kept);
    // In the order of their ids, so that a text's are ascending.
    order.sort_unstable();
    let mut rows = vec![order.len() as u32; n_ngrams];
    for (row, &id) in order.iter().enumerate() {
        rows[id] = row as u32;
    }
    (rows, order.len())
}

/// Returns a text's n-grams that are kept, by their rows.
fn selected(text: &Features, rows: &[u32], n_kept: usize) -> Features {
    let mut selected = Features::default();
    for (&id, &weight) in text.ids.iter().zip(&text.weights) {
        let row = rows[id as usize];
        if (row as usize) < n_kept {
            selected.ids.push(row);
            selected.weights.push(weight);
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ids: &[u32]) -> Features {
        let weight = 1.0 / (ids.len() as f32).sqrt();
        Features { ids: ids.to_vec(), weights: vec![weight; ids.len()] }
    }

    /// N-gram 0 goes with label 0, n-gram 2 with label 1, n-gram 3 with both, n-gram 1 is rare.
    fn layer(n_kept: usize) -> LinearLayer {
        let texts: Vec<Features> =
            [&[0, 3][..], &[0], &[2, 3], &[2], &[0, 1], &[2], &[0, 3], &[2, 3]].map(text).to_vec();
        let labels: Vec<LabelSet> =
            [0, 0, 1, 1, 0, 1, 0, 1].map(|label| [LabelId(label)].into_iter().collect()).to_vec();
        LinearLayer::train(&texts.iter().collect::<Vec<_>>(), &labels, 2, 4, n_kept)
    }

    #[test]
    fn margins_tell_the_labels_of_n_grams() {
        let margins = layer(10).margins(&[&text(&[0, 3]), &text(&[2])]);
        assert!(margins[[0, 0]] > 0.0 && margins[[0, 1]] < 0.0, "{margins}");
        assert!(margins[[1, 0]] < 0.0 && margins[[1, 1]] > 0.0, "{margins}");
    }

    #[test]
    fn n_grams_that_are_left_out_say_nothing() {
        let layer = layer(3);
        let margins = layer.margins(&[&text(&[1]), &Features::default(), &text(&[3])]);
        assert_eq!(margins.row(0), layer.bias);
        assert_eq!(margins.row(1), layer.bias);
        assert_ne!(margins.row(2), layer.bias);
    }
}

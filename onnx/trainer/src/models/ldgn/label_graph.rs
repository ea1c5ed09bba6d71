use ndarray::Array2;

use autotag::LabelSet;

use crate::rows::RowMajor as _;

/// Returns the normalized graph of label co-occurrence: [L, L] (Kipf and Welling, 2017).
///
/// `A_ij` is the share of label i's documents that have label j too, 1 where i = j; the graph is
/// `D^-1/2 A D^-1/2`, where D holds the sums of A's rows. A label without any document is joined to
/// itself alone.
pub(crate) fn label_graph(labels: &[LabelSet], n_labels: usize) -> Array2<f32> {
    let mut graph = Array2::zeros((n_labels, n_labels));
    for labels in labels {
        for &a in labels.ids() {
            let row = graph.row_slice_mut(a.index());
            labels.ids().iter().for_each(|b| row[b.index()] += 1.0);
        }
    }
    let mut roots = Vec::with_capacity(n_labels);
    for label in 0..n_labels {
        let row = graph.row_slice_mut(label);
        let n_documents = row[label].max(1.0);
        row[label] = n_documents;
        row.iter_mut().for_each(|count| *count /= n_documents);
        roots.push(row.iter().sum::<f32>().sqrt());
    }
    for a in 0..n_labels {
        let row = graph.row_slice_mut(a).iter_mut();
        row.zip(&roots).for_each(|(share, root)| *share /= roots[a] * root);
    }
    graph
}

#[cfg(test)]
mod tests {
    use autotag::LabelId;

    use super::*;

    #[test]
    fn labels_are_joined_by_how_often_they_occur_together() {
        let ids: [&[u32]; 3] = [&[0, 1], &[0], &[0, 1]];
        let labels: Vec<LabelSet> =
            ids.iter().map(|ids| ids.iter().copied().map(LabelId).collect()).collect();
        let graph = label_graph(&labels, 3);
        // Rows of A: (1, 2/3, 0), (1, 1, 0), (0, 0, 1); sums 5/3, 2, 1.
        let between = (5f32 / 3.0 * 2.0).sqrt();
        let expect = [3.0 / 5.0, 2.0 / 3.0 / between, 0.0, 1.0 / between, 0.5, 0.0, 0.0, 0.0, 1.0];
        for (found, expect) in graph.values().iter().zip(expect) {
            assert!((found - expect).abs() < 1e-6, "{found} {expect}");
        }
    }
}

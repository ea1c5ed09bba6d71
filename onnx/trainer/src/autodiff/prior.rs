use ndarray::Array2;

use autotag::LabelSet;

use crate::rows::row_major;

/// Returns the bias with which every label is scored as often as the training texts have it: [1, L].
///
/// `b_l = log((n_l + 1/2) / (n - n_l + 1/2))` for `n_l` of n texts. Without it, the first steps of a
/// training do nothing but learn that labels are rare, and in few epochs these steps count.
pub(crate) fn prior_bias(labels: &[LabelSet], n_labels: usize) -> Array2<f32> {
    let mut counts = vec![0usize; n_labels];
    labels.iter().flat_map(|labels| labels.ids()).for_each(|label| counts[label.index()] += 1);
    let log_odds = |n_l: usize| ((n_l as f32 + 0.5) / ((labels.len() - n_l) as f32 + 0.5)).ln();
    row_major(1, n_labels, counts.into_iter().map(log_odds).collect())
}

#[cfg(test)]
mod tests {
    use autotag::LabelId;
    use ndarray::array;

    use super::*;

    #[test]
    fn labels_start_as_often_as_texts_have_them() {
        let labels: Vec<LabelSet> = [&[0][..], &[0, 1]]
            .iter()
            .map(|ids| ids.iter().copied().map(LabelId).collect())
            .collect();
        let bias = prior_bias(&labels, 3);
        assert_eq!(bias, array![[5f32.ln(), 0.0, 0.2f32.ln()]]);
    }
}

use burn::tensor::Tensor;

use autotag::LabelSet;

use crate::fit::Predicted;
use crate::matrix::Matrix;

/// What a model says of a batch, on its device.
pub(crate) struct Answer {
    /// [B, R].
    pub(crate) representations: Tensor<2>,
    /// [B, L].
    pub(crate) logits: Tensor<2>,
}

/// Answers for a batch in groups of texts of similar length, so that little is padding; returns the
/// labels in the answer's order.
///
/// `answer` is given a group and the group's number.
pub(crate) fn answer_by_length<'l>(
    texts: &[&[u32]],
    labels: &[&'l LabelSet],
    group_size: usize,
    answer: impl Fn(&[&[u32]], u64) -> Answer,
) -> (Answer, Vec<&'l LabelSet>) {
    let order = by_length(texts);
    let (mut representations, mut logits) = (Vec::new(), Vec::new());
    for (number, rows) in order.chunks(group_size).enumerate() {
        let group: Vec<&[u32]> = rows.iter().map(|&row| texts[row]).collect();
        let answer = answer(&group, number as u64);
        representations.push(answer.representations);
        logits.push(answer.logits);
    }
    let answer =
        Answer { representations: Tensor::cat(representations, 0), logits: Tensor::cat(logits, 0) };
    (answer, order.into_iter().map(|row| labels[row]).collect())
}

/// Predicts texts in groups of similar length; the answers stand in the texts' order.
pub(crate) fn predict_by_length(
    texts: &[&[u32]],
    group_size: usize,
    predict: impl Fn(&[&[u32]]) -> Predicted,
) -> Predicted {
    let mut all = Predicted::default();
    for rows in by_length(texts).chunks(group_size) {
        let group: Vec<&[u32]> = rows.iter().map(|&row| texts[row]).collect();
        let Predicted { embeddings, scores } = predict(&group);
        put_rows(&mut all.embeddings, &embeddings, rows, texts.len());
        put_rows(&mut all.scores, &scores, rows, texts.len());
    }
    all
}

/// Returns texts' positions, the shortest text's first.
fn by_length(texts: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&row| texts[row].len());
    order
}

/// Copies a group's rows to where they belong among all `n_rows`.
fn put_rows(all: &mut Matrix, group: &Matrix, rows: &[usize], n_rows: usize) {
    if all.n_rows() != n_rows {
        *all = Matrix::zeros(n_rows, group.n_cols());
    }
    rows.iter().enumerate().for_each(|(i, &row)| all.row_mut(row).copy_from_slice(group.row(i)));
}

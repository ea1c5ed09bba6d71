use crate::fit::Predicted;
use crate::matrix::Matrix;

/// Predicts texts in batches of similar length, so that little is padding; the answers stand in the
/// texts' order.
pub(crate) fn predict_by_length(
    texts: &[&[u32]],
    at_once: usize,
    predict: impl Fn(&[&[u32]]) -> Predicted,
) -> Predicted {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&row| texts[row].len());
    let mut all = Predicted::default();
    for rows in order.chunks(at_once) {
        let batch: Vec<&[u32]> = rows.iter().map(|&row| texts[row]).collect();
        let Predicted { embeddings, scores } = predict(&batch);
        put_rows(&mut all.embeddings, &embeddings, rows, texts.len());
        put_rows(&mut all.scores, &scores, rows, texts.len());
    }
    all
}

/// Copies a batch's rows to where they belong among all `n_rows`.
fn put_rows(all: &mut Matrix, batch: &Matrix, rows: &[usize], n_rows: usize) {
    if all.n_rows() != n_rows {
        *all = Matrix::zeros(n_rows, batch.n_cols());
    }
    rows.iter().enumerate().for_each(|(i, &row)| all.row_mut(row).copy_from_slice(batch.row(i)));
}

//! Labeled documents to learn from and to measure with.

use std::path::Path;

use autotag_documents::Document;
use autotag_train::LabeledText;

/// Returns documents as the trainer takes them.
pub(super) fn texts(documents: Vec<Document>) -> impl Iterator<Item = LabeledText> {
    documents.into_iter().map(|Document { key, text, labels, .. }| LabeledText {
        key,
        text,
        labels,
    })
}

/// Says which labels can only be missed.
pub(super) fn warn_of_unknown(path: &Path, labels: &[String]) {
    if labels.is_empty() {
        return;
    }
    let (file, n_labels) = (path.display(), labels.len());
    let examples = labels.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    tracing::warn!(%file, n_labels, examples, "labels that the model does not know count as missed");
}

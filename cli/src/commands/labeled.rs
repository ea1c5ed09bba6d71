//! Labeled documents to learn from and to measure with.

use std::path::Path;

use autotag_documents::{Document, ReadError};
use autotag_train::LabeledText;

use crate::args::DocumentArgs;

/// Reads documents to learn from: each must have labels.
pub(super) fn read_to_learn(path: &Path, args: &DocumentArgs) -> Result<Vec<Document>, ReadError> {
    autotag_documents::read_to_learn(path, &args.read_options())
}

/// Reads documents to measure with, those that have labels.
pub(super) fn read_to_measure(
    path: &Path,
    args: &DocumentArgs,
) -> Result<Vec<Document>, ReadError> {
    autotag_documents::read_to_measure(path, &args.read_options())
}

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

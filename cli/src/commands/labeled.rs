//! Labelled documents to learn from and to measure with.

use std::path::Path;

use autotag_train::LabeledText;

use crate::args::DocumentArgs;
use crate::documents::{Document, Problem, ReadError, read_all};

/// Reads documents to learn from: each must have labels.
pub(super) fn read_to_learn(path: &Path, args: &DocumentArgs) -> Result<Vec<Document>, ReadError> {
    let documents = read_all(path, &args.read_options())?;
    match documents.iter().find(|document| document.labels.is_empty()) {
        None => Ok(documents),
        Some(Document { line, key, .. }) => {
            let problem = Problem::NoLabels { key: key.clone(), field: args.labels.clone() };
            Err(ReadError::at(&path.display().to_string(), *line, Some(key.clone()), problem))
        }
    }
}

/// Reads documents to measure with; those without labels are left out, since they do not tell
/// which tags are right.
pub(super) fn read_to_measure(
    path: &Path,
    args: &DocumentArgs,
) -> Result<Vec<Document>, ReadError> {
    let mut documents = read_all(path, &args.read_options())?;
    let n_documents = documents.len();
    documents.retain(|document| !document.labels.is_empty());
    let file = path.display().to_string();
    if documents.is_empty() {
        let problem = Problem::NoneLabeled { n_documents, field: args.labels.clone() };
        return Err(ReadError::of_file(&file, problem));
    }
    let n_unlabeled = n_documents - documents.len();
    if n_unlabeled > 0 {
        tracing::warn!(file, n_unlabeled, "documents without labels are left out");
    }
    Ok(documents)
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

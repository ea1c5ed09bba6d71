//! Reads whole files.

use std::collections::HashMap;
use std::path::Path;

use crate::document::Document;
use crate::documents::Documents;
use crate::error::{Problem, ReadError};
use crate::options::ReadOptions;

/// Reads a whole file, in which every key may stand once.
///
/// # Errors
///
/// The first that a document has.
pub fn read_all(path: &Path, options: &ReadOptions) -> Result<Vec<Document>, ReadError> {
    let mut lines_by_key: HashMap<String, u64> = HashMap::new();
    let mut documents = Vec::new();
    let reader = Documents::open(path, options)?;
    let file = reader.file.clone();
    for document in reader {
        let document = document?;
        if let Some(first) = lines_by_key.insert(document.key.clone(), document.line) {
            let problem = Problem::DoubledKey { key: document.key, first };
            return Err(ReadError::at(&file, document.line, None, problem));
        }
        documents.push(document);
    }
    Ok(documents)
}

/// Reads documents to learn from: each must have labels.
pub fn read_to_learn(path: &Path, options: &ReadOptions) -> Result<Vec<Document>, ReadError> {
    let documents = read_all(path, options)?;
    match documents.iter().find(|document| document.labels.is_empty()) {
        None => Ok(documents),
        Some(Document { line, key, .. }) => {
            let problem = Problem::NoLabels { key: key.clone(), field: options.labels.clone() };
            Err(ReadError::at(&path.display().to_string(), *line, Some(key.clone()), problem))
        }
    }
}

/// Reads documents to measure with; those without labels are left out, since they do not tell
/// which tags are right.
pub fn read_to_measure(path: &Path, options: &ReadOptions) -> Result<Vec<Document>, ReadError> {
    let mut documents = read_all(path, options)?;
    let n_documents = documents.len();
    documents.retain(|document| !document.labels.is_empty());
    let file = path.display().to_string();
    if documents.is_empty() {
        let problem = Problem::NoneLabeled { n_documents, field: options.labels.clone() };
        return Err(ReadError::of_file(&file, problem));
    }
    let n_unlabeled = n_documents - documents.len();
    if n_unlabeled > 0 {
        tracing::warn!(file, n_unlabeled, "documents without labels are left out");
    }
    Ok(documents)
}

//! Labelled texts to train on and to measure with.

use std::collections::HashSet;

use autotag::datastore::MAX_KEY_BYTES;
use autotag::{LabelId, LabelSet, LabelVocabulary};
use serde::{Deserialize, Serialize};

use crate::{Result, TrainError};

/// A text and the names of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabeledText {
    /// The document's key, unique in its data set.
    pub key: String,
    /// The text.
    pub text: String,
    /// The labels' names.
    pub labels: Vec<String>,
}

/// The treatment of texts that cannot be read, as those without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreadable {
    /// They are left out and counted.
    #[default]
    Skip,
    /// The first of them is an error.
    Refuse,
}

/// The numbers of texts that were left out because the model cannot read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The training texts.
    pub train: usize,
    /// The dev texts.
    pub dev: usize,
}

/// Labelled texts whose labels have ids.
#[derive(Clone, Debug)]
pub struct Dataset {
    keys: Vec<String>,
    texts: Vec<String>,
    labels: Vec<LabelSet>,
    vocabulary: LabelVocabulary,
    /// The labels that this data set added to the vocabulary it was made with.
    unknown: Vec<String>,
}

impl Dataset {
    /// Makes a training set; its vocabulary holds the labels in it, in alphabetical order.
    ///
    /// # Errors
    ///
    /// [`TrainError::EmptyDataset`], [`TrainError::NoLabels`] for a document without labels,
    /// [`TrainError::Label`] for a label that cannot be used, [`TrainError::DoubledKey`] and
    /// [`TrainError::KeyLength`] for a key under which a document cannot become a neighbor.
    pub fn new(documents: impl IntoIterator<Item = LabeledText>) -> Result<Self> {
        let documents: Vec<LabeledText> = documents.into_iter().collect();
        if let Some(document) = documents.iter().find(|document| document.labels.is_empty()) {
            return Err(TrainError::NoLabels { key: document.key.clone() });
        }
        check_keys(&documents)?;
        let mut names: Vec<&str> =
            documents.iter().flat_map(|d| d.labels.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let vocabulary = LabelVocabulary::new(names);
        let vocabulary = vocabulary.map_err(|source| unusable_label(&documents, source))?;
        Dataset::with_vocabulary(documents, &vocabulary)
    }

    /// Makes a set to measure with, for a model that knows the labels of `vocabulary`.
    ///
    /// Labels that the vocabulary lacks get ids behind it and count as missed;
    /// [`Dataset::unknown_labels`] names them.
    ///
    /// # Errors
    ///
    /// [`TrainError::EmptyDataset`], or [`TrainError::Label`] for a label that cannot be used.
    pub fn with_vocabulary(
        documents: impl IntoIterator<Item = LabeledText>,
        vocabulary: &LabelVocabulary,
    ) -> Result<Self> {
        let n_known = vocabulary.len();
        let (mut keys, mut texts, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let mut vocabulary = vocabulary.clone();
        for document in documents {
            let mut ids: Vec<LabelId> = Vec::with_capacity(document.labels.len());
            for name in &document.labels {
                let id = vocabulary.insert(name);
                ids.push(
                    id.map_err(|source| TrainError::Label { key: document.key.clone(), source })?,
                );
            }
            keys.push(document.key);
            texts.push(document.text);
            labels.push(ids.into_iter().collect());
        }
        if keys.is_empty() {
            return Err(TrainError::EmptyDataset);
        }
        let unknown = vocabulary.names().skip(n_known).map(str::to_owned).collect();
        Ok(Dataset { keys, texts, labels, vocabulary, unknown })
    }

    /// Takes texts without labels, by keys.
    pub(crate) fn unlabeled(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        let (keys, texts): (Vec<String>, Vec<String>) = texts.into_iter().unzip();
        let labels = vec![LabelSet::default(); keys.len()];
        Dataset { keys, texts, labels, vocabulary: LabelVocabulary::default(), unknown: Vec::new() }
    }

    /// Returns the data set without some of its rows, given in order; its labels keep their ids.
    pub(crate) fn without(&self, rows: &[usize]) -> Self {
        fn rest<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
            let kept = (0..values.len()).filter(|row| rows.binary_search(row).is_err());
            kept.map(|row| values[row].clone()).collect()
        }
        Dataset {
            keys: rest(&self.keys, rows),
            texts: rest(&self.texts, rows),
            labels: rest(&self.labels, rows),
            vocabulary: self.vocabulary.clone(),
            unknown: self.unknown.clone(),
        }
    }

    /// Returns the number of texts, at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the documents' keys.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Returns the texts.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Returns each text's labels.
    pub fn labels(&self) -> &[LabelSet] {
        &self.labels
    }

    /// Returns the labels that the ids stand for.
    pub fn vocabulary(&self) -> &LabelVocabulary {
        &self.vocabulary
    }

    /// Returns the labels that the model does not know.
    pub fn unknown_labels(&self) -> &[String] {
        &self.unknown
    }
}

/// Checks that every document can be told from the others when it is a neighbor.
fn check_keys(documents: &[LabeledText]) -> Result<()> {
    let mut seen = HashSet::with_capacity(documents.len());
    for LabeledText { key, .. } in documents {
        let length = key.len();
        if !(1..=MAX_KEY_BYTES).contains(&length) {
            return Err(TrainError::KeyLength { key: key.clone(), length, max: MAX_KEY_BYTES });
        }
        if !seen.insert(key) {
            return Err(TrainError::DoubledKey { key: key.clone() });
        }
    }
    Ok(())
}

/// Names a document with the label that cannot be used.
fn unusable_label(documents: &[LabeledText], source: autotag::Error) -> TrainError {
    let has_it = |document: &&LabeledText| match &source {
        autotag::Error::LabelName { name, .. } => document.labels.contains(name),
        _ => false,
    };
    match documents.iter().find(has_it) {
        Some(document) => TrainError::Label { key: document.key.clone(), source },
        None => TrainError::Core(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, labels: &[&str]) -> LabeledText {
        LabeledText {
            key: key.to_owned(),
            text: "words".to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        }
    }

    #[test]
    fn a_training_set_names_its_labels_in_order() {
        let train = Dataset::new([text("1", &["b", "a"]), text("2", &["b"])]).unwrap();
        assert_eq!(train.vocabulary().names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(train.labels()[0].ids(), [LabelId(0), LabelId(1)]);
    }

    #[test]
    fn labels_that_only_dev_has_stand_behind_the_known_ones() {
        let train = Dataset::new([text("1", &["a"])]).unwrap();
        let dev = Dataset::with_vocabulary([text("2", &["new", "a"])], train.vocabulary()).unwrap();
        assert_eq!(dev.unknown_labels(), ["new"]);
        assert_eq!(dev.labels()[0].ids(), [LabelId(0), LabelId(1)]);
    }

    #[test]
    fn nothing_to_learn_from_is_an_error() {
        assert!(matches!(Dataset::new([]), Err(TrainError::EmptyDataset)));
        let error = Dataset::new([text("1", &["a"]), text("x", &[])]).unwrap_err();
        assert!(matches!(error, TrainError::NoLabels { key } if key == "x"));
    }

    #[test]
    fn a_document_that_cannot_become_a_neighbor_is_named() {
        let twice = Dataset::new([text("1", &["a"]), text("2", &["a"]), text("1", &["b"])]);
        assert!(matches!(twice, Err(TrainError::DoubledKey { key }) if key == "1"));
        for length in [0, 512] {
            let long = Dataset::new([text("1", &["a"]), text(&"k".repeat(length), &["a"])]);
            let error = long.unwrap_err();
            assert!(
                matches!(&error, TrainError::KeyLength { length: found, .. } if *found == length),
                "{error}"
            );
        }
        // What only measures need not have keys of its own.
        let train = Dataset::new([text("1", &["a"])]).unwrap();
        Dataset::with_vocabulary([text("", &["a"]), text("", &["a"])], train.vocabulary()).unwrap();
    }

    #[test]
    fn a_label_that_cannot_be_used_is_told_with_its_document() {
        let train = || Dataset::new([text("1", &["a"])]).unwrap();
        for error in [
            Dataset::new([text("1", &["a"]), text("x", &["a", " "])]).unwrap_err(),
            Dataset::with_vocabulary([text("x", &["", "a"])], train().vocabulary()).unwrap_err(),
        ] {
            assert!(matches!(&error, TrainError::Label { key, .. } if key == "x"), "{error}");
        }
    }
}

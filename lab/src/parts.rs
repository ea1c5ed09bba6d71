//! A data set's three parts: what is learned from, what is tuned on, what is measured.

use autotag::LabelVocabulary;
use autotag_train::{Dataset, LabeledText};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{LabError, Result};

/// One of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The training part, whose texts are the first neighbors too.
    Train,
    /// The part for early stopping and tuning.
    Dev,
    /// The part that is measured.
    Test,
}

impl Part {
    /// Returns the part's name.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Dev => "dev",
            Part::Test => "test",
        }
    }
}

/// A data set in three parts, whose labels have the same ids in all of them.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The data set's name in the report.
    pub name: String,
    /// The training part.
    pub train: Dataset,
    /// The part for early stopping and tuning.
    pub dev: Dataset,
    /// The part that is measured; absent where the figures are dev's.
    pub test: Option<Dataset>,
    /// Caveats of the data, a sentence each.
    pub notes: Vec<String>,
    digest: String,
}

/// The share of the training texts that becomes dev where none is given: one in so many.
const SPLIT: usize = 10;

/// The least number of training texts that dev is split off from.
const LEAST_TO_SPLIT: usize = 10;

impl Parts {
    /// Makes the parts; texts without labels must have been left out.
    ///
    /// Without dev a tenth of the training texts is split off, the same ones for the same keys.
    ///
    /// # Errors
    ///
    /// [`LabError::TooFewTexts`] where there is no dev and too little to split it off,
    /// [`LabError::OneLabel`], and what [`Dataset::new`] finds wrong.
    pub fn new(
        name: &str,
        mut train: Vec<LabeledText>,
        dev: Option<Vec<LabeledText>>,
        test: Option<Vec<LabeledText>>,
    ) -> Result<Self> {
        let digest = digest(&train, dev.as_deref(), test.as_deref());
        let mut notes = Vec::new();
        let dev = match dev {
            Some(dev) => dev,
            None => {
                let dev = split_off(&mut train)?;
                notes.push(format!(
                    "There is no dev part: {} of {} training texts, chosen by their keys, were \
                     split off as dev. Where near copies stand on both sides, dev promises too much.",
                    dev.len(),
                    dev.len() + train.len()
                ));
                dev
            }
        };
        let train = Dataset::new(train)?;
        if train.vocabulary().len() == 1 {
            let label = train.vocabulary().names().next().unwrap_or_default().to_owned();
            return Err(LabError::OneLabel { label });
        }
        let dev = Dataset::with_vocabulary(dev, train.vocabulary())?;
        let test = match test {
            Some(test) => Some(Dataset::with_vocabulary(test, dev.vocabulary())?),
            None => {
                notes.push(
                    "There is no test part: the figures are dev's, on which settings were tuned \
                     too, so the tuned ones promise too much."
                        .to_owned(),
                );
                None
            }
        };
        let n_known = train.vocabulary().len();
        for (part, texts) in [(Part::Dev, Some(&dev)), (Part::Test, test.as_ref())] {
            notes.extend(texts.and_then(|texts| unlearned(part, texts, n_known)));
        }
        Ok(Parts { name: name.to_owned(), train, dev, test, notes, digest })
    }

    /// Returns the part that the figures are of.
    pub fn measured(&self) -> (Part, &Dataset) {
        self.test.as_ref().map_or((Part::Dev, &self.dev), |test| (Part::Test, test))
    }

    /// Returns the labels of all parts; those of the training part come first.
    pub fn labels(&self) -> &LabelVocabulary {
        self.measured().1.vocabulary()
    }

    /// Returns the number of labels that a model can learn.
    pub fn n_known(&self) -> usize {
        self.train.vocabulary().len()
    }

    /// Returns a digest of everything that the files say: 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Takes a part of the training texts away, chosen by the digests of their keys.
fn split_off(train: &mut Vec<LabeledText>) -> Result<Vec<LabeledText>> {
    let n_texts = train.len();
    if n_texts < LEAST_TO_SPLIT {
        return Err(LabError::TooFewTexts { n_texts, least: LEAST_TO_SPLIT });
    }
    let rank = |text: &LabeledText| Sha256::digest(text.key.as_bytes());
    let mut ranks: Vec<_> = train.iter().map(rank).collect();
    let (_, last, _) = ranks.select_nth_unstable(n_texts / SPLIT - 1);
    let last = *last;
    let (dev, rest) = std::mem::take(train).into_iter().partition(|text| rank(text) <= last);
    *train = rest;
    Ok(dev)
}

/// Says which labels no training text has.
fn unlearned(part: Part, texts: &Dataset, n_known: usize) -> Option<String> {
    let mut ids: Vec<_> = texts.labels().iter().flat_map(|labels| labels.ids()).copied().collect();
    ids.retain(|label| label.index() >= n_known);
    let n_given = ids.len();
    ids.sort_unstable();
    ids.dedup();
    let examples: Vec<&str> =
        ids.iter().take(5).map(|&label| texts.vocabulary().name(label)).collect();
    let (n_labels, examples, part) = (ids.len(), examples.join(", "), part.name());
    (n_labels > 0).then(|| {
        format!(
            "Labels of {part} that no training text has: {n_labels} ({examples}{}). Nothing can predict \
             them, so their occurrences, {n_given} in all, count as missed.",
            if n_labels > 5 { ", ..." } else { "" }
        )
    })
}

fn digest(
    train: &[LabeledText],
    dev: Option<&[LabeledText]>,
    test: Option<&[LabeledText]>,
) -> String {
    let mut hash = Sha256::new();
    for texts in [Some(train), dev, test] {
        hash.update(texts.map_or(u64::MAX, |texts| texts.len() as u64).to_le_bytes());
        for LabeledText { key, text, labels } in texts.unwrap_or_default() {
            hash.update((labels.len() as u64).to_le_bytes());
            for field in [key, text].into_iter().chain(labels) {
                hash.update((field.len() as u64).to_le_bytes());
                hash.update(field.as_bytes());
            }
        }
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use autotag_train::TrainError;

    use super::*;

    fn text(key: usize, labels: &[&str]) -> LabeledText {
        LabeledText {
            key: key.to_string(),
            text: format!("text {key}"),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        }
    }

    fn texts(n: usize) -> Vec<LabeledText> {
        (0..n).map(|key| text(key, if key % 2 == 0 { &["a"] } else { &["b"] })).collect()
    }

    #[test]
    fn a_missing_dev_part_is_split_off_and_told() {
        let parts = Parts::new("x", texts(100), None, Some(texts(3))).unwrap();
        assert_eq!((parts.train.len(), parts.dev.len()), (90, 10));
        assert!(parts.notes[0].contains("10 of 100 training texts"), "{:?}", parts.notes);
        // The same texts, whatever their order.
        let mut reversed = texts(100);
        reversed.reverse();
        let again = Parts::new("x", reversed, None, None).unwrap();
        let sorted = |dataset: &Dataset| {
            let mut keys = dataset.keys().to_vec();
            keys.sort();
            keys
        };
        assert_eq!(sorted(&again.dev), sorted(&parts.dev));
        let error = Parts::new("x", texts(9), None, None).unwrap_err();
        assert!(matches!(error, LabError::TooFewTexts { n_texts: 9, .. }), "{error}");
    }

    #[test]
    fn without_test_the_figures_are_devs() {
        let parts = Parts::new("x", texts(20), Some(texts(4)), None).unwrap();
        assert_eq!(parts.measured().0, Part::Dev);
        assert!(parts.notes[0].contains("the figures are dev's"), "{:?}", parts.notes);
    }

    #[test]
    fn labels_that_cannot_be_learned_are_told_once_for_each_part() {
        let dev = vec![text(1, &["a", "only dev"])];
        let test = vec![text(2, &["only test", "b"]), text(3, &["only dev"])];
        let parts = Parts::new("x", texts(20), Some(dev), Some(test)).unwrap();
        assert_eq!(parts.n_known(), 2);
        let names: Vec<&str> = parts.labels().names().collect();
        assert_eq!(names, ["a", "b", "only dev", "only test"]);
        assert!(parts.notes[0].contains("of dev that no training text has: 1 (only dev)"));
        assert!(
            parts.notes[1].contains("of test that no training text has: 2 ("),
            "{:?}",
            parts.notes
        );
    }

    #[test]
    fn nothing_to_tell_apart_is_an_error() {
        let one = vec![text(1, &["a"]), text(2, &["a"])];
        let error = Parts::new("x", one, Some(texts(2)), None).unwrap_err();
        assert!(matches!(&error, LabError::OneLabel { label } if label == "a"), "{error}");
        let error = Parts::new("x", vec![], Some(texts(2)), None).unwrap_err();
        assert!(matches!(error, LabError::Train(TrainError::EmptyDataset)), "{error}");
    }

    #[test]
    fn the_digest_is_that_of_everything_that_was_given() {
        let digest = |train, dev, test| Parts::new("x", train, dev, test).unwrap().digest;
        let first = digest(texts(20), Some(texts(4)), Some(texts(4)));
        assert_eq!(first, digest(texts(20), Some(texts(4)), Some(texts(4))));
        assert_eq!(first.len(), 64);
        let mut other = texts(4);
        other[0].labels.push("b".to_owned());
        let others = [
            digest(texts(20), Some(texts(4)), None),
            digest(texts(21), Some(texts(4)), Some(texts(4))),
            digest(texts(20), Some(texts(4)), Some(other)),
        ];
        assert!(others.iter().all(|other| *other != first));
    }
}

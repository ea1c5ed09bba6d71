//! Both data sets as a model reads them, and the texts that its export is compared on.

use std::borrow::Cow;

use autotag_onnx::TextReader;

use crate::readable::{ReadText, Readable, read};
use crate::{Dataset, Result, Skipped, Unreadable};

/// Both data sets as a model reads them, and the texts that its export is compared on.
pub(super) struct Inputs<'a> {
    pub(super) train: Readable<'a>,
    pub(super) dev: Readable<'a>,
    pub(super) probes: Readable<'a>,
}

impl<'a> Inputs<'a> {
    /// Reads both data sets on all threads.
    ///
    /// # Errors
    ///
    /// [`TrainError::Text`] naming a document whose text cannot be read, where that is refused, and
    /// [`TrainError::NoReadableText`] where no text of a data set is left.
    pub(super) fn read(
        reader: &TextReader,
        train: &'a Dataset,
        dev: &'a Dataset,
        unreadable: Unreadable,
    ) -> Result<Self> {
        let reader: &ReadText<'_> = &|text| reader.read(text);
        let train = Readable::of_part("training", reader, train, unreadable)?;
        let dev = Readable::of_part("dev", reader, dev, unreadable)?;
        let probes = probes(&dev.dataset);
        let (texts, skipped) = read(reader, &probes, Unreadable::Skip)?;
        let probes = Readable::of(Cow::Owned(probes), texts, &skipped);
        Ok(Inputs { train, dev, probes })
    }
}

impl Inputs<'_> {
    /// Returns how many texts were left out.
    pub(super) fn skipped(&self) -> Skipped {
        Skipped { train: self.train.n_skipped, dev: self.dev.n_skipped }
    }
}

/// The dev texts that an untrained model's export is compared on, from the first on.
const FIRST: usize = 32;

/// The dev texts whose first word, and the first character of it, make texts of their own.
const WITH_WORD: usize = 8;

/// Returns texts on which exports tend to differ, if they do: the first of dev, its shortest and its
/// longest, and single words and characters.
fn probes(dev: &Dataset) -> Dataset {
    let length = |&row: &usize| dev.texts()[row].len();
    let shortest = (0..dev.len()).min_by_key(length);
    let longest = (0..dev.len()).max_by_key(length);
    let rows = (0..dev.len().min(FIRST)).chain(shortest).chain(longest);
    let whole = rows.map(|row| (dev.keys()[row].clone(), dev.texts()[row].clone()));
    let parts = dev.keys().iter().zip(dev.texts()).take(WITH_WORD).flat_map(|(key, text)| {
        let word = text.split_whitespace().next().unwrap_or_default();
        let character = word.chars().next().map(String::from);
        let words = character.into_iter().chain([word.to_owned()]);
        words.map(move |word| (format!("{key}, of which {word:?} alone"), word))
    });
    Dataset::unlabeled(whole.chain(parts))
}

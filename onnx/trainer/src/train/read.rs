//! What a model reads of a data set, without the texts that it cannot read.

use std::borrow::Cow;

use rayon::prelude::*;

use autotag::EncodeError;
use autotag_onnx::{ModelInput, TextReader};

use super::compare::probes;
use crate::model::TokenizedTexts;
use crate::{Dataset, Result, Skipped, TrainError, Unreadable};

/// Reads one text.
pub(crate) type ReadText<'a> = dyn Fn(&str) -> Result<ModelInput, EncodeError> + Sync + 'a;

/// The texts of a data set that a model can read, and what it reads of them.
pub(crate) struct Readable<'a, I> {
    pub(crate) dataset: Cow<'a, Dataset>,
    pub(crate) texts: TokenizedTexts<I>,
    pub(crate) n_skipped: usize,
}

/// What a model reads of both data sets, and of the texts that its export is compared on.
pub(super) struct Inputs<'a, I> {
    pub(super) train: Readable<'a, I>,
    pub(super) dev: Readable<'a, I>,
    pub(super) probes: Readable<'a, I>,
}

impl<'a, I: From<ModelInput>> Inputs<'a, I> {
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

impl<I> Inputs<'_, I> {
    /// Returns how many texts were left out.
    pub(super) fn skipped(&self) -> Skipped {
        Skipped { train: self.train.n_skipped, dev: self.dev.n_skipped }
    }
}

impl<'a, I: From<ModelInput>> Readable<'a, I> {
    /// Reads a part of the data, and says which texts are left out.
    ///
    /// # Errors
    ///
    /// As [`Inputs::read`].
    pub(crate) fn of_part(
        part: &'static str,
        reader: &ReadText<'_>,
        dataset: &'a Dataset,
        unreadable: Unreadable,
    ) -> Result<Self> {
        let (texts, skipped) = read(reader, dataset, unreadable)?;
        if texts.is_empty() {
            return Err(TrainError::NoReadableText { part, n_texts: dataset.len() });
        }
        if !skipped.is_empty() {
            let keys = skipped.iter().take(KEYS_TOLD).map(|&row| dataset.keys()[row].as_str());
            let (n_texts, first) = (skipped.len(), keys.collect::<Vec<_>>().join(", "));
            tracing::warn!(
                part,
                n_texts,
                first,
                "texts without a word that the model knows are left out"
            );
        }
        Ok(Readable::of(Cow::Borrowed(dataset), texts, &skipped))
    }
}

/// The keys of texts left out that are told.
const KEYS_TOLD: usize = 5;

/// Reads a data set; returns what was read, and the rows of the texts that were left out, in order.
///
/// A text that can be read, but in which the model knows nothing, is left out in any case: whether it
/// knows something depends on the other texts.
fn read<I: From<ModelInput>>(
    reader: &ReadText<'_>,
    dataset: &Dataset,
    unreadable: Unreadable,
) -> Result<(Vec<I>, Vec<usize>)> {
    let outcomes: Vec<Result<ModelInput, EncodeError>> =
        dataset.texts().par_iter().map(|text| reader(text)).collect();
    let (mut texts, mut skipped) = (Vec::with_capacity(outcomes.len()), Vec::new());
    for (row, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(input) if says_something(&input) => texts.push(I::from(input)),
            Err(source) if unreadable == Unreadable::Refuse => {
                return Err(TrainError::Text { key: dataset.keys()[row].clone(), source });
            }
            _ => skipped.push(row),
        }
    }
    Ok((texts, skipped))
}

impl<'a, I> Readable<'a, I> {
    /// Puts together what is read of a data set's texts but some rows, given in order.
    pub(super) fn of(dataset: Cow<'a, Dataset>, texts: Vec<I>, skipped: &[usize]) -> Self {
        let dataset = match skipped {
            [] => dataset,
            rows => Cow::Owned(dataset.without(rows)),
        };
        let labels = dataset.labels().to_vec();
        Readable { dataset, texts: TokenizedTexts { texts, labels }, n_skipped: skipped.len() }
    }

    /// Puts something else in the place of what is read of each text.
    pub(super) fn with<J>(self, texts: Vec<J>) -> Readable<'a, J> {
        let Readable { dataset, texts: TokenizedTexts { labels, .. }, n_skipped } = self;
        Readable { dataset, texts: TokenizedTexts { texts, labels }, n_skipped }
    }
}

/// Tells whether a model knows anything of what it reads.
fn says_something(input: &ModelInput) -> bool {
    !(input.ids.is_empty() && input.features.ids.is_empty())
}

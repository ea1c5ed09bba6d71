//! A data set as models read it, without the texts that they cannot read.

use std::borrow::Cow;

use rayon::prelude::*;

use autotag::EncodeError;
use autotag_onnx::ModelInput;

use crate::model::{TextInput, TokenizedTexts};
use crate::{Dataset, Result, TrainError, Unreadable};
use ndarray::Array2;

/// Reads one text.
pub(crate) type ReadText<'a> = dyn Fn(&str) -> Result<ModelInput, EncodeError> + Sync + 'a;

/// The texts of a data set that a model can read, and what it reads of them.
pub(crate) struct Readable<'a> {
    pub(crate) dataset: Cow<'a, Dataset>,
    pub(crate) texts: TokenizedTexts,
    pub(crate) n_skipped: usize,
}

impl<'a> Readable<'a> {
    /// Reads a part of the data, and says which texts are left out.
    ///
    /// # Errors
    ///
    /// [`TrainError::NoReadableText`] where nothing remains, and [`TrainError::Text`] for a text that is
    /// not to be left out.
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
pub(crate) fn read(
    reader: &ReadText<'_>,
    dataset: &Dataset,
    unreadable: Unreadable,
) -> Result<(Vec<TextInput>, Vec<usize>)> {
    let outcomes: Vec<Result<ModelInput, EncodeError>> =
        dataset.texts().par_iter().map(|text| reader(text)).collect();
    let (mut texts, mut skipped) = (Vec::with_capacity(outcomes.len()), Vec::new());
    for (row, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(input) if says_something(&input) => texts.push(input.into()),
            Err(source) if unreadable == Unreadable::Refuse => {
                return Err(TrainError::Text { key: dataset.keys()[row].clone(), source });
            }
            _ => skipped.push(row),
        }
    }
    Ok((texts, skipped))
}

impl<'a> Readable<'a> {
    /// Puts together what is read of a data set's texts but some rows, given in order.
    pub(crate) fn of(dataset: Cow<'a, Dataset>, texts: Vec<TextInput>, skipped: &[usize]) -> Self {
        let dataset = match skipped {
            [] => dataset,
            rows => Cow::Owned(dataset.without(rows)),
        };
        let labels = dataset.labels().to_vec();
        Readable { dataset, texts: TokenizedTexts { texts, labels }, n_skipped: skipped.len() }
    }

    /// Adds the frozen encoder's representations, one row per text.
    pub(crate) fn add_encoded(&mut self, embeddings: &Array2<f32>) {
        for (row, text) in self.texts.texts.iter_mut().enumerate() {
            text.encoded = embeddings.row(row).to_vec();
        }
    }
}

/// Tells whether a model knows anything of what it reads.
fn says_something(input: &ModelInput) -> bool {
    !(input.ids.is_empty() && input.features.ids.is_empty())
}

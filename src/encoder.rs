//! The port to a model: texts in, representations and label scores out.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use crate::{Error, Fingerprint, LabelVocabulary, Result};

/// Turns texts into representations f(x) and label scores.
///
/// Tokenizing is a step of its own, so that a caller can sort tokenized texts by length before it
/// forms batches. Implementations are shared between threads.
pub trait Encoder: Send + Sync {
    /// A tokenized text.
    type Tokens: Send;

    /// Returns the labels that the model scores, in the order of [`Scores`].
    fn labels(&self) -> &LabelVocabulary;

    /// Returns the length of every [`Embedding`].
    fn dimensions(&self) -> usize;

    /// Returns the identification of the embedding space.
    fn fingerprint(&self) -> Fingerprint;

    /// Splits a text into the model's tokens, truncated to what the model reads.
    ///
    /// # Errors
    ///
    /// [`EncodeError::EmptyText`] when the text has no token.
    fn tokenize(&self, text: &str) -> Result<Self::Tokens, EncodeError>;

    /// Returns the number of tokens, by which texts of similar cost are batched.
    fn token_count(tokens: &Self::Tokens) -> usize;

    /// Encodes a batch, with a row for each text in their order, and with scores where there are
    /// labels.
    ///
    /// The outcome is batch-invariant: a text's row never depends on the other texts. Where the call
    /// panics or its answer has another shape, [`Tagger`](crate::Tagger) calls it again with parts of
    /// the batch, so that only the texts at fault fail.
    fn encode(&self, batch: &[Self::Tokens]) -> EncodedBatch;
}

impl<E: Encoder + ?Sized> Encoder for Arc<E> {
    type Tokens = E::Tokens;

    fn labels(&self) -> &LabelVocabulary {
        (**self).labels()
    }

    fn dimensions(&self) -> usize {
        (**self).dimensions()
    }

    fn fingerprint(&self) -> Fingerprint {
        (**self).fingerprint()
    }

    fn tokenize(&self, text: &str) -> Result<Self::Tokens, EncodeError> {
        (**self).tokenize(text)
    }

    fn token_count(tokens: &Self::Tokens) -> usize {
        E::token_count(tokens)
    }

    fn encode(&self, batch: &[Self::Tokens]) -> EncodedBatch {
        (**self).encode(batch)
    }
}

/// A batch's embeddings and scores, with a row for each text.
///
/// Every row was checked when the batch was made; a text whose row failed is among the failures, and
/// its row holds zeros.
#[derive(Clone, Debug)]
pub struct EncodedBatch {
    embeddings: Array2<f32>,
    scores: Option<Array2<f32>>,
    failures: BTreeMap<usize, EncodeError>,
}

impl EncodedBatch {
    /// Checks a model's answers: embeddings [texts, D] and, where it scores labels, scores
    /// [texts, L].
    ///
    /// # Panics
    ///
    /// When the two differ in their number of rows.
    pub fn new(mut embeddings: Array2<f32>, mut scores: Option<Array2<f32>>) -> Self {
        assert!(scores.as_ref().is_none_or(|scores| scores.nrows() == embeddings.nrows()));
        let mut failures = BTreeMap::new();
        for row in 0..embeddings.nrows() {
            let embedding = embeddings.row(row);
            let answer = check_embedding(embedding.len(), embedding.iter().copied());
            let scores_of = |scores: &Array2<f32>| check_scores(scores.row(row).iter().copied());
            if let Err(error) = answer.and_then(|()| scores.as_ref().map_or(Ok(()), scores_of)) {
                failures.insert(row, EncodeError::Answer(Arc::new(error)));
                embeddings.row_mut(row).fill(0.0);
                scores.iter_mut().for_each(|scores| scores.row_mut(row).fill(0.0));
            }
        }
        EncodedBatch { embeddings, scores, failures }
    }

    /// Makes a batch in which every text failed for the same reason.
    pub fn failed(n_texts: usize, dimensions: usize, error: &EncodeError) -> Self {
        let failures = (0..n_texts).map(|row| (row, error.clone())).collect();
        EncodedBatch { failures, ..EncodedBatch::zeros(n_texts, dimensions, 0) }
    }

    /// Makes a batch of texts that were encoded one by one.
    ///
    /// # Panics
    ///
    /// When embeddings or scores differ in their length, or only some texts have scores.
    pub fn from_outcomes<I>(dimensions: usize, outcomes: I) -> Self
    where
        I: IntoIterator<Item = Result<Encoded, EncodeError>, IntoIter: ExactSizeIterator>,
    {
        let alone = |outcome| match outcome {
            Ok(Encoded { embedding, scores }) => EncodedBatch {
                embeddings: row_of(embedding.0),
                scores: scores.map(|scores| row_of(scores.0)),
                failures: BTreeMap::new(),
            },
            Err(error) => EncodedBatch::failed(1, dimensions, &error),
        };
        EncodedBatch::concatenate(dimensions, outcomes.into_iter().map(alone).collect())
    }

    /// Joins batches of the same encoder, one behind another.
    ///
    /// # Panics
    ///
    /// When embeddings or scores differ in their length, or only some texts have scores.
    pub fn concatenate(dimensions: usize, mut parts: Vec<EncodedBatch>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let n_texts = parts.iter().map(EncodedBatch::len).sum();
        let with_scores = parts.iter().find_map(|part| part.scores.as_ref());
        let n_labels = with_scores.map_or(0, |scores| scores.ncols());
        let mut batch = EncodedBatch::zeros(n_texts, dimensions, n_labels);
        let mut first_row = 0;
        for part in parts {
            let rows = first_row..first_row + part.len();
            first_row = rows.end;
            assert!(part.fits(rows.len(), dimensions, n_labels), "batches of the same encoder");
            batch.put(rows, part);
        }
        batch
    }

    /// Makes a batch of zeros, without scores where there are no labels.
    pub(crate) fn zeros(n_texts: usize, dimensions: usize, n_labels: usize) -> Self {
        let scores = (n_labels > 0).then(|| Array2::zeros((n_texts, n_labels)));
        let embeddings = Array2::zeros((n_texts, dimensions));
        EncodedBatch { embeddings, scores, failures: BTreeMap::new() }
    }

    /// Tells whether the batch has this shape; one of failures alone needs no scores.
    pub(crate) fn fits(&self, n_texts: usize, dimensions: usize, n_labels: usize) -> bool {
        let has_scores = match &self.scores {
            Some(scores) => scores.ncols() == n_labels,
            None => n_labels == 0 || self.failures.len() == self.len(),
        };
        self.embeddings.dim() == (n_texts, dimensions) && has_scores
    }

    /// Returns the error of a batch that does not fit.
    pub(crate) fn shape_error(
        &self,
        n_texts: usize,
        dimensions: usize,
        n_labels: usize,
    ) -> EncodeError {
        let shape = |n_texts: usize, dimensions: usize, n_labels: Option<usize>| {
            let texts = if n_texts == 1 { "text" } else { "texts" };
            let scores = n_labels.map(|n_labels| format!(" and scores of {n_labels}"));
            let scores = scores.unwrap_or_default();
            format!("{n_texts} {texts} with embeddings of {dimensions}{scores} values")
        };
        let expected = shape(n_texts, dimensions, (n_labels > 0).then_some(n_labels));
        let n_scores = self.scores.as_ref().map(|scores| scores.ncols());
        let found = shape(self.len(), self.embeddings.ncols(), n_scores);
        EncodeError::Answer(Arc::new(Error::AnswerShape { expected, found }))
    }

    /// Puts a part's texts into the rows given; the part fits them.
    pub(crate) fn put(
        &mut self,
        rows: impl Iterator<Item = usize> + Clone,
        mut part: EncodedBatch,
    ) {
        for (row, embedding) in rows.clone().zip(part.embeddings.rows()) {
            self.embeddings.row_mut(row).assign(&embedding);
        }
        if let (Some(all), Some(scores)) = (&mut self.scores, &part.scores) {
            for (row, scores) in rows.clone().zip(scores.rows()) {
                all.row_mut(row).assign(&scores);
            }
        }
        let failures =
            rows.enumerate().filter_map(|(at, row)| Some((row, part.failures.remove(&at)?)));
        self.failures.extend(failures);
    }

    pub(crate) fn fail(&mut self, row: usize, error: EncodeError) {
        self.failures.insert(row, error);
    }

    /// Returns the representations f(x): [texts, D].
    pub fn embeddings(&self) -> ArrayView2<'_, f32> {
        self.embeddings.view()
    }

    /// Returns one text's scores; absent for an encoder that was never trained on labels, and for a
    /// text that failed.
    pub fn scores_of(&self, row: usize) -> Option<Scores> {
        let scores = self.scores.as_ref().filter(|_| !self.failures.contains_key(&row))?;
        Some(Scores(scores.row(row).to_vec().into()))
    }

    /// Frees the scores, where only representations are of use.
    pub fn drop_scores(&mut self) {
        self.scores = None;
    }

    /// Returns the texts that failed, by row.
    pub fn failures(&self) -> &BTreeMap<usize, EncodeError> {
        &self.failures
    }

    /// Returns the number of texts.
    pub fn len(&self) -> usize {
        self.embeddings.nrows()
    }

    /// Tells whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns one text's answer.
    ///
    /// # Errors
    ///
    /// The text's failure.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn row(&self, row: usize) -> Result<Encoded, EncodeError> {
        if let Some(error) = self.failures.get(&row) {
            return Err(error.clone());
        }
        let embedding = Embedding(self.embeddings.row(row).to_vec().into());
        Ok(Encoded { embedding, scores: self.scores_of(row) })
    }

    /// Returns the texts' answers, in the order of the rows.
    pub fn outcomes(&self) -> impl ExactSizeIterator<Item = Result<Encoded, EncodeError>> {
        (0..self.len()).map(|row| self.row(row))
    }
}

/// Makes a matrix of one row.
fn row_of(values: Box<[f32]>) -> Array2<f32> {
    Array1::from(values.into_vec()).insert_axis(Axis(0))
}

/// One text's representation and scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The representation f(x).
    pub embedding: Embedding,
    /// The model's scores, absent for an encoder that was never trained on labels.
    pub scores: Option<Scores>,
}

/// A representation f(x): finite and not all zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Box<[f32]>);

impl Embedding {
    /// Checks a vector and takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Embedding`] when the vector is empty, all zero, or holds a value that is not finite.
    pub fn new(vector: impl Into<Box<[f32]>>) -> Result<Self> {
        let vector = vector.into();
        check_embedding(vector.len(), vector.iter().copied())?;
        Ok(Embedding(vector))
    }

    /// Returns the embedding as a batch of one, [1, D], such as a search takes.
    pub fn as_row(&self) -> ArrayView2<'_, f32> {
        ArrayView1::from(&*self.0).insert_axis(Axis(0))
    }

    /// Returns the values.
    pub fn values(&self) -> &[f32] {
        &self.0
    }
}

/// Checks the values of an embedding: there are some, all are finite, and not all are zero.
fn check_embedding(dimensions: usize, mut values: impl Iterator<Item = f32> + Clone) -> Result<()> {
    let reason = if dimensions == 0 {
        "it is empty"
    } else if !values.clone().all(f32::is_finite) {
        "it holds a value that is not finite"
    } else if values.all(|value| value == 0.0) {
        "all its values are zero"
    } else {
        return Ok(());
    };
    Err(Error::Embedding { dimensions, reason })
}

/// A model's scores, one per label, each within 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(Box<[f32]>);

impl Scores {
    /// Checks a vector of scores and takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Score`] when a score is outside 0..=1 or not a number.
    pub fn new(scores: impl Into<Box<[f32]>>) -> Result<Self> {
        let scores = scores.into();
        check_scores(scores.iter().copied())?;
        Ok(Scores(scores))
    }

    /// Returns the scores in the order of the model's labels.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// Returns the scores with those below `least` set to 0, which take no room where they are kept.
    pub fn sparsified(mut self, least: f32) -> Self {
        self.0.iter_mut().filter(|score| **score < least).for_each(|score| *score = 0.0);
        self
    }
}

fn check_scores(scores: impl Iterator<Item = f32>) -> Result<()> {
    for (label, value) in scores.enumerate() {
        if !(0.0..=1.0).contains(&value) {
            return Err(Error::Score { label, value });
        }
    }
    Ok(())
}

/// The reason why one text could not be encoded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The text has no token.
    #[error("the text is empty: give it at least one word")]
    EmptyText,

    /// The model answered with something that is no representation or no score.
    #[error("the model's answer cannot be used")]
    Answer(#[source] Arc<Error>),

    /// The tokenizer failed.
    #[error("the text could not be tokenized")]
    Tokenize(#[source] Arc<dyn std::error::Error + Send + Sync>),

    /// The model could not be run.
    #[error("the model could not be run")]
    Run(#[source] Arc<dyn std::error::Error + Send + Sync>),

    /// The encoder panicked at the text.
    #[error("the encoder panicked at this text: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn vectors_that_say_nothing_are_refused() {
        for vector in [vec![], vec![0.0, 0.0], vec![1.0, f32::NAN], vec![f32::INFINITY]] {
            assert!(Embedding::new(vector.clone()).is_err(), "{vector:?}");
        }
        assert!(Embedding::new(vec![0.0, 1.0]).is_ok());
    }

    #[test]
    fn scores_are_probabilities() {
        assert!(Scores::new(vec![0.0, 1.0]).is_ok());
        for score in [-0.1, 1.1, f32::NAN] {
            assert!(Scores::new(vec![score]).is_err(), "{score}");
        }
    }

    #[test]
    fn a_row_that_is_no_answer_fails_alone() {
        let embeddings = array![[1.0, 0.0], [0.0, 0.0], [2.0, f32::NAN], [3.0, 4.0], [5.0, 6.0]];
        let scores = array![[0.5], [0.5], [0.5], [1.5], [1.0]];
        let batch = EncodedBatch::new(embeddings, Some(scores));
        assert_eq!(batch.failures().keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(batch.embeddings().sum(), 12.0);
        let last = batch.row(4).unwrap();
        assert_eq!(
            (last.embedding.values(), last.scores.unwrap().values()),
            (&[5.0, 6.0][..], &[1.0][..])
        );
        let joined = EncodedBatch::concatenate(
            2,
            vec![
                EncodedBatch::failed(2, 2, &EncodeError::EmptyText),
                EncodedBatch::from_outcomes(2, batch.outcomes()),
            ],
        );
        assert_eq!(joined.failures().len(), 5);
        assert_eq!(joined.row(6).unwrap(), batch.row(4).unwrap());
    }
}

//! The port to a model: texts in, representations and label scores out.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, LabelVocabulary, Result};

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

    /// Returns what tells this encoder's embeddings from another's.
    fn fingerprint(&self) -> Fingerprint;

    /// Splits a text into the model's tokens, truncated to what the model reads.
    ///
    /// # Errors
    ///
    /// [`EncodeError::EmptyText`] when the text has no token.
    fn tokenize(&self, text: &str) -> Result<Self::Tokens, EncodeError>;

    /// Returns the number of tokens, by which texts of similar cost are batched.
    fn token_count(tokens: &Self::Tokens) -> usize;

    /// Encodes a batch; the outcomes stand in the order of the texts, one for each.
    ///
    /// A text's outcome never depends on the other texts of its batch.
    fn encode(&self, batch: &[Self::Tokens]) -> Vec<Result<Encoded, EncodeError>>;
}

/// What a model says of one text.
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
        let reason = if vector.is_empty() {
            "it is empty"
        } else if !vector.iter().all(|value| value.is_finite()) {
            "it holds a value that is not finite"
        } else if vector.iter().all(|&value| value == 0.0) {
            "all its values are zero"
        } else {
            return Ok(Embedding(vector));
        };
        Err(Error::Embedding { dimensions: vector.len(), reason })
    }

    /// Returns the values.
    pub fn values(&self) -> &[f32] {
        &self.0
    }
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
        match scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
            Some(label) => Err(Error::Score { label, value: scores[label] }),
            None => Ok(Scores(scores)),
        }
    }

    /// Returns the scores in the order of the model's labels.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// Returns the scores with those below `least` set to 0, which take no room where they are kept.
    pub fn without_traces(mut self, least: f32) -> Self {
        self.0.iter_mut().filter(|score| **score < least).for_each(|score| *score = 0.0);
        self
    }
}

/// Why one text could not be encoded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The text has no token.
    #[error("the text is empty: give it at least one word")]
    EmptyText,

    /// The model answered with something that is no representation or no score.
    #[error("the model's answer cannot be used: {0}")]
    Answer(#[source] Arc<Error>),

    /// The tokenizer failed.
    #[error("the text could not be tokenized")]
    Tokenize(#[source] Arc<dyn std::error::Error + Send + Sync>),

    /// The model could not be run.
    #[error("the model could not be run")]
    Run(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// What tells one encoder from another: a SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = ParseFingerprintError;

    fn try_from(text: String) -> Result<Self, ParseFingerprintError> {
        text.parse()
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return Err(ParseFingerprintError);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16).unwrap_or_default() as u8;
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Fingerprint(digest))
    }
}

/// A fingerprint is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits")]
pub struct ParseFingerprintError;

#[cfg(test)]
mod tests {
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
    fn fingerprints_round_trip_as_text() {
        let fingerprint = Fingerprint(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
        assert!("12".parse::<Fingerprint>().is_err());
        assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    }
}

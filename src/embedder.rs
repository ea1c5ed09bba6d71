//! Encoders of one's own: a small trait over any source of embeddings.

use std::error::Error as StdError;
use std::sync::{Arc, LazyLock};

use ndarray::Array2;

use crate::{EncodeError, EncodedBatch, Encoder, Error, Fingerprint, LabelVocabulary, Result};

/// The error of an embedding library, whatever its type.
pub type EmbedError = Box<dyn StdError + Send + Sync>;

/// A source of embeddings: a library, a service, a function.
///
/// Every embedder is an [`Encoder`], so a [`Tagger`](crate::Tagger) takes it as it is. The trait is
/// dyn-compatible: `Box<dyn Embedder>` and `Arc<dyn Embedder>` are encoders too.
///
/// ```
/// use std::sync::Arc;
///
/// use autotag::ndarray::Array2;
/// use autotag::{Embedder, EmbedError, Tagger};
///
/// /// Counts the letters of a text.
/// struct Letters;
///
/// impl Embedder for Letters {
///     fn id(&self) -> &str {
///         "letters-1"
///     }
///
///     fn dimensions(&self) -> usize {
///         26
///     }
///
///     fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, EmbedError> {
///         let mut counts = Array2::zeros((texts.len(), 26));
///         for (row, text) in texts.iter().enumerate() {
///             for letter in text.bytes().filter(u8::is_ascii_lowercase) {
///                 counts[[row, usize::from(letter - b'a')]] += 1.0;
///             }
///         }
///         Ok(counts)
///     }
/// }
///
/// let known: Tagger<Letters> = Tagger::new(Arc::new(Letters));
/// let chosen_at_run_time: Box<dyn Embedder> = Box::new(Letters);
/// let tagger = Tagger::new(Arc::new(chosen_at_run_time));
/// ```
pub trait Embedder: Send + Sync {
    /// Returns a name for the embedding space.
    ///
    /// Embeddings with different names are never compared, and an index filled under one name cannot
    /// be opened under another. So the name must change with everything that changes embeddings: the
    /// model, its weights, the pooling, a prefix of the texts. Where the model is a file,
    /// `Fingerprint::of(bytes).to_string()` is such a name.
    fn id(&self) -> &str;

    /// Returns the length of every embedding.
    fn dimensions(&self) -> usize;

    /// Embeds texts, none of which is blank: [texts, D], with a row for each text in their order.
    ///
    /// A text's row must not depend on the other texts. Several threads call this at once, with up to
    /// 32 texts each.
    ///
    /// # Errors
    ///
    /// Where a batch fails, or its answer has another shape, its halves are tried again, so that only
    /// texts that fail alone are reported as failed.
    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, EmbedError>;

    /// Returns the labels that the model scores: none, unless the model was trained on labels.
    fn labels(&self) -> &LabelVocabulary {
        static NONE: LazyLock<LabelVocabulary> = LazyLock::new(LabelVocabulary::default);
        &NONE
    }

    /// Embeds texts as [`embed`](Embedder::embed) does and scores their labels: [texts, L], each score
    /// within 0..=1. A model that has [`labels`](Embedder::labels) must provide it.
    ///
    /// # Errors
    ///
    /// As [`embed`](Embedder::embed).
    fn embed_and_score(&self, texts: &[&str]) -> Result<EmbeddedTexts, EmbedError> {
        Ok(EmbeddedTexts { embeddings: self.embed(texts)?, scores: None })
    }
}

/// The answer of [`Embedder::embed_and_score`].
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedTexts {
    /// The embeddings: [texts, D].
    pub embeddings: Array2<f32>,
    /// The scores of the labels, [texts, L], where the model has labels.
    pub scores: Option<Array2<f32>>,
}

/// Makes a matrix, [rows, D], of embeddings that a library returned one by one.
///
/// # Errors
///
/// [`Error::AnswerShape`] when a row has another length.
pub fn matrix_of(dimensions: usize, rows: &[Vec<f32>]) -> Result<Array2<f32>> {
    if let Some(other) = rows.iter().find(|row| row.len() != dimensions) {
        let expected = format!("embeddings of {dimensions} values");
        return Err(Error::AnswerShape { expected, found: format!("one of {}", other.len()) });
    }
    let shape = (rows.len(), dimensions);
    Ok(Array2::from_shape_vec(shape, rows.concat()).expect("each row has D values"))
}

impl<E: Embedder + ?Sized> Embedder for Box<E> {
    fn id(&self) -> &str {
        (**self).id()
    }

    fn dimensions(&self) -> usize {
        (**self).dimensions()
    }

    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, EmbedError> {
        (**self).embed(texts)
    }

    fn labels(&self) -> &LabelVocabulary {
        (**self).labels()
    }

    fn embed_and_score(&self, texts: &[&str]) -> Result<EmbeddedTexts, EmbedError> {
        (**self).embed_and_score(texts)
    }
}

impl<E: Embedder + ?Sized> Encoder for E {
    type Tokens = Box<str>;

    fn labels(&self) -> &LabelVocabulary {
        Embedder::labels(self)
    }

    fn dimensions(&self) -> usize {
        Embedder::dimensions(self)
    }

    /// Returns a digest of the embedder's name, dimensions and labels.
    fn fingerprint(&self) -> Fingerprint {
        let mut identity = format!("embedder\n{}\n{:?}", Embedder::dimensions(self), self.id());
        for name in Embedder::labels(self).names() {
            identity += &format!("\n{name:?}");
        }
        Fingerprint::of(identity.as_bytes())
    }

    fn tokenize(&self, text: &str) -> Result<Box<str>, EncodeError> {
        if text.trim().is_empty() { Err(EncodeError::EmptyText) } else { Ok(text.into()) }
    }

    /// Returns the length in bytes, since the tokens are the model's own affair.
    fn token_count(text: &Box<str>) -> usize {
        text.len()
    }

    fn encode(&self, batch: &[Box<str>]) -> EncodedBatch {
        let texts: Vec<&str> = batch.iter().map(AsRef::as_ref).collect();
        embed_or_halve(self, &texts)
    }
}

/// Embeds a batch, and where that fails its halves, so that one text cannot fail the others.
fn embed_or_halve<E: Embedder + ?Sized>(embedder: &E, texts: &[&str]) -> EncodedBatch {
    let dimensions = Embedder::dimensions(embedder);
    match try_embed(embedder, texts) {
        Ok(batch) => batch,
        Err(error) if texts.len() < 2 => EncodedBatch::failed(texts.len(), dimensions, &error),
        Err(error) => {
            tracing::debug!(%error, n_texts = texts.len(), "a batch failed");
            let (first, second) = texts.split_at(texts.len() / 2);
            let halves = vec![embed_or_halve(embedder, first), embed_or_halve(embedder, second)];
            EncodedBatch::concatenate(dimensions, halves)
        }
    }
}

fn try_embed<E: Embedder + ?Sized>(
    embedder: &E,
    texts: &[&str],
) -> Result<EncodedBatch, EncodeError> {
    let (dimensions, n_labels) = (Embedder::dimensions(embedder), Embedder::labels(embedder).len());
    let answer = embedder.embed_and_score(texts);
    let EmbeddedTexts { embeddings, scores } =
        answer.map_err(|error| EncodeError::Run(Arc::from(error)))?;
    if let Some(scores) = scores.as_ref().filter(|scores| scores.nrows() != embeddings.nrows()) {
        let expected = format!("scores of {} texts", embeddings.nrows());
        let found = format!("scores of {}", scores.nrows());
        return Err(EncodeError::Answer(Arc::new(Error::AnswerShape { expected, found })));
    }
    let batch = EncodedBatch::new(embeddings, scores);
    match batch.fits(texts.len(), dimensions, n_labels) {
        true => Ok(batch),
        false => Err(batch.shape_error(texts.len(), dimensions, n_labels)),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Axis;

    use super::*;
    use crate::Tagger;
    use crate::tagger::StageTimes;

    /// Embeds numbers; the text `poison` fails every batch that it is in, `short` shortens the answer.
    struct Numbers {
        id: &'static str,
        labels: LabelVocabulary,
    }

    impl Numbers {
        fn new(labels: &[&str]) -> Self {
            Numbers { id: "numbers", labels: LabelVocabulary::new(labels).unwrap() }
        }
    }

    impl Embedder for Numbers {
        fn id(&self) -> &str {
            self.id
        }

        fn dimensions(&self) -> usize {
            2
        }

        fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, EmbedError> {
            if texts.contains(&"poison") {
                return Err("the model choked".into());
            }
            let mut rows = Vec::new();
            for text in texts.iter().filter(|text| **text != "short") {
                rows.push(vec![text.parse()?, 1.0]);
            }
            Ok(matrix_of(2, &rows)?)
        }

        fn labels(&self) -> &LabelVocabulary {
            &self.labels
        }

        fn embed_and_score(&self, texts: &[&str]) -> Result<EmbeddedTexts, EmbedError> {
            let embeddings = self.embed(texts)?;
            let scores = Array2::from_elem((embeddings.nrows(), self.labels.len()), 0.25);
            Ok(EmbeddedTexts { embeddings, scores: (!self.labels.is_empty()).then_some(scores) })
        }
    }

    fn failures(texts: &[&str]) -> Vec<(usize, String)> {
        let tagger = Tagger::new(Arc::new(Numbers::new(&["a"])));
        let encoded = tagger.encode(texts, &mut StageTimes::default());
        for (row, outcome) in encoded.outcomes().enumerate() {
            let Ok(encoded) = outcome else { continue };
            assert_eq!(encoded.embedding.values()[0], texts[row].parse::<f32>().unwrap());
            assert_eq!(encoded.scores.unwrap().values(), [0.25]);
        }
        let message = |error: &EncodeError| match error {
            EncodeError::Run(source) => source.to_string(),
            EncodeError::Answer(source) => source.to_string(),
            error => error.to_string(),
        };
        encoded.failures().iter().map(|(&row, error)| (row, message(error))).collect()
    }

    #[test]
    fn a_text_that_fails_its_batch_fails_alone() {
        assert_eq!(failures(&["1", "2", "3"]), []);
        let failed = failures(&["1", "poison", "3", "4", "none", " \n", "short", "8"]);
        let (rows, messages): (Vec<usize>, Vec<String>) = failed.into_iter().unzip();
        assert_eq!(rows, [1, 4, 5, 6]);
        let parts = ["the model choked", "invalid float", "the text is empty", "0 texts"];
        for (message, part) in messages.iter().zip(parts) {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn shared_and_boxed_embedders_are_encoders() {
        fn answer(encoder: impl Encoder) -> (Fingerprint, EncodedBatch) {
            let tokens = encoder.tokenize("7").unwrap();
            (encoder.fingerprint(), encoder.encode(&[tokens]))
        }
        let boxed: Box<dyn Embedder> = Box::new(Numbers::new(&[]));
        let shared: Arc<dyn Embedder> = Arc::new(Numbers::new(&[]));
        let (expected, plain) = answer(Numbers::new(&[]));
        for (fingerprint, batch) in
            [answer(boxed), answer(shared), answer(Arc::new(Numbers::new(&[])))]
        {
            assert_eq!(fingerprint, expected);
            assert_eq!(batch.embeddings(), plain.embeddings());
        }
        assert_eq!(plain.embeddings().index_axis(Axis(0), 0).to_vec(), [7.0, 1.0]);
    }

    #[test]
    fn another_name_or_label_is_another_embedding_space() {
        let fingerprint =
            |id, labels: &[&str]| Numbers { id, ..Numbers::new(labels) }.fingerprint();
        let known = [
            fingerprint("a", &[]),
            fingerprint("b", &[]),
            fingerprint("a", &["x", "y"]),
            fingerprint("a", &["x\ny"]),
        ];
        for (at, one) in known.iter().enumerate() {
            assert!(!known[..at].contains(one));
        }
        assert_eq!(fingerprint("a", &["x", "y"]), known[2]);
    }
}

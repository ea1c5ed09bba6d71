//! An encoder without a model: hashed counts of Tantivy's tokens.

use std::num::NonZeroUsize;

use autotag::ndarray::{Array2, ArrayViewMut1};
use autotag::{EncodeError, EncodedBatch, Encoder, Fingerprint, LabelVocabulary};
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};

use crate::{Error, Result};

/// Encodes texts as hashed counts of Tantivy's tokens, without a model or a file.
///
/// Texts that share words lie near each other, so documents are tagged by labeled documents with the
/// same words. A trained model does better; this one needs nothing, and neighbors may begin empty.
///
/// Each token t of a text adds 1 + ln(count of t) to one of D dimensions, with a sign, both taken from
/// a hash of the token ("Feature Hashing for Large Scale Multitask Learning", ICML 2009); the vector
/// is scaled to unit length. The more dimensions, the fewer tokens share one; a neighbor takes 4 bytes
/// of memory for each.
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use tantivy::tokenizer::TokenizerManager;
/// use tantivy_autotag::TokenHashEncoder;
///
/// // Lower-cased words, in 512 dimensions.
/// let encoder = TokenHashEncoder::default();
///
/// // Stemmed English words, in 1024 dimensions.
/// let dimensions = NonZeroUsize::new(1024).expect("1024 is not 0");
/// let encoder = TokenHashEncoder::new(&TokenizerManager::default(), "en_stem", dimensions)?;
/// # Ok::<(), tantivy_autotag::Error>(())
/// ```
pub struct TokenHashEncoder {
    analyzer: TextAnalyzer,
    dimensions: NonZeroUsize,
    fingerprint: Fingerprint,
    labels: LabelVocabulary,
}

/// The part of the fingerprint that changes with the way in which tokens become values.
const VERSION: &str = "token-hash-1";

/// The text whose tokens tell tokenizers of the same name apart.
const PROBE: &str = "The Engines' oil-filters aren't RUNNING: 42 naïve Straßen, 東京 a1b2c3 \
    of-and-the xylophonists http://example.org/path?query=1 snake_case CamelCase";

impl TokenHashEncoder {
    /// The default number of dimensions.
    pub const DEFAULT_DIMENSIONS: NonZeroUsize = NonZeroUsize::new(512).expect("512 is not 0");

    /// Makes an encoder of the tokens of a registered tokenizer, as `default`, `en_stem`, or one of
    /// the caller's own.
    ///
    /// The tokenizer is part of the encoder's fingerprint, by its name and its tokens of a test text:
    /// an index cannot be opened with another one. Changes of a tokenizer that do not show in that text,
    /// as in a list of rare words, are not noticed.
    ///
    /// # Errors
    ///
    /// [`Error::NoTokenizer`] when none is registered under the name.
    pub fn new(
        tokenizers: &TokenizerManager,
        tokenizer: &str,
        dimensions: NonZeroUsize,
    ) -> Result<Self> {
        let missing = || Error::NoTokenizer { name: tokenizer.to_owned() };
        let analyzer = tokenizers.get(tokenizer).ok_or_else(missing)?;
        let probed = tokens_of(&analyzer, PROBE, str::to_owned);
        let identity = format!("{VERSION} {dimensions} {tokenizer:?} {probed:?}");
        let fingerprint = Fingerprint::of(identity.as_bytes());
        let labels = LabelVocabulary::default();
        Ok(TokenHashEncoder { analyzer, dimensions, fingerprint, labels })
    }
}

impl Default for TokenHashEncoder {
    /// Makes an encoder of lower-cased words, in 512 dimensions.
    fn default() -> Self {
        let tokenizers = TokenizerManager::default();
        TokenHashEncoder::new(&tokenizers, "default", Self::DEFAULT_DIMENSIONS)
            .expect("Tantivy registers a default tokenizer")
    }
}

impl Encoder for TokenHashEncoder {
    /// The hashes of a text's tokens, in ascending order.
    type Tokens = Vec<u64>;

    fn labels(&self) -> &LabelVocabulary {
        &self.labels
    }

    fn dimensions(&self) -> usize {
        self.dimensions.get()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn tokenize(&self, text: &str) -> Result<Vec<u64>, EncodeError> {
        let mut hashes = tokens_of(&self.analyzer, text, hash);
        if hashes.is_empty() {
            return Err(EncodeError::EmptyText);
        }
        hashes.sort_unstable();
        Ok(hashes)
    }

    fn token_count(tokens: &Vec<u64>) -> usize {
        tokens.len()
    }

    fn encode(&self, batch: &[Vec<u64>]) -> EncodedBatch {
        let mut embeddings = Array2::zeros((batch.len(), self.dimensions.get()));
        for (row, hashes) in embeddings.rows_mut().into_iter().zip(batch) {
            write_embedding(hashes, row);
        }
        EncodedBatch::new(embeddings, None)
    }
}

/// Returns what is kept of each token of a text.
fn tokens_of<T>(analyzer: &TextAnalyzer, text: &str, keep: impl Fn(&str) -> T) -> Vec<T> {
    let mut tokens = Vec::new();
    // A stream needs an analyzer of its own, and threads share this one.
    let mut analyzer = analyzer.clone();
    let mut stream = analyzer.token_stream(text);
    while let Some(token) = stream.next() {
        tokens.push(keep(&token.text));
    }
    tokens
}

/// Adds the weight of each token to its dimension, and scales the vector to unit length.
fn write_embedding(hashes: &[u64], mut embedding: ArrayViewMut1<'_, f32>) {
    let n_dimensions = embedding.len() as u64;
    for same in hashes.chunk_by(|a, b| a == b) {
        let weight = 1.0 + (same.len() as f32).ln();
        let sign = if same[0] >> 63 == 0 { 1.0 } else { -1.0 };
        embedding[(same[0] % n_dimensions) as usize] += sign * weight;
    }
    let mut norm = embedding.dot(&embedding).sqrt();
    if norm == 0.0 {
        // All tokens cancel out; the first keeps the text from having no embedding.
        embedding[(hashes[0] % n_dimensions) as usize] = 1.0;
        norm = 1.0;
    }
    embedding /= norm;
}

/// FNV-1a with a final mix, so that all bits depend on all bytes: the same on every machine.
fn hash(token: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325u64;
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = token.bytes().fold(start, step);
    // The final mix of MurmurHash3.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embeddings(encoder: &TokenHashEncoder, texts: &[&str]) -> Array2<f32> {
        let tokens: Vec<Vec<u64>> =
            texts.iter().map(|text| encoder.tokenize(text).unwrap()).collect();
        let batch = encoder.encode(&tokens);
        assert!(batch.failures().is_empty(), "{:?}", batch.failures());
        batch.embeddings().to_owned()
    }

    #[test]
    fn embeddings_have_unit_length_and_shared_words_bring_texts_near() {
        let encoder = TokenHashEncoder::default();
        let texts =
            ["oil for the engine", "Engine: the oil for", "oil for the ship", "seven cats sleep"];
        let embeddings = embeddings(&encoder, &texts);
        let similarity = |a: usize, b: usize| embeddings.row(a).dot(&embeddings.row(b));
        for row in 0..texts.len() {
            assert!((similarity(row, row) - 1.0).abs() < 1e-5);
        }
        // The order of words and their case do not count.
        assert!((similarity(0, 1) - 1.0).abs() < 1e-5);
        assert!(similarity(0, 2) > 0.6 && similarity(0, 2) < 0.95, "{}", similarity(0, 2));
        assert!(similarity(0, 3).abs() < 0.3, "{}", similarity(0, 3));
    }

    #[test]
    fn counts_grow_by_their_logarithm() {
        let encoder = TokenHashEncoder::default();
        let embeddings = embeddings(&encoder, &["oil oil oil ship"]);
        let mut weights: Vec<f32> =
            embeddings.iter().map(|v| v.abs()).filter(|v| *v > 0.0).collect();
        weights.sort_by(f32::total_cmp);
        let [ship, oil] = weights[..] else { panic!("{weights:?}") };
        assert!((oil / ship - (1.0 + 3.0f32.ln())).abs() < 1e-4, "{weights:?}");
    }

    #[test]
    fn tokens_that_cancel_out_still_make_an_embedding() {
        let dimensions = NonZeroUsize::MIN;
        let encoder = TokenHashEncoder::new(&TokenizerManager::default(), "default", dimensions);
        let encoder = encoder.unwrap();
        let words = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let signs = words.map(|word| hash(word) >> 63);
        let (plus, minus) =
            (signs.iter().position(|s| *s == 0), signs.iter().position(|s| *s == 1));
        let text = format!("{} {}", words[plus.unwrap()], words[minus.unwrap()]);
        assert_eq!(embeddings(&encoder, &[&text])[[0, 0]].abs(), 1.0);
    }

    #[test]
    fn a_text_without_a_token_is_refused() {
        let encoder = TokenHashEncoder::default();
        for text in ["", " \n", "?!"] {
            assert!(matches!(encoder.tokenize(text), Err(EncodeError::EmptyText)), "{text:?}");
        }
    }

    #[test]
    fn the_fingerprint_tells_tokenizers_and_dimensions_apart() {
        use tantivy::tokenizer::{LowerCaser, SimpleTokenizer};

        let own = TokenizerManager::default();
        own.register("default", SimpleTokenizer::default());
        let also = TokenizerManager::default();
        let lower = TextAnalyzer::builder(SimpleTokenizer::default()).filter(LowerCaser).build();
        also.register("default", lower);
        let fingerprint = |manager: &TokenizerManager, name, dimensions| {
            let dimensions = NonZeroUsize::new(dimensions).unwrap();
            TokenHashEncoder::new(manager, name, dimensions).unwrap().fingerprint()
        };
        let standard = TokenizerManager::default();
        let known = [
            fingerprint(&standard, "default", 512),
            fingerprint(&standard, "default", 256),
            fingerprint(&standard, "en_stem", 512),
            fingerprint(&own, "default", 512),
        ];
        for (at, one) in known.iter().enumerate() {
            assert!(!known[..at].contains(one), "{at}");
        }
        assert_eq!(
            fingerprint(&standard, "default", 512),
            TokenHashEncoder::default().fingerprint()
        );
        let missing = TokenHashEncoder::new(&standard, "klingon", NonZeroUsize::MIN);
        assert!(missing.is_err_and(|error| error.to_string().contains("klingon")));
    }

    #[test]
    fn tokens_have_the_same_hash_in_every_version() {
        assert_eq!(hash("oil"), 0xc5ae_bc24_765e_6fb0);
    }
}

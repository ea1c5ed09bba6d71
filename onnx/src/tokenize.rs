//! Texts become token ids, at a bounded cost whatever their length.

mod guard;
mod untrusted;
mod words;

use std::sync::Arc;

use autotag::EncodeError;
use tokenizers::{PostProcessor as _, Tokenizer, TruncationParams};

use crate::bundle::config::BundleConfig;
use guard::guarded;
pub(crate) use guard::{GuardError, within};
pub(crate) use untrusted::Speed;
use words::WordCache;

/// The bytes of a text that are read for each token that the model reads.
///
/// An English word with its space takes 6 bytes, a German compound rarely more than 24, a character
/// of any script at most 4: within this bound a text gives all the tokens that the model reads,
/// unless it consists of extraordinarily long words.
pub const BYTES_PER_TOKEN: usize = 24;

/// Reads the file of a tokenizer, which may come from anybody; its padding and truncation are left
/// out.
///
/// # Errors
///
/// When it cannot be read or used, or the library for it panics.
pub(crate) fn read(bytes: &[u8]) -> Result<(Tokenizer, Speed), tokenizers::Error> {
    let speed = untrusted::inspect(bytes)?;
    let mut tokenizer = guarded(|| Tokenizer::from_bytes(bytes))??;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None)?;
    Ok((tokenizer, speed))
}

/// The longest text that a tokenizer is tried with, in bytes.
const LONGEST_TRIED: usize = 1 << 14;

/// A tokenizer that gives the ids which a model reads, truncated to the model's length.
///
/// The trainer uses it too, so that a text has the same tokens in training and afterwards.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    max_length: usize,
    special_tokens: bool,
    /// Put before each text.
    prefix: String,
    words: Option<WordCache>,
}

impl TextTokenizer {
    /// Takes a tokenizer; its own padding and truncation are replaced by the configuration's.
    ///
    /// # Errors
    ///
    /// When the special tokens and the prefix leave no room within the maximal length.
    pub fn new(mut tokenizer: Tokenizer, config: &BundleConfig) -> Result<Self, tokenizers::Error> {
        let max_length = config.max_length.get();
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None)?;
        let n_given = n_given(&tokenizer, config)?;
        if n_given > 0 && max_length <= n_given {
            let reason = format!(
                "a text is given {n_given} tokens, special ones or those of the prefix, which leaves \
                 no room for its own within {max_length}: take a max length of {} or more",
                n_given + 1
            );
            return Err(reason.into());
        }
        // Truncation must spare the special tokens at a text's end; without any, cutting the ids is
        // the same and cheaper.
        let truncation = config
            .special_tokens
            .then(|| TruncationParams { max_length, ..TruncationParams::default() });
        tokenizer.with_truncation(truncation)?;
        let (special_tokens, prefix) = (config.special_tokens, config.prefix.clone());
        let is_bare = !special_tokens && prefix.is_empty();
        let words = (is_bare && words::stand_alone(&tokenizer)).then(WordCache::default);
        Ok(TextTokenizer { tokenizer, max_length, special_tokens, prefix, words })
    }

    /// Returns a text's token ids, 1 to the maximal length.
    ///
    /// Only the text's first [`BYTES_PER_TOKEN`] bytes per token are read, blanks at its beginning
    /// not counted, so that a text of any length costs no more than one that fills the model.
    ///
    /// # Errors
    ///
    /// [`EncodeError::EmptyText`] when the text has no token but special ones,
    /// [`EncodeError::Tokenize`] when the tokenizer fails, as for a word without a token for unknown
    /// words.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let text = beginning(text.trim_start(), self.max_length.saturating_mul(BYTES_PER_TOKEN));
        let ids = match &self.words {
            Some(words) => words.ids(text, self.max_length, |word| self.encode(word))?,
            None => self.encode_prefixed(text)?,
        };
        if ids.is_empty() { Err(EncodeError::EmptyText) } else { Ok(ids) }
    }

    /// Tries texts as long as those that will be read, of characters that make expressions slow.
    ///
    /// # Errors
    ///
    /// When the tokenizer's library panics; what it cannot tokenize is left to the texts' own errors.
    pub(crate) fn try_texts(&self, speed: Speed) -> Result<(), GuardError> {
        let n_bytes = match speed {
            Speed::Linear => 64,
            Speed::Unknown => self.max_length.saturating_mul(BYTES_PER_TOKEN).min(LONGEST_TRIED),
        };
        for sample in ["a text to test it, No. 12. ", "a", " ", "a1 ", "\n", "é語 "] {
            let text = sample.repeat(n_bytes.div_ceil(sample.len()));
            if let Err(EncodeError::Tokenize(error)) = self.encode(&text).map(drop) {
                error.downcast_ref::<GuardError>().map_or(Ok(()), |error| Err(error.clone()))?;
            }
        }
        Ok(())
    }

    /// Gives the prefix and the whole text to the tokenizer; no ids where the text alone has none.
    fn encode_prefixed(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let ids = self.encode(text)?;
        if ids.is_empty() || self.prefix.is_empty() {
            return Ok(ids);
        }
        self.encode(&format!("{}{text}", self.prefix))
    }

    /// Gives the whole text to the tokenizer; no ids where there are only special tokens.
    fn encode(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let encode = || self.tokenizer.encode_fast(text, self.special_tokens);
        let encoding = guarded(encode)
            .map_err(|panicked| EncodeError::Tokenize(Arc::new(panicked)))?
            .map_err(|error| EncodeError::Tokenize(error.into()))?;
        if encoding.get_special_tokens_mask().iter().all(|&special| special == 1) {
            return Ok(Vec::new());
        }
        let ids = encoding.get_ids();
        Ok(ids[..ids.len().min(self.max_length)].to_vec())
    }
}

/// Returns the number of tokens that each text is given: special ones, and the prefix's.
fn n_given(tokenizer: &Tokenizer, config: &BundleConfig) -> Result<usize, tokenizers::Error> {
    let n_special = match config.special_tokens {
        true => tokenizer.get_post_processor().map_or(0, |own| own.added_tokens(false)),
        false => 0,
    };
    if config.prefix.is_empty() {
        return Ok(n_special);
    }
    let prefix = guarded(|| tokenizer.encode_fast(config.prefix.as_str(), false))??;
    Ok(n_special + prefix.len())
}

/// Returns the text's first `n_bytes` bytes, or a few fewer where a character would be split.
pub(crate) fn beginning(text: &str, n_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(n_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(beginning("aé", 2), "a");
        assert_eq!(beginning("aé", 3), "aé");
        assert_eq!(beginning("aé", 9), "aé");
        assert_eq!(beginning("é", 0), "");
    }
}

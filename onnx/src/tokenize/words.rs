//! Words whose ids were found once are not tokenized again.
//!
//! Texts repeat their words: looking them up takes a small part of the time of tokenizing them.

use std::sync::{Arc, PoisonError, RwLock};

use autotag::EncodeError;
use foldhash::HashMap;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// The blanks at which a text can be cut for all tokenizers that [`stand_alone`] accepts.
///
/// Other white space cannot: BERT's normalizer joins what a form feed separates.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Longer words are rare or no words at all.
const MAX_WORD_BYTES: usize = 48;

/// When this many words are known they are forgotten, so that memory stays below some 20 MB.
const MAX_WORDS: usize = 1 << 17;

/// Tells whether a tokenizer gives a word the same ids alone as in a text.
///
/// That holds when every step works on characters or words: then no step sees beyond a blank.
pub(super) fn stand_alone(tokenizer: &Tokenizer) -> bool {
    let normalizes_characters = matches!(
        tokenizer.get_normalizer(),
        None | Some(NormalizerWrapper::BertNormalizer(_) | NormalizerWrapper::Lowercase(_))
    );
    let splits_at_blanks = matches!(
        tokenizer.get_pre_tokenizer(),
        Some(
            PreTokenizerWrapper::BertPreTokenizer(_)
                | PreTokenizerWrapper::Whitespace(_)
                | PreTokenizerWrapper::WhitespaceSplit(_)
        )
    );
    let model_sees_words =
        matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_));
    let added = tokenizer.get_added_tokens_decoder();
    let added_are_words = added.values().all(|token| !token.content.contains(char::is_whitespace));
    normalizes_characters && splits_at_blanks && model_sees_words && added_are_words
}

/// The ids of words; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct WordCache(Arc<RwLock<Words>>);

type Words = HashMap<Box<str>, Box<[u32]>>;

impl WordCache {
    /// Returns a text's first ids, at most `max_length`; `encode` finds those of a new word.
    pub(super) fn ids(
        &self,
        text: &str,
        max_length: usize,
        encode: impl Fn(&str) -> Result<Vec<u32>, EncodeError>,
    ) -> Result<Vec<u32>, EncodeError> {
        let mut ids = Vec::new();
        let mut new_words: Vec<(Box<str>, Box<[u32]>)> = Vec::new();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for word in text.split(BLANKS).filter(|word| !word.is_empty()) {
            if ids.len() >= max_length {
                break;
            }
            if let Some(word_ids) = known.get(word) {
                ids.extend_from_slice(word_ids);
                continue;
            }
            let word_ids = encode(word)?;
            ids.extend_from_slice(&word_ids);
            if word.len() <= MAX_WORD_BYTES {
                new_words.push((word.into(), word_ids.into()));
            }
        }
        drop(known);
        self.remember(new_words);
        ids.truncate(max_length);
        Ok(ids)
    }

    fn remember(&self, words: Vec<(Box<str>, Box<[u32]>)>) {
        if words.is_empty() {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() + words.len() > MAX_WORDS {
            known.clear();
        }
        known.extend(words);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tokenizer of word pieces as BERT has it, with a piece for every letter.
    fn word_pieces() -> Tokenizer {
        let mut vocab = serde_json::json!({"[UNK]": 0, "the": 1, "##ing": 2, ",": 3, "[SEP]": 4});
        for (i, letter) in ('a'..='z').enumerate() {
            vocab[letter.to_string()] = (10 + i).into();
            vocab[format!("##{letter}")] = (50 + i).into();
        }
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [{"id": 4, "content": "[SEP]", "single_word": false, "lstrip": false,
                "rstrip": true, "normalized": false, "special": true}],
            "normalizer": {"type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab}
        });
        Tokenizer::from_bytes(json.to_string()).unwrap()
    }

    #[test]
    fn a_tokenizer_that_looks_beyond_words_is_recognized() {
        let mut tokenizer = word_pieces();
        assert!(stand_alone(&tokenizer));
        tokenizer.add_tokens([tokenizers::AddedToken::from("new york", false)]).unwrap();
        assert!(!stand_alone(&tokenizer));
        let mut tokenizer = word_pieces();
        tokenizer.with_pre_tokenizer(None::<PreTokenizerWrapper>);
        assert!(!stand_alone(&tokenizer));
    }

    proptest! {
        #[test]
        fn word_by_word_is_as_the_whole_text(
            texts in prop::collection::vec("([a-cA-Z,.é語\u{301} \t\n\r\u{b}\u{c}\u{85}\u{a0}\u{2028}\u{0}]|the|ing|\\[SEP\\]){0,40}", 1..4),
        ) {
            let tokenizer = word_pieces();
            let encode = |text: &str| {
                Ok::<_, EncodeError>(tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec())
            };
            let words = WordCache::default();
            for text in texts.iter().chain(&texts) {
                let mut whole = encode(text).unwrap();
                prop_assert_eq!(&words.ids(text, usize::MAX, encode).unwrap(), &whole);
                whole.truncate(5);
                prop_assert_eq!(words.ids(text, 5, encode).unwrap(), whole);
            }
        }
    }
}

//! A tokenizer learned from the training texts, where no pretrained encoder brings one.

use std::collections::BTreeSet;

use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Tokenizer, Trainer,
};

use crate::check::within;
use crate::{Result, TrainError};

/// The most tokens of a vocabulary, where the settings say nothing else.
pub(crate) const DEFAULT_VOCABULARY_SIZE: usize = 30_000;

/// Checks a vocabulary's size; padding, the unknown word and one more take the first three.
pub(crate) fn check_vocabulary_size(size: usize) -> Result<()> {
    within("vocabulary size", size, 3..=10_000_000, "within 3..=10000000")
}

/// Padding has id 0, as the model's graph expects.
pub(crate) const PADDING: &str = "[PAD]";
/// Stands for words of characters that no text of the training set has.
pub(crate) const UNKNOWN: &str = "[UNK]";

/// The prefix of a piece that continues a word.
pub(crate) const CONTINUING: &str = "##";

/// The bytes of a text that words are learned from: a book's beginning tells its words, and the
/// tokenizer takes many times the memory of what it is given.
const MAX_BYTES: usize = 1 << 20;

/// The characters of a word beyond which the tokenizer takes it for unknown; learning from such
/// words takes a time that grows with the square of their length.
const MAX_WORD: usize = 100;

/// Learns a WordPiece vocabulary of at most `size` tokens from lower-cased texts.
///
/// Words are split as BERT splits them. Pieces that occur once are left out. The same texts give
/// the same vocabulary.
///
/// # Errors
///
/// [`TrainError::Tokenizer`] when the tokenizer's trainer fails.
pub(crate) fn learn(texts: &[String], size: usize) -> Result<Tokenizer> {
    train(texts, size)
        .map_err(|source| TrainError::Tokenizer { action: "learned a vocabulary", source })
}

fn train(texts: &[String], size: usize) -> tokenizers::Result<Tokenizer> {
    let mut alphabet = BTreeSet::new();
    for text in texts {
        alphabet.extend(words(text)?.iter().flat_map(|word| word.chars()));
    }
    // The trainer numbers continuing characters in the order of a hash map unless it is given them,
    // and breaks ties by those numbers.
    let pieces = alphabet.iter().map(|character| format!("{CONTINUING}{character}"));
    let given = [PADDING.to_owned(), UNKNOWN.to_owned()].into_iter().chain(pieces);
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(size)
        .min_frequency(2)
        .special_tokens(given.map(|token| AddedToken::from(token, true)).collect())
        .continuing_subword_prefix(CONTINUING.to_owned())
        .show_progress(false)
        .build();
    trainer.feed(texts.iter(), words)?;
    let mut model = WordPiece::builder()
        .unk_token(UNKNOWN.to_owned())
        .continuing_subword_prefix(CONTINUING.to_owned())
        .max_input_chars_per_word(MAX_WORD)
        .build()?;
    // Of the tokens given, only padding and the unknown word are special.
    trainer.train(&mut model)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::default()))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.add_special_tokens([PADDING, UNKNOWN].map(|token| AddedToken::from(token, true)))?;
    Ok(tokenizer)
}

/// Splits a text into the words that pieces are learned from.
fn words(text: &str) -> tokenizers::Result<Vec<String>> {
    let mut normalized = NormalizedString::from(&text[..text.floor_char_boundary(MAX_BYTES)]);
    BertNormalizer::default().normalize(&mut normalized)?;
    let mut split = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut split)?;
    let words = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
    let words = words.into_iter().map(|(word, ..)| word);
    let known = words.filter(|word| word.chars().nth(MAX_WORD).is_none());
    Ok(known.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        ["the runner was running", "Runners run; the run was long", "a run in the Läufer's shoes"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary() {
        let vocabulary = || learn(&texts(), 100).unwrap().get_vocab(true);
        let first = vocabulary();
        assert!((0..5).all(|_| vocabulary() == first));
        assert_eq!((first[PADDING], first[UNKNOWN]), (0, 1));
    }

    #[test]
    fn a_text_of_50_megabytes_is_learned_from_within_seconds() {
        let started = std::time::Instant::now();
        let tokenizer = learn(&["run ".repeat(12_500_000), "ö".repeat(25_000_000)], 100).unwrap();
        assert!(tokenizer.token_to_id("run").is_some());
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    #[test]
    fn frequent_words_are_whole_and_unseen_ones_are_pieces() {
        let tokenizer = learn(&texts(), 100).unwrap();
        let tokens = |text: &str| tokenizer.encode(text, false).unwrap().get_tokens().to_vec();
        assert_eq!(tokens("the run"), ["the", "run"]);
        let pieces = tokens("lungs");
        assert!(pieces.len() > 1 && !pieces.contains(&UNKNOWN.to_owned()), "{pieces:?}");
        assert_eq!(tokens("漢"), [UNKNOWN]);
    }
}

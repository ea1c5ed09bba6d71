//! A tokenizer learned from the training texts, where no pretrained encoder brings one.

use std::collections::BTreeSet;

use rayon::prelude::*;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, Tokenizer, TokenizerBuilder, Trainer,
};

use crate::{Result, TrainError};

/// Padding has id 0, as the model's graph expects.
const PADDING: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";

/// What a piece begins with that continues a word.
const CONTINUING: &str = "##";

/// Learns a WordPiece vocabulary of at most `size` tokens from lower-cased texts.
///
/// Words are split as BERT splits them. Pieces that occur once are left out. The same texts give
/// the same vocabulary.
///
/// # Errors
///
/// [`TrainError::Tokenizer`] when the tokenizer's trainer fails.
pub(crate) fn learn(texts: &[String], size: usize) -> Result<Tokenizer> {
    let fail = |source| TrainError::Tokenizer { action: "learned a vocabulary", source };
    let texts = texts.par_iter().map(|text| spaced_words(text)).collect::<Result<_, _>>();
    let texts: Vec<String> = texts.map_err(fail)?;
    let special = [PADDING, UNKNOWN].map(|token| AddedToken::from(token, true));
    let mut first_tokens = special.to_vec();
    first_tokens.extend(continuing_characters(&texts));
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(size)
        .min_frequency(2)
        .continuing_subword_prefix(CONTINUING.to_owned())
        .special_tokens(first_tokens)
        .show_progress(false)
        .build();
    let split = |text: &str| Ok(text.split(' ').map(str::to_owned).collect());
    trainer.feed(texts.iter(), split).map_err(fail)?;
    let mut model = WordPiece::builder().unk_token(UNKNOWN.to_owned()).build().map_err(fail)?;
    trainer.train(&mut model).map_err(fail)?;

    let mut tokenizer = TokenizerBuilder::<
        WordPiece,
        BertNormalizer,
        BertPreTokenizer,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    >::new()
    .with_model(model)
    .with_normalizer(Some(BertNormalizer::default()))
    .with_pre_tokenizer(Some(BertPreTokenizer))
    .with_post_processor(None)
    .with_decoder(None)
    .build()
    .map_err(fail)?;
    tokenizer.add_special_tokens(special).map_err(fail)?;
    debug_assert_eq!(tokenizer.get_model().token_to_id(PADDING), Some(0));
    Ok(tokenizer.into())
}

/// Splits a text into words as BERT does, and puts one space between them.
fn spaced_words(text: &str) -> tokenizers::Result<String> {
    let mut normalized = NormalizedString::from(text);
    BertNormalizer::default().normalize(&mut normalized)?;
    let mut words = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut words)?;
    let splits = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(splits.into_iter().map(|(word, ..)| word).collect::<Vec<_>>().join(" "))
}

/// Returns the pieces of one character that continue a word, in the characters' order.
///
/// Why name them? The trainer would number them in the order of a hash map, which is another one on
/// every run, and which longer pieces it makes hangs on those numbers.
fn continuing_characters(texts: &[String]) -> impl Iterator<Item = AddedToken> {
    let words = texts.iter().flat_map(|text| text.split(' '));
    let characters: BTreeSet<char> = words.flat_map(|word| word.chars().skip(1)).collect();
    characters.into_iter().map(|c| AddedToken::from(format!("{CONTINUING}{c}"), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_texts_give_the_same_vocabulary() {
        let word =
            |i: usize| format!("w{}x{} Ähnlich, {}", i % 17, i * 31 % 23, "ab".repeat(i % 5));
        let texts: Vec<String> = (0..200).map(word).collect();
        let vocabulary = || {
            let mut tokens: Vec<_> =
                learn(&texts, 120).unwrap().get_vocab(true).into_iter().collect();
            tokens.sort();
            tokens
        };
        let first = vocabulary();
        assert!(first.contains(&(PADDING.to_owned(), 0)) && first.len() <= 120);
        for _ in 0..5 {
            assert_eq!(vocabulary(), first);
        }
    }

    #[test]
    fn words_of_the_texts_are_tokens() {
        let texts = vec!["Piston, oil and piston".to_owned(); 3];
        let tokenizer = learn(&texts, 200).unwrap();
        let encoding = tokenizer.encode("PISTON oil", false).unwrap();
        assert_eq!(encoding.get_tokens(), ["piston", "oil"]);
    }
}

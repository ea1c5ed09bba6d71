//! A tokenizer learned from the training texts, where no pretrained encoder brings one.

use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Model, Tokenizer, TokenizerBuilder};

use crate::{Result, TrainError};

/// Padding has id 0, as the model's graph expects.
const PADDING: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";

/// Learns a WordPiece vocabulary of at most `size` tokens from lower-cased texts.
///
/// Words are split as BERT splits them. Pieces that occur once are left out.
///
/// # Errors
///
/// [`TrainError::Tokenizer`] when the tokenizer's trainer fails.
pub(crate) fn learn(texts: &[String], size: usize) -> Result<Tokenizer> {
    let fail = |source| TrainError::Tokenizer { action: "learned a vocabulary", source };
    let special = [PADDING, UNKNOWN].map(|token| AddedToken::from(token, true)).to_vec();
    let mut trainer = WordPieceTrainer::builder()
        .vocab_size(size)
        .min_frequency(2)
        .special_tokens(special)
        .show_progress(false)
        .build();
    let model = WordPiece::builder().unk_token(UNKNOWN.to_owned()).build().map_err(fail)?;
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
    tokenizer.train(&mut trainer, texts.iter().map(String::as_str)).map_err(fail)?;
    debug_assert_eq!(tokenizer.get_model().token_to_id(PADDING), Some(0));
    Ok(tokenizer.into())
}

//! Pretrained word vectors to start the CNN's embedding from: GloVe's text files, and NumPy's arrays.
//!
//! A file may hold many times the words that the training texts have; only the rows of those are kept,
//! so that memory is bounded by the vocabulary.

mod file;
mod glove;
mod npy;

use std::collections::HashMap;
use std::path::PathBuf;

use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::init::uniform;
use crate::rows::RowMajor as _;
use crate::vocabulary::{self, CONTINUING, PADDING, UNKNOWN};
use crate::{Dataset, Pretrained, Result, TrainError};
use file::Rows;

/// The files of word vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordVectors {
    /// Lines of a word and its values, separated by blanks, as GloVe writes them; a first line
    /// "words dimensions", as word2vec writes it, is checked.
    ///
    /// Of a word that stands twice the first line counts. Words with blanks inside are passed over.
    Text(PathBuf),
    /// An array [words, dimensions] of 32- or 64-bit floats in NumPy's format, and a file with one
    /// word on each line; of a word that stands twice the first counts.
    Npy {
        /// The array.
        array: PathBuf,
        /// The words.
        words: PathBuf,
    },
}

/// The coverage of the training texts' words by the vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage {
    /// The words of the vocabulary; pieces of words are not counted.
    pub n_words: usize,
    /// Those that have a vector.
    pub n_known: usize,
    /// The share of the training texts' tokens without a vector: rare words, in pieces or not.
    pub unknown_share: f64,
}

impl WordVectors {
    /// Learns a vocabulary from the training texts and starts each of its words that has a vector
    /// with that; other words, and pieces of words, start at random with the same spread.
    ///
    /// # Errors
    ///
    /// [`TrainError::WordVectors`] naming the file, and the line or row, that cannot be used, also
    /// where none of the words has a vector.
    pub fn start(
        &self,
        train: &Dataset,
        vocabulary_size: usize,
        seed: u64,
    ) -> Result<(Pretrained, Coverage)> {
        let tokenizer = vocabulary::learn(train.texts(), vocabulary_size)?;
        let tokens = tokenizer.get_vocab(true);
        let is_word =
            |token: &str| !token.starts_with(CONTINUING) && token != PADDING && token != UNKNOWN;
        let wanted: HashMap<&[u8], u32> = tokens
            .iter()
            .filter(|(token, _)| is_word(token))
            .map(|(token, &id)| (token.as_bytes(), id))
            .collect();
        let found = match self {
            WordVectors::Text(path) => glove::read(path, &wanted)?,
            WordVectors::Npy { array, words } => npy::read(array, words, &wanted)?,
        };
        if found.rows.is_empty() {
            let reason = format!(
                "it has none of the {} words of the training texts, which are lower-case",
                wanted.len()
            );
            return Err(self.refuse(reason));
        }
        let (n_words, n_known) = (wanted.len(), found.rows.len());
        let unknown_share = unknown_share(train.texts(), &tokenizer, &found.rows)?;
        let token_table = table(&found, tokens.len(), seed);
        let coverage = Coverage { n_words, n_known, unknown_share };
        Ok((Pretrained { tokenizer, token_table }, coverage))
    }

    fn refuse(&self, reason: String) -> TrainError {
        let (WordVectors::Text(path) | WordVectors::Npy { array: path, .. }) = self;
        TrainError::WordVectors { path: path.clone(), line: None, reason }
    }
}

/// Makes a table of V rows: those found, and random ones with the same spread.
fn table(found: &Rows, n_tokens: usize, seed: u64) -> Array2<f32> {
    let n_values = (found.rows.len() * found.dimensions) as f64;
    // In the order of the ids: a sum depends on the order, and a hash map has none.
    let mut ids: Vec<&u32> = found.rows.keys().collect();
    ids.sort_unstable();
    let squares = |id: &&u32| found.rows[id].iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let spread = (ids.iter().map(squares).sum::<f64>() / n_values).sqrt() as f32;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut table = uniform(&mut rng, n_tokens, found.dimensions, 3f32.sqrt() * spread);
    for (&id, values) in &found.rows {
        table.row_slice_mut(id as usize).copy_from_slice(values);
    }
    table
}

/// The bytes of a text that its unknown words are counted in.
const MAX_BYTES: usize = 1 << 16;

/// Counts the share of the texts' tokens that have no vector.
fn unknown_share(
    texts: &[String],
    tokenizer: &Tokenizer,
    rows: &HashMap<u32, Vec<f32>>,
) -> Result<f64> {
    let count = |text: &String| -> Result<(usize, usize)> {
        let text = &text[..text.floor_char_boundary(MAX_BYTES)];
        let ids = tokenizer
            .encode_fast(text, false)
            .map_err(|source| TrainError::Tokenizer { action: "counted unknown words", source })?;
        let ids = ids.get_ids();
        let n_unknown = ids.iter().filter(|id| !rows.contains_key(id)).count();
        Ok((n_unknown, ids.len()))
    };
    let add = |a: (usize, usize), b: (usize, usize)| Ok((a.0 + b.0, a.1 + b.1));
    let (n_unknown, n_tokens) = texts.par_iter().map(count).try_reduce(Default::default, add)?;
    Ok(n_unknown as f64 / n_tokens.max(1) as f64)
}

#[cfg(test)]
mod tests;

//! Texts become weighted word n-grams: a vocabulary of words and pairs of words, TF-IDF, length 1.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use autotag::EncodeError;
use foldhash::{HashMap, HashMapExt};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The most n-grams of a vocabulary: beyond this a file is damaged or made to take all memory.
pub const MAX_NGRAMS: usize = 2_000_000;

/// The longest word that a vocabulary has, in bytes; longer ones are rarely words.
pub const MAX_WORD_BYTES: usize = 64;

/// The inverse document frequencies that an n-gram can have.
///
/// `1 + ln((1 + n) / (1 + df))` lies between 1 and 45 for any number n of documents. Within this range
/// the squares of a text's weights, and their sum, are numbers that float32 has.
pub const IDF_RANGE: RangeInclusive<f32> = 1e-6..=1e6;

/// The n-grams of a text that the model knows, and their weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// The n-grams' ids, ascending.
    pub ids: Vec<u32>,
    /// Their weights; the squares sum to 1.
    pub weights: Vec<f32>,
}

/// The n-grams that a model knows: W words with the ids 0..W, and pairs of them with the ids behind.
#[derive(Clone, Debug, PartialEq)]
pub struct NgramVocabulary {
    words: HashMap<Box<str>, u32>,
    pairs: HashMap<(u32, u32), u32>,
    /// The inverse document frequency of each n-gram.
    idf: Vec<f32>,
}

/// The vocabulary as it is written.
#[derive(Serialize, Deserialize)]
struct NgramFile {
    #[serde(deserialize_with = "at_most_all")]
    words: Vec<Box<str>>,
    /// Pairs of positions in `words`.
    #[serde(deserialize_with = "at_most_all")]
    pairs: Vec<(u32, u32)>,
    /// One for each word, then one for each pair.
    #[serde(deserialize_with = "at_most_all")]
    idf: Vec<f32>,
}

/// Reads a list, and stops at more than [`MAX_NGRAMS`] entries instead of keeping them all.
fn at_most_all<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Entries<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list of at most {MAX_NGRAMS} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = list.next_element()? {
                if entries.len() == MAX_NGRAMS {
                    return Err(A::Error::custom(NgramFault::TooLarge { found: MAX_NGRAMS + 1 }));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_seq(Entries(PhantomData))
}

/// The fault of an unusable vocabulary of n-grams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NgramFault {
    /// It has no word.
    Empty,
    /// It has more n-grams than [`MAX_NGRAMS`].
    TooLarge {
        /// The number of n-grams.
        found: usize,
    },
    /// An entry of `words` is not one word as texts are split into words.
    NoWord {
        /// The entry, shortened.
        word: String,
    },
    /// An n-gram stands twice.
    Doubled {
        /// The id of the second one.
        id: usize,
    },
    /// A pair names a word that is not there.
    PairOutOfRange {
        /// The pair's position among the pairs.
        pair: usize,
        /// The word that it names.
        word: u32,
        /// The number of words.
        n_words: usize,
    },
    /// The number of inverse document frequencies is not that of the n-grams.
    IdfCount {
        /// The number of n-grams.
        expected: usize,
        /// The number of frequencies.
        found: usize,
    },
    /// An inverse document frequency is not within [`IDF_RANGE`].
    Idf {
        /// The n-gram's id.
        id: usize,
    },
}

impl fmt::Display for NgramFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NgramFault::Empty => write!(formatter, "it has no word"),
            NgramFault::TooLarge { found } => {
                write!(formatter, "it has {found} n-grams, more than {MAX_NGRAMS}")
            }
            NgramFault::NoWord { word } => write!(formatter, "{word:?} is not one word"),
            NgramFault::Doubled { id } => {
                write!(formatter, "n-gram {id} stands there twice")
            }
            NgramFault::PairOutOfRange { pair, word, n_words } => {
                write!(formatter, "pair {pair} names word {word} of {n_words}")
            }
            NgramFault::IdfCount { expected, found } => write!(
                formatter,
                "it has {found} inverse document frequencies for {expected} n-grams"
            ),
            NgramFault::Idf { id } => write!(
                formatter,
                "the inverse document frequency of n-gram {id} is not a number from {} to {}",
                IDF_RANGE.start(),
                IDF_RANGE.end()
            ),
        }
    }
}

impl std::error::Error for NgramFault {}

impl NgramVocabulary {
    /// Takes words, pairs of positions among the words, and the inverse document frequencies of the
    /// words and then of the pairs.
    ///
    /// # Errors
    ///
    /// The faults that [`NgramFault`] lists.
    pub fn new(
        words: Vec<Box<str>>,
        pairs: Vec<(u32, u32)>,
        idf: Vec<f32>,
    ) -> Result<Self, NgramFault> {
        let (n_words, n_ngrams) = (words.len(), words.len() + pairs.len());
        if n_words == 0 {
            return Err(NgramFault::Empty);
        }
        if n_ngrams > MAX_NGRAMS {
            return Err(NgramFault::TooLarge { found: n_ngrams });
        }
        if idf.len() != n_ngrams {
            return Err(NgramFault::IdfCount { expected: n_ngrams, found: idf.len() });
        }
        if let Some(id) = idf.iter().position(|idf| !IDF_RANGE.contains(idf)) {
            return Err(NgramFault::Idf { id });
        }
        let words = number_words(words)?;
        let pairs = number_pairs(&pairs, n_words)?;
        Ok(NgramVocabulary { words, pairs, idf })
    }

    /// Returns the number V of n-grams; their ids are below it.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.idf.len()
    }

    /// Returns the number of single words.
    pub fn n_words(&self) -> usize {
        self.words.len()
    }

    /// Returns the features of a text's first `max_words` words; none where none is known.
    ///
    /// `weight = (1 + ln tf) idf`, scaled so that the squares sum to 1. The same text has the same
    /// features to the last bit.
    ///
    /// # Errors
    ///
    /// [`EncodeError::EmptyText`] when the text has no word at all.
    pub fn features(&self, text: &str, max_words: usize) -> Result<Features, EncodeError> {
        let mut ids = Vec::new();
        let (mut n_words, mut previous) = (0, None);
        for_each_word(text, max_words, |word| {
            n_words += 1;
            let word = self.words.get(word).copied();
            ids.extend(word);
            if let (Some(first), Some(second)) = (previous, word) {
                ids.extend(self.pairs.get(&(first, second)));
            }
            previous = word;
        });
        if n_words == 0 {
            return Err(EncodeError::EmptyText);
        }
        ids.sort_unstable();
        Ok(self.weigh(&ids))
    }

    /// Weighs n-grams that are given in order, each as often as it occurs.
    fn weigh(&self, ids: &[u32]) -> Features {
        let mut features = Features::default();
        for occurrences in ids.chunk_by(|a, b| a == b) {
            let (id, tf) = (occurrences[0], occurrences.len() as f32);
            features.ids.push(id);
            features.weights.push((1.0 + tf.ln()) * self.idf[id as usize]);
        }
        let norm = features.weights.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
        features.weights.iter_mut().for_each(|weight| *weight /= norm);
        features
    }

    /// Reads a vocabulary.
    ///
    /// # Errors
    ///
    /// The faults that serde or [`NgramVocabulary::new`] find.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let NgramFile { words, pairs, idf } = serde_json::from_slice(json)?;
        Ok(NgramVocabulary::new(words, pairs, idf)?)
    }

    /// Writes the vocabulary; the same vocabulary gives the same bytes.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut words: Vec<(&Box<str>, u32)> = self.words.iter().map(|(w, &id)| (w, id)).collect();
        words.sort_unstable_by_key(|(_, id)| *id);
        let mut pairs: Vec<((u32, u32), u32)> =
            self.pairs.iter().map(|(&p, &id)| (p, id)).collect();
        pairs.sort_unstable_by_key(|(_, id)| *id);
        let file = NgramFile {
            words: words.into_iter().map(|(word, _)| word.clone()).collect(),
            pairs: pairs.into_iter().map(|(pair, _)| pair).collect(),
            idf: self.idf.clone(),
        };
        serde_json::to_vec(&file).expect("a vocabulary is plain data")
    }
}

fn number_words(words: Vec<Box<str>>) -> Result<HashMap<Box<str>, u32>, NgramFault> {
    let mut numbered = HashMap::with_capacity(words.len());
    for (id, word) in words.into_iter().enumerate() {
        if !is_word(&word) {
            return Err(NgramFault::NoWord { word: word.chars().take(40).collect() });
        }
        if numbered.insert(word, id as u32).is_some() {
            return Err(NgramFault::Doubled { id });
        }
    }
    Ok(numbered)
}

fn number_pairs(
    pairs: &[(u32, u32)],
    n_words: usize,
) -> Result<HashMap<(u32, u32), u32>, NgramFault> {
    let mut numbered = HashMap::with_capacity(pairs.len());
    for (pair, &(first, second)) in pairs.iter().enumerate() {
        let word = first.max(second);
        if word as usize >= n_words {
            return Err(NgramFault::PairOutOfRange { pair, word, n_words });
        }
        let id = n_words + pair;
        if numbered.insert((first, second), id as u32).is_some() {
            return Err(NgramFault::Doubled { id });
        }
    }
    Ok(numbered)
}

/// Tells whether a string is one word as [`for_each_word`] gives it.
fn is_word(word: &str) -> bool {
    let mut words = Vec::new();
    for_each_word(word, 2, |found| words.push(found.to_owned()));
    words.len() == 1 && words[0] == word && word.len() <= MAX_WORD_BYTES
}

/// Calls `visit` with a text's first words, in lower case, at most `max_words` of them.
///
/// A word is a run of letters and digits of any script; a Chinese or Japanese character is a word
/// of its own, since nothing tells where words end there.
pub fn for_each_word(text: &str, max_words: usize, mut visit: impl FnMut(&str)) {
    let mut word = String::new();
    let mut n_words = 0;
    // The blank ends the last word.
    for character in text.chars().chain([' ']) {
        let stands_alone = stands_alone(character);
        if character.is_alphanumeric() && !stands_alone {
            if character.is_ascii() {
                word.push(character.to_ascii_lowercase());
            } else {
                word.extend(character.to_lowercase().filter(|lower| lower.is_alphanumeric()));
            }
            continue;
        }
        let mut buffer = [0; 4];
        let alone = if stands_alone { &*character.encode_utf8(&mut buffer) } else { "" };
        for word in [word.as_str(), alone] {
            if !word.is_empty() {
                if n_words == max_words {
                    return;
                }
                n_words += 1;
                visit(word);
            }
        }
        word.clear();
    }
}

/// Tells whether a character belongs to a script that is written without blanks between words.
fn stands_alone(character: char) -> bool {
    matches!(character,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests;

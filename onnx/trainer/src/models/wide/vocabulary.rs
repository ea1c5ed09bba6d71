//! The n-grams of the training texts, counted.

use std::collections::HashMap;

use autotag_onnx::NgramVocabulary;
use autotag_onnx::ngrams::{MAX_WORD_BYTES, for_each_word};

use super::config::WideConfig;
use crate::{Result, TrainError};

/// Positions of two words among the words.
type Pair = (u32, u32);

/// N-grams, and the number of texts that each occurs in.
type Counted<T> = Vec<(T, u32)>;

/// Learns which n-grams occur in enough of the texts, and how rare they are.
///
/// Words and pairs of words count once per text, within its first `max_words` words. Of more than
/// `max_ngrams` those in the most texts are kept, words before pairs. `idf = ln((1 + N) / (1 + n)) +
/// 1` for an n-gram in n of N texts. The same texts give the same vocabulary. Of the settings only
/// `min_documents` and `max_ngrams` count.
///
/// # Errors
///
/// [`TrainError::NoNgrams`] when no word occurs in enough texts.
pub fn learn(texts: &[String], max_words: usize, config: &WideConfig) -> Result<NgramVocabulary> {
    let texts: Vec<&str> = texts.iter().map(|text| beginning(text, max_words)).collect();
    let words = frequent_words(&texts, max_words, config.min_documents);
    if words.is_empty() {
        let min_documents = config.min_documents;
        return Err(TrainError::NoNgrams { n_texts: texts.len(), min_documents });
    }
    let pairs = frequent_pairs(&texts, max_words, &words, config.min_documents);
    let (words, pairs) = most_frequent(words, pairs, config.max_ngrams);
    let n_texts = texts.len() as f64;
    let idf = |n: u32| (((1.0 + n_texts) / (1.0 + f64::from(n))).ln() + 1.0) as f32;
    let idf = words.iter().map(|(_, n)| idf(*n)).chain(pairs.iter().map(|(_, n)| idf(*n)));
    let idf = idf.collect();
    let words = words.into_iter().map(|(word, _)| word.into_boxed_str()).collect();
    let pairs = pairs.into_iter().map(|(pair, _)| pair).collect();
    Ok(NgramVocabulary::new(words, pairs, idf).expect("words and pairs were counted just now"))
}

/// Returns what a model that reads `max_words` words can see of a text.
fn beginning(text: &str, max_words: usize) -> &str {
    let text = text.trim_start();
    &text[..text.floor_char_boundary(max_words.saturating_mul(autotag_onnx::BYTES_PER_TOKEN))]
}

/// Returns the words in at least `min` texts with the number of texts, in alphabetical order.
fn frequent_words(texts: &[&str], max_words: usize, min: usize) -> Counted<String> {
    /// The texts that a word occurs in, and the last of them.
    #[derive(Default)]
    struct Count {
        n: u32,
        last: usize,
    }
    let mut counts: HashMap<String, Count> = HashMap::new();
    for (number, text) in (1..).zip(texts) {
        for_each_word(text, max_words, |word| {
            if !counts.contains_key(word) {
                counts.insert(word.to_owned(), Count::default());
            }
            let count = counts.get_mut(word).expect("it was just inserted");
            if count.last != number {
                *count = Count { n: count.n + 1, last: number };
            }
        });
    }
    let is_frequent =
        |(word, count): &(String, Count)| count.n as usize >= min && word.len() <= MAX_WORD_BYTES;
    let mut words: Counted<String> =
        counts.into_iter().filter(is_frequent).map(|(word, count)| (word, count.n)).collect();
    words.sort_unstable();
    words
}

/// Returns the pairs of frequent words in at least `min` texts with the number of texts, in order.
fn frequent_pairs(
    texts: &[&str],
    max_words: usize,
    words: &[(String, u32)],
    min: usize,
) -> Counted<Pair> {
    let numbers: HashMap<&str, u32> =
        (0..).zip(words).map(|(i, (word, _))| (&word[..], i)).collect();
    let mut counts: HashMap<Pair, (u32, usize)> = HashMap::new();
    for (text_number, text) in (1..).zip(texts) {
        let mut previous = None;
        for_each_word(text, max_words, |word| {
            let word = numbers.get(word).copied();
            if let (Some(first), Some(second)) = (previous, word) {
                let (n, last) = counts.entry((first, second)).or_default();
                if *last != text_number {
                    (*n, *last) = (*n + 1, text_number);
                }
            }
            previous = word;
        });
    }
    let frequent = counts.into_iter().filter(|(_, (n, _))| *n as usize >= min);
    let mut pairs: Counted<Pair> = frequent.map(|(pair, (n, _))| (pair, n)).collect();
    pairs.sort_unstable();
    pairs
}

/// Keeps the n-grams in the most texts, and numbers the words of the pairs anew.
///
/// A word is in at least as many texts as its pairs, and stands before them where the numbers are
/// equal: so a pair that is kept has both its words.
fn most_frequent(
    words: Counted<String>,
    pairs: Counted<Pair>,
    max: usize,
) -> (Counted<String>, Counted<Pair>) {
    if words.len() + pairs.len() <= max {
        return (words, pairs);
    }
    let counts = words.iter().map(|(_, n)| *n).chain(pairs.iter().map(|(_, n)| *n));
    let mut order: Vec<(u32, usize)> = counts.zip(0..).collect();
    order.sort_unstable_by_key(|&(n, position)| (std::cmp::Reverse(n), position));
    let mut is_kept = vec![false; order.len()];
    order.iter().take(max).for_each(|&(_, position)| is_kept[position] = true);

    let mut new_numbers = vec![0; words.len()];
    let mut kept_words = Vec::new();
    for ((number, word), _) in
        words.into_iter().enumerate().zip(&is_kept).filter(|(_, kept)| **kept)
    {
        new_numbers[number] = kept_words.len() as u32;
        kept_words.push(word);
    }
    let kept_pairs =
        pairs.into_iter().zip(&is_kept[new_numbers.len()..]).filter(|(_, kept)| **kept);
    let renumber = |number: u32| new_numbers[number as usize];
    let kept_pairs = kept_pairs.map(|(((a, b), n), _)| ((renumber(a), renumber(b)), n)).collect();
    (kept_words, kept_pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        ["Red apple red apple", "a red apple", "green apple", "red car"].map(str::to_owned).to_vec()
    }

    fn learned(max_ngrams: usize) -> NgramVocabulary {
        let config = WideConfig { max_ngrams, ..WideConfig::default() };
        learn(&texts(), 100, &config).unwrap()
    }

    #[test]
    fn ngrams_in_enough_texts_are_learned() {
        let vocabulary = learned(100);
        // apple, red; "red apple" in two texts, "apple red" in one.
        assert_eq!((vocabulary.n_words(), vocabulary.len()), (2, 3));
        let features = vocabulary.features("red apple", 100).unwrap();
        assert_eq!(features.ids, [0, 1, 2]);
        assert!(features.weights[2] > features.weights[0], "what is rarer weighs more");
    }

    #[test]
    fn the_most_frequent_are_kept() {
        assert_eq!((learned(2).n_words(), learned(2).len()), (2, 2));
        assert_eq!(learned(1).features("red apple", 100).unwrap().ids, [0]);
    }

    #[test]
    fn texts_without_a_frequent_word_are_an_error() {
        let texts = ["one", "two", ""].map(str::to_owned);
        let error = learn(&texts, 100, &WideConfig::default()).unwrap_err();
        assert!(matches!(error, TrainError::NoNgrams { n_texts: 3, min_documents: 2 }), "{error}");
    }

    #[test]
    fn a_text_of_50_megabytes_is_learned_from_within_seconds() {
        let started = std::time::Instant::now();
        let texts = ["run ".repeat(12_500_000), "ö".repeat(25_000_000), "run".to_owned()];
        let vocabulary = learn(&texts, 1000, &WideConfig::default()).unwrap();
        assert_eq!(vocabulary.len(), 1);
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

use proptest::prelude::*;

use super::*;

fn vocabulary() -> NgramVocabulary {
    let words = ["text", "model", "läufer", "漢"].map(Into::into).to_vec();
    NgramVocabulary::new(words, vec![(0, 1), (3, 3)], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap()
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for_each_word(text, usize::MAX, |word| words.push(word.to_owned()));
    words
}

#[test]
fn texts_are_split_into_lower_cased_words() {
    let check = |text, expect: &[&str]| assert_eq!(words(text), expect, "{text:?}");
    check("The C++ model, v2.", &["the", "c", "model", "v2"]);
    check("LÄUFER\u{a0}läuft", &["läufer", "läuft"]);
    check("ab漢字cd", &["ab", "漢", "字", "cd"]);
    check("  ... ", &[]);
    check("", &[]);
}

#[test]
fn words_and_pairs_are_weighed_and_scaled() {
    let Features { ids, weights } = vocabulary().features("Text model text", 100).unwrap();
    assert_eq!(ids, [0, 1, 4]);
    let raw = [1.0 + 2f32.ln(), 2.0, 5.0];
    let norm = raw.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
    for (weight, raw) in weights.iter().zip(raw) {
        assert!((weight - raw / norm).abs() < 1e-6);
    }
}

#[test]
fn an_unknown_word_stands_between_a_pair() {
    let ids = |text| vocabulary().features(text, 100).unwrap().ids;
    assert_eq!(ids("text model"), [0, 1, 4]);
    assert_eq!(ids("text of model"), [0, 1]);
    assert_eq!(ids("漢漢"), [3, 5]);
}

#[test]
fn a_text_without_a_known_ngram_has_no_features_and_one_without_words_is_empty() {
    assert_eq!(vocabulary().features("nothing known", 100).unwrap(), Features::default());
    for text in ["", " \n", "?!"] {
        let error = vocabulary().features(text, 100).unwrap_err();
        assert!(matches!(error, EncodeError::EmptyText), "{error}");
    }
}

#[test]
fn only_the_first_words_are_read() {
    assert_eq!(vocabulary().features("text model läufer", 2).unwrap().ids, [0, 1, 4]);
}

#[test]
fn faults_are_named() {
    let check = |words: &[&str], pairs: &[(u32, u32)], idf: &[f32], expect: &str| {
        let words = words.iter().map(|&word| word.into()).collect();
        let fault = NgramVocabulary::new(words, pairs.to_vec(), idf.to_vec()).unwrap_err();
        assert_eq!(fault.to_string(), expect);
    };
    check(&[], &[], &[], "it has no word");
    check(&["a", "b"], &[], &[1.0], "it has 1 inverse document frequencies for 2 n-grams");
    check(&["a"], &[(0, 1)], &[1.0, 1.0], "pair 0 names word 1 of 1");
    check(&["a", "a"], &[], &[1.0, 1.0], "n-gram 1 stands there twice");
    check(&["a"], &[(0, 0), (0, 0)], &[1.0; 3], "n-gram 2 stands there twice");
    for word in ["a b", "A", "", &"a".repeat(65)] {
        let shown: String = word.chars().take(40).collect();
        check(&[word], &[], &[1.0], &format!("{shown:?} is not one word"));
    }
    for idf in [0.0, -1.0, 1e-25, 1e25, f32::NAN, f32::INFINITY] {
        let expect =
            "the inverse document frequency of n-gram 0 is not a number from 0.000001 to 1000000";
        check(&["a"], &[], &[idf], expect);
    }
    let many = vec![(0, 0); MAX_NGRAMS];
    check(&["a"], &many, &[], "it has 2000001 n-grams, more than 2000000");
}

#[test]
fn the_weights_at_both_ends_of_the_range_can_be_used() {
    for idf in [*IDF_RANGE.start(), *IDF_RANGE.end()] {
        let words: Vec<Box<str>> = (0..1000).map(|i| format!("w{i}").into()).collect();
        let text: Vec<&str> = words.iter().map(|word| &**word).collect();
        let text = [text.join(" "), "w0 ".repeat(10_000)].concat();
        let vocabulary = NgramVocabulary::new(words.clone(), vec![], vec![idf; 1000]).unwrap();
        let weights = vocabulary.features(&text, usize::MAX).unwrap().weights;
        let square: f32 = weights.iter().map(|weight| weight * weight).sum();
        assert!((square - 1.0).abs() < 1e-3, "{idf}: {square}");
    }
}

#[test]
fn a_list_that_is_too_long_is_not_read_to_its_end() {
    let json =
        format!(r#"{{"words": ["a"], "pairs": [], "idf": [{}]}}"#, "1,".repeat(MAX_NGRAMS + 9));
    let error = NgramVocabulary::from_json(json.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("more than 2000000"), "{error}");
}

proptest! {
    #[test]
    fn any_text_has_features_of_length_1_and_ids_within_the_vocabulary(text in "\\PC{0,60}") {
        if let Ok(Features { ids, weights }) = vocabulary().features(&text, 20) {
            prop_assert!(ids.is_sorted() && ids.iter().all(|&id| (id as usize) < vocabulary().len()));
            let square: f32 = weights.iter().map(|weight| weight * weight).sum();
            prop_assert!(ids.is_empty() || (square - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn what_a_text_is_split_into_are_words(text in "\\PC{0,60}") {
        prop_assert!(words(&text).iter().all(|word| is_word(word) || word.len() > MAX_WORD_BYTES));
    }

    #[test]
    fn a_vocabulary_is_the_same_when_it_is_read_again(n in 1usize..40) {
        let words: Vec<Box<str>> = (0..n).map(|i| format!("w{i}").into()).collect();
        let pairs = (1..n as u32).map(|i| (i, i - 1)).collect();
        let idf = (0..2 * n - 1).map(|i| 1.0 + i as f32 / 3.0).collect();
        let vocabulary = NgramVocabulary::new(words, pairs, idf).unwrap();
        let json = vocabulary.to_json();
        prop_assert_eq!(NgramVocabulary::from_json(&json).unwrap(), vocabulary);
    }
}

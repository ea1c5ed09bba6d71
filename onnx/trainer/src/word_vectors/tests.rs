use std::fs;

use super::*;
use crate::LabeledText;

/// Texts whose words are "oven", "bread", "sea" and "tide", each at least twice.
fn texts() -> Dataset {
    let text = |(number, text): (usize, &str)| LabeledText {
        key: number.to_string(),
        text: text.to_owned(),
        labels: vec!["label".to_owned()],
    };
    let texts = ["oven bread oven", "Bread sea", "sea tide", "tide tide"];
    Dataset::new(texts.into_iter().enumerate().map(text)).unwrap()
}

fn start(vectors: &WordVectors) -> Result<(Pretrained, Coverage)> {
    vectors.start(&texts(), 200, 3)
}

/// Starts from a file of text.
fn text(content: &str) -> Result<(Pretrained, Coverage)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.txt");
    fs::write(&path, content).unwrap();
    start(&WordVectors::Text(path))
}

fn row(pretrained: &Pretrained, word: &str) -> Vec<f32> {
    let id = pretrained.tokenizer.token_to_id(word).unwrap();
    pretrained.token_table.row(id as usize).to_vec()
}

const LINES: &str = "the 9 9\noven 1 -2.5\n. . . 3 4\nsea 0.25 1e-1\nbread 2 2\n";

#[test]
fn known_words_start_with_their_vectors_and_others_at_random() {
    let with_header = format!("5 2\n{LINES}");
    for content in [LINES, &with_header, &LINES.replace('\n', " \r\n")] {
        let (pretrained, coverage) = text(content).unwrap();
        assert_eq!(row(&pretrained, "oven"), [1.0, -2.5]);
        assert_eq!(row(&pretrained, "sea"), [0.25, 0.1]);
        let random = row(&pretrained, "tide");
        assert!(random.iter().all(|v| *v != 0.0 && v.abs() < 3.0), "{random:?}");
        assert_eq!(pretrained.token_table.nrows(), pretrained.tokenizer.get_vocab_size(true));
        // "tide" is 3 of 9 tokens; other tokens of one letter are words of the vocabulary too.
        assert_eq!(coverage.n_known, 3);
        assert!((coverage.unknown_share - 3.0 / 9.0).abs() < 1e-9, "{coverage:?}");
    }
    assert_eq!(text(LINES).unwrap().0.token_table, text(LINES).unwrap().0.token_table);
}

#[test]
fn of_a_word_that_stands_twice_the_first_vector_counts() {
    let (pretrained, _) = text("oven 1 2\noven 3 4\n").unwrap();
    assert_eq!(row(&pretrained, "oven"), [1.0, 2.0]);
}

#[test]
fn text_that_cannot_be_used_is_told_with_its_line() {
    let check = |content: &str, parts: &[&str]| {
        let error = text(content).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    check("oven 1 2\nthe 1\n", &["vectors.txt, line 2", "1 values where 2 are expected"]);
    check("oven 1 2\nsea 1 x\n", &["line 2", "\"x\" is no number"]);
    check("oven 1 2\nsea 1 NaN\n", &["line 2", "NaN is not within"]);
    check("oven 1 2\nsea 1 inf\n", &["line 2", "inf is not within"]);
    check("oven 1 2\nsea 1 -1e20\n", &["line 2", "is not within -1000000..=1000000"]);
    check("3 2\noven 1 2\nsea 1 2\n", &["it has 2 words", "says 3"]);
    check("", &["it is empty"]);
    check("oven\n", &["line 1", "0 values to a word"]);
    check("OVEN 1 2\n", &["none of the", "lower-case"]);
    check(&"x".repeat(2 << 20), &["a line is longer than"]);
    let error = start(&WordVectors::Text("nowhere".into())).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

/// Writes an array and its words; the header says what is given.
fn npy(header: &str, data: &[u8], words: &str) -> Result<(Pretrained, Coverage)> {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    let (array, list) = (folder.path().join("a.npy"), folder.path().join("words.txt"));
    fs::write(&array, bytes).unwrap();
    fs::write(&list, words).unwrap();
    start(&WordVectors::Npy { array, words: list })
}

fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
}

const WORDS: &str = "the\noven\nsea\noven\n";
const VALUES: [f32; 8] = [9.0, 9.0, 1.0, -2.5, 0.25, 0.5, 7.0, 7.0];

#[test]
fn arrays_of_both_precisions_are_read() {
    let singles: Vec<u8> = VALUES.iter().flat_map(|value| value.to_le_bytes()).collect();
    let doubles: Vec<u8> =
        VALUES.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
    for (descr, data) in [("<f4", singles), ("<f8", doubles)] {
        let (pretrained, coverage) = npy(&header(descr, "(4, 2)"), &data, WORDS).unwrap();
        assert_eq!(row(&pretrained, "oven"), [1.0, -2.5]);
        assert_eq!(row(&pretrained, "sea"), [0.25, 0.5]);
        assert_eq!(coverage.n_known, 2);
    }
}

#[test]
fn arrays_that_cannot_be_used_are_told() {
    let mut data: Vec<u8> = VALUES.iter().flat_map(|value| value.to_le_bytes()).collect();
    let check = |header: &str, data: &[u8], words: &str, part: &str| {
        let error = npy(header, data, words).unwrap_err().to_string();
        assert!(error.contains("a.npy") && error.contains(part), "{error}");
    };
    let fitting = header("<f4", "(4, 2)");
    check(&fitting, &data[..31], WORDS, "is it cut off?");
    check(&fitting, &data, "the\noven\n", "4 rows");
    check(&header("<i8", "(4, 2)"), &data, WORDS, "<i8");
    check(&header("<f4", "(8,)"), &data, WORDS, "its shape is (8,)");
    check(&fitting.replace("False", "True"), &data, WORDS, "row by row");
    check("{}", &data, WORDS, "its values are");
    data[12..16].copy_from_slice(&f32::NAN.to_le_bytes());
    check(&fitting, &data, WORDS, "a.npy, line 2 cannot start the model: the value NaN");
    let folder = tempfile::tempdir().unwrap();
    let (array, words) = (folder.path().join("a.npy"), folder.path().join("words"));
    fs::write(&array, "no array").unwrap();
    fs::write(&words, "oven").unwrap();
    let error = start(&WordVectors::Npy { array, words }).unwrap_err().to_string();
    assert!(error.contains("no array of NumPy's"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let zero = PathBuf::from("/dev/zero");
    let vectors =
        [WordVectors::Text(zero.clone()), WordVectors::Npy { array: zero.clone(), words: zero }];
    for vectors in vectors {
        let error = start(&vectors).unwrap_err().to_string();
        assert!(error.contains("a pipe or a device"), "{error}");
    }
}

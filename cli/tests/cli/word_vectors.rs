//! The CNN starts from word vectors.

use crate::support::{Folder, SMALL, autotag, documents, lines};

/// Word vectors of 8 values for the words of one topic.
fn vectors() -> String {
    let words = "oven bread flour butter sugar dough bake recipe yeast pastry".split(' ');
    let value = |n: usize, i: usize| ((n * 7 + i * 3) % 11) as f32 / 10.0 - 0.5;
    let line = |(n, word): (usize, &str)| {
        let values: Vec<String> = (0..8).map(|i| value(n, i).to_string()).collect();
        format!("{word} {}\n", values.join(" "))
    };
    words.enumerate().map(line).collect()
}

#[test]
fn word_vectors_start_the_embedding_and_their_coverage_is_told() {
    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(120, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(30, 2)));
    let file = folder.write("vectors.txt", vectors());
    let small = SMALL.replace("--embedding-dimensions 24", "");
    let train_with = |options: &str| {
        let out = folder.path("bundle");
        autotag(&format!(
            "train --data {train} --dev {dev} --out {out} {small} --epochs 1 {options}"
        ))
    };
    let run = train_with(&format!("-v --embeddings {file} --format json"));
    assert!(run.stderr.contains("10 of "), "{}", run.stderr);
    assert!(run.stderr.contains("tokens have none"), "{}", run.stderr);
    assert_eq!(run.json()["labels"], 6);

    let short = folder.write("short.txt", vectors() + "end 1 2\n");
    let error = train_with(&format!("--embeddings {short}")).error();
    assert!(error.contains("short.txt, line 11 cannot start the model: 2 values"), "{error}");
}

#[test]
fn arrays_need_their_words() {
    let check = |options: &str, expect: &str| {
        let run = autotag(&format!("train --data d --dev d --out o {options}"));
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains(expect), "{}", run.stderr);
    };
    check("--embeddings a.npy", "needs --embedding-words FILE");
    check("--embeddings a.txt --embedding-words w", "is for arrays");
    check("--embedding-words w", "--embeddings <FILE>");
    check("--embeddings a.txt --init minilm", "cannot be used with");
    check("--embeddings a.txt --model wide", "--embeddings is of no use with --model wide");
}

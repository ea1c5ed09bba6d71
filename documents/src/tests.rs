mod csv_lines;
mod json_memory;

use std::error::Error;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn read(name: &str, bytes: &[u8], options: &ReadOptions) -> Vec<Result<Document, ReadError>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    match Documents::open(&path, options) {
        Ok(documents) => documents.collect(),
        Err(error) => vec![Err(error)],
    }
}

fn lines(bytes: &[u8]) -> Vec<Result<Document, ReadError>> {
    read("data.jsonl", bytes, &ReadOptions::default())
}

/// Reads as [`read`] does and expects documents only: key, text, labels joined by a comma.
fn check(name: &str, bytes: &[u8], options: &ReadOptions, expect: &[(&str, &str, &str)]) {
    let documents: Vec<_> = read(name, bytes, options)
        .into_iter()
        .map(|document| document.unwrap())
        .map(|document| (document.key, document.text, document.labels.join(",")))
        .collect();
    let documents: Vec<_> =
        documents.iter().map(|(k, t, l)| (k.as_str(), t.as_str(), l.as_str())).collect();
    assert_eq!(documents, expect);
}

/// Expects the first error to stand on a line and to contain some words.
fn check_error(name: &str, bytes: &[u8], options: &ReadOptions, line: Option<u64>, words: &str) {
    let documents = read(name, bytes, options);
    let error = documents.into_iter().find_map(Result::err).expect("an error");
    assert_eq!(error.line, line, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.to_string().contains(name), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TWO: &[u8] = b"{\"id\": \"a\", \"text\": \"one\", \"labels\": [\"x\", \"y\", \"x\"]}\n\n\
    {\"id\": 7, \"text\": \"two\", \"labels\": null}";

#[test]
fn json_lines_are_documents() {
    check("d.jsonl", TWO, &ReadOptions::default(), &[("a", "one", "x,y"), ("7", "two", "")]);
    assert_eq!(lines(TWO)[1].as_ref().unwrap().line, 3);
}

#[test]
fn gzip_is_told_by_its_bytes_not_by_its_name() {
    let expect = [("a", "one", "x,y"), ("7", "two", "")];
    let mut parts = gzip(&TWO[..60]);
    parts.extend(gzip(&TWO[60..]));
    check("d.jsonl", &gzip(TWO), &ReadOptions::default(), &expect);
    check("d.gz", TWO, &ReadOptions::default(), &expect);
    check("d.gz", &parts, &ReadOptions::default(), &expect);
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let marked = [b"\xef\xbb\xbf", TWO].concat();
    check("d", &marked, &ReadOptions::default(), &[("a", "one", "x,y"), ("7", "two", "")]);
}

#[test]
fn fields_may_have_other_names_and_texts_several_fields() {
    let options = ReadOptions {
        key: "nr".to_owned(),
        text: vec!["title".to_owned(), "body".to_owned()],
        labels: "tags".to_owned(),
        ..ReadOptions::default()
    };
    let line = br#"{"nr":"1","title":"T","body":"B","tags":["x"],"text":7}"#;
    check("d.jsonl", line, &options, &[("1", "T\nB", "x")]);
    check("d.jsonl", br#"{"nr":"1","body":"B"}"#, &options, &[("1", "B", "")]);
    check("d.csv", b"body,tags,title,nr\nB,x;y,T,1\n", &options, &[("1", "T\nB", "x,y")]);
}

#[test]
fn csv_rows_are_documents() {
    let rows = b"id,text,labels\n1,\"a, \"\"b\"\"\nc\", x ; y ;\n2,d,\n";
    let expect = [("1", "a, \"b\"\nc", "x,y"), ("2", "d", "")];
    check("d.csv", rows, &ReadOptions::default(), &expect);
    check("D.CSV.GZ", &gzip(rows), &ReadOptions::default(), &expect);
    let format = Some(InputFormat::Csv);
    check("d.txt", rows, &ReadOptions { format, ..ReadOptions::default() }, &expect);
    let label_separator = "|".to_owned();
    let options = ReadOptions { label_separator, ..ReadOptions::default() };
    check("d.csv", b"id,text,labels\n1,t,x;y|z\n", &options, &[("1", "t", "x;y,z")]);
}

#[test]
fn csv_errors_name_the_line() {
    let options = ReadOptions::default();
    check_error("d.csv", b"id,text\n1,a\n2\n", &options, Some(3), "1 cells where the header has 2");
    check_error("d.csv", b"nr,text\n1,a\n", &options, Some(1), "it has nr, text");
    check_error("d.csv", b"id,text\n,a\n", &options, Some(2), "key is missing");
    check_error("d.csv", b"id,text\n\xff,a\n", &options, Some(2), "not valid UTF-8");
    check_error("d.csv", b"id,text\n", &options, None, "no document");
    check_error("d.csv", b"", &options, None, "no document");
    let tight = ReadOptions { max_line_bytes: 1000, ..ReadOptions::default() };
    let unclosed = [b"id,text\n1,\"".as_slice(), &[b'a'; 100_000]].concat();
    check_error("d.csv", &unclosed, &tight, Some(2), "the quote that opens here never closes");
    let long = [b"id,text\n1,\"".as_slice(), &[b'a'; 100_000], b"\"\n2,b\n"].concat();
    check_error("d.csv", &long, &tight, Some(2), "longer than 1000 bytes");
}

#[test]
fn what_is_wrong_with_a_line_is_said_with_its_number() {
    let check = |line: &[u8], words| {
        let bytes = [b"{\"id\":\"a\",\"text\":\"t\"}\n", line].concat();
        check_error("d.jsonl", &bytes, &ReadOptions::default(), Some(2), words);
    };
    check(b"hello", "no JSON object");
    check(b"[1]", "no JSON object");
    check(b"{\"id\":\"b\",\"text\":\"nul \0 byte\"}", "no JSON object");
    check(br#"{"text":"t"}"#, "\"id\" with the document's key is missing");
    check(br#"{"id":null,"text":"t"}"#, "key is missing");
    check(br#"{"id":"","text":"t"}"#, "must be a string that is not empty");
    check(br#"{"id":1.5,"text":"t"}"#, "whole number");
    check(br#"{"id":["b"],"text":"t"}"#, "whole number");
    check(br#"{"id":"b"}"#, "\"text\" with the text is missing");
    check(br#"{"id":"b","text":7}"#, "text in \"text\" must be a string");
    check(br#"{"id":"b","text":"t","labels":"x"}"#, "array of strings");
    check(br#"{"id":"b","text":"t","labels":["x",1]}"#, "array of strings");
    check(b"{\"id\":\"b\xff\",\"text\":\"t\"}", "not valid UTF-8");
    check(&[b"[".repeat(100_000), b"]".repeat(100_000)].concat(), "no JSON object");
}

#[test]
fn an_error_keeps_the_key_where_it_can_be_read() {
    let documents = lines(br#"{"id":"b","text":7}"#);
    assert_eq!(documents[0].as_ref().unwrap_err().key.as_deref(), Some("b"));
}

#[test]
fn a_bad_line_does_not_hide_the_lines_after_it() {
    let documents =
        lines(b"no\n{\"id\":\"a\",\"text\":\"t\"}\nno\n{\"id\":\"b\",\"text\":\"t\"}\n");
    let is_ok: Vec<bool> = documents.iter().map(Result::is_ok).collect();
    assert_eq!(is_ok, [false, true, false, true]);
}

#[test]
fn broken_utf_8_in_a_text_is_repaired() {
    let options = ReadOptions::default();
    check("d.jsonl", b"{\"id\":\"b\",\"text\":\"t\xff!\"}", &options, &[("b", "t\u{fffd}!", "")]);
    check("d.csv", b"id,text\nb,t\xff!\n", &options, &[("b", "t\u{fffd}!", "")]);
}

#[test]
fn escaped_nul_bytes_are_text() {
    let line = br#"{"id":"b","text":"a\u0000b"}"#;
    check("d.jsonl", line, &ReadOptions::default(), &[("b", "a\0b", "")]);
}

#[test]
fn a_line_too_long_is_passed_over() {
    let options = ReadOptions { max_line_bytes: 50, ..ReadOptions::default() };
    let long = format!("{{\"id\":\"a\",\"text\":\"{}\"}}\n", "x".repeat(100_000));
    let bytes = format!("{long}{{\"id\":\"b\",\"text\":\"t\"}}\n{long}");
    check_error("d.jsonl", bytes.as_bytes(), &options, Some(1), "longer than 50 bytes");
    let documents = read("d.jsonl", bytes.as_bytes(), &options);
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[1].as_ref().unwrap().key, "b");
    let exact = format!("{{\"id\":\"a\",\"text\":\"{}\"}}", "x".repeat(30));
    assert_eq!(exact.len(), 50);
    check("d.jsonl", exact.as_bytes(), &options, &[("a", &"x".repeat(30), "")]);
    check("d.jsonl", format!("{exact}\n").as_bytes(), &options, &[("a", &"x".repeat(30), "")]);
}

#[test]
fn a_file_without_a_document_is_an_error() {
    for bytes in [&b""[..], b"\n \n", b"\xef\xbb\xbf"] {
        check_error("d.jsonl", bytes, &ReadOptions::default(), None, "no document in it");
    }
    check_error("d.jsonl", &gzip(b""), &ReadOptions::default(), None, "no document in it");
}

#[test]
fn blank_lines_are_errors_for_a_caller_that_answers_every_line() {
    let options = ReadOptions { blank_lines: BlankLines::Report, ..ReadOptions::default() };
    check_error("d.jsonl", TWO, &options, Some(2), "the line is empty");
}

#[test]
fn truncated_gzip_ends_the_file_with_an_error() {
    let line = |i: usize| format!("{{\"id\":\"{i}\",\"text\":\"{}\"}}\n", i * 7_919 % 10_007);
    let bytes: String = (0..20_000).map(line).collect();
    let packed = gzip(bytes.as_bytes());
    let documents = read("d.jsonl.gz", &packed[..packed.len() / 2], &ReadOptions::default());
    let (last, before) = documents.split_last().unwrap();
    assert!(before.len() > 1000 && before.iter().all(Result::is_ok));
    let error = last.as_ref().unwrap_err();
    assert!(error.ends_the_file() && error.to_string().contains("ends early"), "{error}");
    assert_eq!(error.line, Some(before.len() as u64 + 1));
    check_error("d", &packed[..5], &ReadOptions::default(), None, "ends early");
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Documents::open(&folder.path().join("none"), &ReadOptions::default());
    let error = error.err().unwrap();
    assert!(error.to_string().contains("none: the file cannot be opened"), "{error}");
    assert!(error.source().is_some());
    let error = Documents::open(folder.path(), &ReadOptions::default()).err().unwrap();
    assert!(error.to_string().contains("this is a folder"), "{error}");
}

#[test]
fn a_doubled_key_names_both_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.jsonl");
    let line = b"{\"id\":\"a\",\"text\":\"t\"}\n";
    std::fs::write(&path, [&line[..], b"\n", line].concat()).unwrap();
    let error = read_all(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("d.jsonl:3: the key \"a\" stands on line 1 already"), "{error}");
}

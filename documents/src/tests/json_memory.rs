//! The memory that a JSON object takes.

use super::*;

fn check_line(line: &str, expect: (&str, &str, &str)) {
    check("d.jsonl", line.as_bytes(), &ReadOptions::default(), &[expect]);
}

#[test]
fn fields_that_nobody_asked_for_may_hold_anything() {
    for unused in [
        "[[[1, {\"id\": 2}]]]".to_owned(),
        "{\"id\": \"b\", \"text\": \"u\", \"labels\": [\"y\"]}".to_owned(),
        "-1e5".to_owned(),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("[{}]", vec![r#"{"":0}"#; 100_000].join(",")),
    ] {
        check_line(&format!(r#"{{"id":"a","u":{unused},"text":"t","":[]}}"#), ("a", "t", ""));
    }
}

#[test]
fn what_is_read_past_is_still_json() {
    for wrong in ["[1", "[1}", "nul", "\"a", "01", "{1:2}", "[1,]", "\"\u{1}\""] {
        let line = format!(r#"{{"id":"a","text":"t","u":{wrong}}}"#);
        check_error("d.jsonl", line.as_bytes(), &ReadOptions::default(), Some(1), "no JSON object");
    }
    let line = br#"{"id":"a","text":"t"} {"id":"b","text":"t"}"#;
    check_error("d.jsonl", line, &ReadOptions::default(), Some(1), "trailing characters");
}

#[test]
fn of_a_field_that_stands_twice_the_last_one_counts() {
    check_line(
        r#"{"id":1,"id":"b","text":7,"text":"t","labels":3,"labels":["x"]}"#,
        ("b", "t", "x"),
    );
    check_line(r#"{"id":"a","text":"t","labels":["x"],"labels":null}"#, ("a", "t", ""));
    check_line(r#"{"id":"a","\u0074ext":"t"}"#, ("a", "t", ""));
}

#[test]
fn a_field_may_serve_two_uses() {
    let options = ReadOptions { key: "text".to_owned(), ..ReadOptions::default() };
    check("d.jsonl", br#"{"text":"t"}"#, &options, &[("t", "t", "")]);
}

#[test]
fn values_of_another_shape_are_named_whatever_their_size() {
    let check = |field: &str, value: &str, words| {
        let mut fields = vec![("id", "\"a\""), ("text", "\"t\""), ("labels", "[]")];
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        let fields: Vec<_> = fields.iter().map(|(name, v)| format!("\"{name}\":{v}")).collect();
        let line = format!("{{{}}}", fields.join(","));
        check_error("d.jsonl", line.as_bytes(), &ReadOptions::default(), Some(1), words);
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("[{}]", vec![r#"{"":[0]}"#; 100_000].join(","));
    for value in ["true", "1.5", "-0.0", "{}", "[[]]", "[1, {\"a\": 2}]", &deep, &objects] {
        check("id", value, "whole number");
        check("text", value, "must be a string");
        check("labels", value, "array of strings");
    }
    check("labels", r#"["x", null]"#, "array of strings");
    let labels: Vec<_> = (0..1 << 17).map(|number| format!("\"{number}\"")).collect();
    check("labels", &format!("[{}]", labels.join(",")), "more than 65536 labels in \"labels\"");
}

#[test]
fn labels_given_again_and_again_are_one() {
    let labels = vec!["\"\""; 1 << 20].join(",");
    check_line(&format!(r#"{{"id":"a","text":"t","labels":["x",{labels}]}}"#), ("a", "t", "x,"));
}

#[test]
fn an_error_does_not_repeat_a_long_line() {
    let line = format!("\"{}\"", "x".repeat(1 << 20));
    let documents = read("d.jsonl", line.as_bytes(), &ReadOptions::default());
    assert!(documents[0].as_ref().unwrap_err().to_string().len() < 1000);
}

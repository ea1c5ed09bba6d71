//! The user's own documents: JSON lines `{"id", "text", "labels"}`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::dataset::Document;

/// Labels that fewer training documents carry are left out of the data set.
pub(crate) const MIN_DOCUMENTS: usize = 5;

/// Reads all documents of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Document>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    read_lines(BufReader::new(file)).with_context(|| format!("cannot use {}", path.display()))
}

fn read_lines(lines: impl BufRead) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut ids = HashSet::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.with_context(|| {
            format!("line {number} is no UTF-8 text (is the file compressed? unpack it first)")
        })?;
        if line.trim().is_empty() {
            continue;
        }
        let document = parse(&line).with_context(|| format!("line {number}"))?;
        ensure!(
            ids.insert(document.id.clone()),
            "line {number}: the id {:?} was used on a line before",
            document.id
        );
        documents.push(document);
    }
    ensure!(!documents.is_empty(), "it has no documents");
    Ok(documents)
}

/// Reads one document; `group`, where it is given, keeps near copies in one part of the split.
fn parse(line: &str) -> Result<Document> {
    let value: Value = serde_json::from_str(line).context("it is no JSON")?;
    ensure!(value.is_object(), "it is no JSON object {{\"id\", \"text\", \"labels\"}}");
    let id = key(&value["id"]).context("\"id\" must be a string or a number")?;
    let text = value["text"].as_str().context("\"text\" must be a string")?;
    ensure!(!text.trim().is_empty(), "\"text\" is empty");
    Ok(Document {
        text: text.to_owned(),
        labels: labels(&value["labels"])?,
        group: key(&value["group"]).unwrap_or_else(|| id.clone()),
        id,
    })
}

fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(key) if !key.is_empty() => Some(key.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn labels(value: &Value) -> Result<Vec<String>> {
    let values = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(values) => values,
        _ => bail!("\"labels\" must be an array of strings"),
    };
    let mut labels: Vec<String> = Vec::new();
    for value in values {
        let label = value.as_str().context("\"labels\" must be an array of strings")?;
        if !labels.iter().any(|known| known == label) {
            labels.push(label.to_owned());
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `lines` are refused with all of `parts` in the message.
    fn check_refused(lines: &str, parts: &[&str]) {
        let message = format!("{:#}", read_lines(lines.as_bytes()).unwrap_err());
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn documents_come_with_or_without_labels_and_group() {
        let lines = r#"{"id": "a", "text": "x", "labels": ["p", "p", "q"], "group": "g"}

            {"id": 7, "text": "y"}"#;
        let documents = read_lines(lines.as_bytes()).unwrap();
        assert_eq!(documents[0].labels, ["p", "q"]);
        assert_eq!(documents[0].group, "g");
        assert_eq!((documents[1].id.as_str(), documents[1].group.as_str()), ("7", "7"));
        assert!(documents[1].labels.is_empty());
    }

    #[test]
    fn bad_lines_are_named_by_their_number() {
        check_refused("", &["no documents"]);
        check_refused("{\"id\": \"a\", \"text\": \"x\"}\n{", &["line 2", "no JSON"]);
        check_refused("[1]", &["line 1", "object"]);
        check_refused(r#"{"text": "x"}"#, &["line 1", "\"id\""]);
        check_refused(r#"{"id": "a"}"#, &["line 1", "\"text\""]);
        check_refused(r#"{"id": "a", "text": " "}"#, &["empty"]);
        check_refused(r#"{"id": "a", "text": "x", "labels": "p"}"#, &["array of strings"]);
        check_refused(r#"{"id": "a", "text": "x", "labels": [1]}"#, &["array of strings"]);
        let doubled = "{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"a\", \"text\": \"y\"}";
        check_refused(doubled, &["line 2", "\"a\""]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = read_lines(&b"\x1f\x8b\x08"[..]).unwrap_err();
        assert!(error.to_string().contains("compressed"), "{error}");
    }
}

//! Renders the JSON of `autotag tag --explain` for people.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

/// The most labels shown of a neighbor.
const MAX_LABELS: usize = 4;

/// Renders the answers, one JSON object per line.
pub(crate) fn render(answers: &[u8]) -> Result<String> {
    let mut page = String::new();
    for line in String::from_utf8_lossy(answers).lines() {
        let answer: Value =
            serde_json::from_str(line).with_context(|| format!("no answer in JSON: {line}"))?;
        page += &render_answer(&answer);
    }
    Ok(page)
}

fn render_answer(answer: &Value) -> String {
    let id = answer["id"].as_str().unwrap_or("?");
    if let Some(error) = answer["error"].as_str() {
        return format!("\n{id} could not be tagged: {error}\n");
    }
    let mut page = format!("\n{id}\n  {:<36} {:>6} {:>6} {:>6}\n", "tag", "score", "model", "kNN");
    for tag in items(&answer["tags"]) {
        let label = tag["label"].as_str().unwrap_or("?");
        let [score, model, knn] = ["score", "model", "knn"].map(|part| number(&tag[part]));
        page += &format!("  {label:<36} {score:>6} {model:>6} {knn:>6}\n");
    }
    page += &format!("  {:<36} {:>6}\n", "neighbor that voted", "weight");
    for neighbor in items(&answer["neighbors"]) {
        let key = neighbor["key"].as_str().unwrap_or("?");
        let weight = number(&neighbor["weight"]);
        page += &format!("  {key:<36} {weight:>6}  {}\n", labels(&neighbor["labels"]));
    }
    page
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Writes a share; `-` where there is none, as for a label that the model does not know.
fn number(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |number| format!("{number:.2}"))
}

fn labels(value: &Value) -> String {
    let labels: Vec<&str> = items(value).iter().filter_map(Value::as_str).collect();
    let mut text = labels[..labels.len().min(MAX_LABELS)].join(", ");
    if labels.len() > MAX_LABELS {
        let _ = write!(text, ", {} more", labels.len() - MAX_LABELS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_their_parts_and_the_neighbors_are_shown() {
        let answer = r#"{"id": "ripgrep", "tags": [
            {"label": "role::program", "score": 0.907, "model": 0.86, "knn": 0.95},
            {"label": "new", "score": 0.75, "model": null, "knn": 0.75}],
            "neighbors": [{"key": "ack", "distance": 1.5, "weight": 0.4,
                           "labels": ["a", "b", "c", "d", "e", "f"]}]}"#;
        let page = render(answer.replace('\n', " ").as_bytes()).unwrap();
        let rows: Vec<Vec<&str>> = page.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["ripgrep"]);
        assert_eq!(rows[3], ["role::program", "0.91", "0.86", "0.95"]);
        assert_eq!(rows[4], ["new", "0.75", "-", "0.75"]);
        assert_eq!(rows[6], ["ack", "0.40", "a,", "b,", "c,", "d,", "2", "more"]);
    }

    #[test]
    fn a_document_that_could_not_be_tagged_says_why() {
        let page = render(br#"{"id": "x", "line": 1, "error": "no tokens"}"#).unwrap();
        assert!(page.contains("x could not be tagged: no tokens"), "{page}");
        assert!(render(b"oops").unwrap_err().to_string().contains("oops"));
    }
}

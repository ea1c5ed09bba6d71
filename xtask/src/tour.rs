//! The demo's search questions, chosen so that the answers are telling on any data.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::dataset::{Document, is_to_be_tagged};

/// The questions that the demo asks the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tour {
    /// Queries, each with the facet whose values are counted.
    pub(crate) queries: Vec<(String, String)>,
    /// A query and the tag that its results must have.
    pub(crate) drill_down: (String, String),
    /// Keys of documents that came without labels.
    pub(crate) explained: Vec<String>,
}

impl Tour {
    /// Serializes the questions; [`Tour::from_json`] reads them.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "queries": self.queries,
            "drill_down": self.drill_down,
            "explained": self.explained,
        })
    }

    /// Reads what [`Tour::to_json`] wrote; `None` for anything else.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pair = |value: &Value| Some((text(&value[0])?, text(&value[1])?));
        Some(Self {
            queries: value["queries"].as_array()?.iter().map(pair).collect::<Option<_>>()?,
            drill_down: pair(&value["drill_down"])?,
            explained: value["explained"].as_array()?.iter().map(text).collect::<Option<_>>()?,
        })
    }
}

/// Programs that came after Debtags' volunteers.
const WELL_KNOWN: [&str; 6] = ["ripgrep", "restic", "kitty", "hugo", "podman", "neovim"];

/// The number of unlabeled documents that are explained.
const N_EXPLAINED: usize = 3;

/// Returns the questions about Debian's packages.
pub(crate) fn of_debtags(documents: &[Document]) -> Tour {
    let owned = |query: &str, facet: &str| (query.to_owned(), facet.to_owned());
    Tour {
        queries: vec![
            owned("command line search", "/role"),
            owned("image editor", "/use"),
            owned("web server", "/implemented-in"),
        ],
        drill_down: owned("image editor", "/role/program"),
        explained: explained(documents, &WELL_KNOWN),
    }
}

/// Returns questions made of the most frequent words and labels of any documents.
pub(crate) fn of(documents: &[Document]) -> Tour {
    let mut words = frequent_words(documents, 3);
    words.resize_with(3, || "*".to_owned());
    let labels = labels_by_frequency(documents);
    let top = labels.first().map(|label| facet_path(label)).unwrap_or_default();
    let mut facets: Vec<String> = Vec::new();
    for label in &labels {
        let parent = parent_facet(label);
        if !facets.contains(&parent) {
            facets.push(parent);
        }
    }
    let facet_at =
        |i: usize| facets.get(i % facets.len().max(1)).cloned().unwrap_or("/".to_owned());
    Tour {
        drill_down: (words[0].clone(), top),
        queries: words.into_iter().enumerate().map(|(i, word)| (word, facet_at(i))).collect(),
        explained: explained(documents, &[]),
    }
}

/// Chooses documents that are to be tagged: those preferred, else some spread over all of them.
fn explained(documents: &[Document], preferred: &[&str]) -> Vec<String> {
    let is_to_be_tagged = is_to_be_tagged(documents);
    let untagged: Vec<&str> =
        documents.iter().filter(|d| is_to_be_tagged(d)).map(|d| d.id.as_str()).collect();
    let step = (untagged.len() / N_EXPLAINED).max(1);
    let known = preferred.iter().copied().filter(|id| untagged.contains(id));
    let spread = untagged.iter().copied().step_by(step);
    let mut chosen: Vec<String> = Vec::new();
    for id in known.chain(spread) {
        if chosen.len() < N_EXPLAINED && !chosen.iter().any(|known| known == id) {
            chosen.push(id.to_owned());
        }
    }
    chosen
}

/// Returns the words that most documents have, of those that tell documents apart.
fn frequent_words(documents: &[Document], n_words: usize) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for document in documents {
        let text = document.text.to_lowercase();
        let mut words: Vec<&str> = text.split(|c: char| !c.is_alphabetic()).collect();
        words.sort_unstable();
        words.dedup();
        for word in words.into_iter().filter(|word| word.chars().count() >= 5) {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    let at_most = (documents.len() / 10).max(1);
    let mut words: Vec<(String, usize)> =
        counts.into_iter().filter(|(_, count)| *count <= at_most).collect();
    words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.truncate(n_words);
    words.into_iter().map(|(word, _)| word).collect()
}

fn labels_by_frequency(documents: &[Document]) -> Vec<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for label in documents.iter().flat_map(|document| &document.labels) {
        *counts.entry(label).or_default() += 1;
    }
    let mut labels: Vec<(&str, usize)> = counts.into_iter().collect();
    labels.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    labels.into_iter().map(|(label, _)| label).collect()
}

/// Turns `role::program` into `/role/program`.
fn facet_path(label: &str) -> String {
    if label.starts_with('/') { label.to_owned() } else { format!("/{}", label.replace("::", "/")) }
}

/// Returns the facet that the label is a value of; `/` for a label without one.
fn parent_facet(label: &str) -> String {
    let path = facet_path(label);
    match path.rfind('/') {
        Some(at) if at > 0 => path[..at].to_owned(),
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: &str, text: &str, labels: &[&str]) -> Document {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        Document { id: id.to_owned(), text: text.to_owned(), labels, group: id.to_owned() }
    }

    #[test]
    fn labels_become_facets() {
        assert_eq!(facet_path("role::program"), "/role/program");
        assert_eq!(facet_path("/role/program"), "/role/program");
        assert_eq!(parent_facet("role::program"), "/role");
        assert_eq!(parent_facet("flat"), "/");
    }

    #[test]
    fn questions_come_from_frequent_words_and_labels() {
        let mut documents: Vec<Document> =
            (0..30).map(|i| document(&i.to_string(), "always", &["kind::a"])).collect();
        documents.push(document("x", "always rarely", &["kind::b"]));
        documents.push(document("y", "always rarely", &[]));
        let tour = of(&documents);
        assert_eq!(tour.queries[0], ("rarely".to_owned(), "/kind".to_owned()));
        assert_eq!(tour.drill_down, ("rarely".to_owned(), "/kind/a".to_owned()));
        assert_eq!(tour.explained, ["y"]);
    }

    #[test]
    fn questions_survive_being_written_down() {
        let tour = of_debtags(&[document("restic", "", &[])]);
        assert_eq!(Tour::from_json(&tour.to_json()), Some(tour));
        assert_eq!(Tour::from_json(&json!({ "queries": [["one"]] })), None);
    }

    #[test]
    fn well_known_programs_are_explained_first_and_only_if_untagged() {
        let documents = [
            document("aaa", "", &[]),
            document("restic", "", &[]),
            document("ripgrep", "", &["x"]),
            document("zzz", "", &[]),
        ];
        assert_eq!(of_debtags(&documents).explained, ["restic", "aaa", "zzz"]);
    }
}

//! The output of `autotag search`.

use autotag::{Evidence, NeighborEvidence, Origin, Shares, TagEvidence};
use serde::Serialize;
use tantivy_autotag::{
    FacetCount, FacetCounts, FoundDocument, SearchRequest, SearchResults, Snippet, SortBy,
    SortValue, tag_path,
};

use crate::output::{Detail, Report, inline, shorten, table};

/// The hits.
#[derive(Debug, Serialize)]
pub(super) struct SearchReport {
    query: String,
    /// The number of documents that match.
    total: usize,
    documents: Vec<DocumentReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    facets: Vec<FacetsReport>,
    /// The cursor for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The order, where it is not that of relevance.
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<String>,
}

#[derive(Debug, Serialize)]
struct DocumentReport {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    /// The value that it was sorted by.
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_value: Option<SortValue>,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    snippets: Vec<SnippetReport>,
    /// Paths.
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suggestions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    #[serde(skip)]
    scores: Vec<String>,
    #[serde(skip)]
    suggestion_scores: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SnippetReport {
    text: String,
    html: String,
}

#[derive(Debug, Serialize)]
struct FacetsReport {
    below: String,
    counts: Vec<FacetReport>,
}

#[derive(Debug, Serialize)]
struct FacetReport {
    tag: String,
    count: u64,
}

/// The most tags that are counted in a table; JSON has all.
const SHOWN_FACETS: usize = 20;

/// The most neighbors that are named for a tag.
const SHOWN_VOTERS: usize = 3;

impl SearchReport {
    pub(super) fn new(request: &SearchRequest, results: SearchResults, detail: Detail) -> Self {
        let documents = results.documents.into_iter();
        let sort = (request.sort != SortBy::Relevance).then(|| request.sort.to_string());
        SearchReport {
            query: request.query.clone(),
            total: results.total,
            documents: documents.map(|document| DocumentReport::new(document, detail)).collect(),
            facets: results.facets.iter().map(FacetsReport::new).collect(),
            next: results.next,
            sort,
        }
    }
}

impl DocumentReport {
    fn new(document: FoundDocument, detail: Detail) -> Self {
        let tags: Vec<String> = document.tags.iter().map(tag_path).collect();
        let scores = match &document.evidence {
            Some(evidence) => evidence.tags.iter().map(scored).collect(),
            None => tags.iter().map(|tag| inline(tag).into_owned()).collect(),
        };
        let suggested = document.evidence.iter().flat_map(|evidence| &evidence.suggestions);
        DocumentReport {
            suggestions: document.suggestions.iter().map(tag_path).collect(),
            suggestion_scores: suggested.map(scored).collect(),
            id: document.key,
            score: document.score,
            sort_value: document.sort_value,
            text: document.texts.join("\n"),
            snippets: document.snippets.iter().map(SnippetReport::new).collect(),
            tags,
            scores,
            evidence: document.evidence.filter(|_| detail == Detail::Explained),
        }
    }

    fn to_text(&self, number: usize) -> String {
        let mut text = format!("{number:>3}. {}", shorten(&self.id, 90));
        if let Some(value) = self.sort_value {
            text += &format!("  [{}]", value_text(value));
        }
        text += "\n";
        if self.snippets.is_empty() {
            text += &format!("     {}\n", shorten(&self.text, 90));
        }
        for snippet in &self.snippets {
            text += &format!("     ... {} ...\n", shorten(&snippet.text, 86));
        }
        match &self.evidence {
            Some(evidence) => text += &explain(evidence),
            None if self.scores.is_empty() => text += "     no tags\n",
            None => text += &wrap(&self.scores, 95),
        }
        if let Some((first, others)) = self.suggestion_scores.split_first() {
            let first = [format!("suggested: {first}")];
            text += &wrap(&[&first, others].concat(), 95);
        }
        text
    }
}

impl Report for SearchReport {
    fn to_text(&self) -> String {
        let mut text = match (self.total, self.query.is_empty()) {
            (1, _) => "1 document matches".to_owned(),
            (total, true) => format!("{total} documents"),
            (total, false) => format!("{total} documents match"),
        };
        if !self.query.is_empty() {
            text += &format!(" {}", inline(&self.query));
        }
        text += "\n";
        for (position, document) in self.documents.iter().enumerate() {
            text += &format!("\n{}", document.to_text(position + 1));
        }
        for facets in &self.facets {
            text += &format!("\n{}", facets.to_text());
        }
        if let Some(next) = &self.next {
            text += &format!("\nMore: --cursor {next}\n");
        }
        text
    }
}

impl SnippetReport {
    fn new(snippet: &Snippet) -> Self {
        SnippetReport { text: snippet.text.clone(), html: snippet.to_html() }
    }
}

fn value_text(value: SortValue) -> String {
    match value {
        SortValue::F64(number) => format!("{number:.4}"),
        value => serde_json::to_value(value).map_or_else(
            |_| String::new(),
            |value| match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            },
        ),
    }
}

impl FacetsReport {
    fn new(facets: &FacetCounts) -> Self {
        let FacetCounts { root, counts, .. } = facets;
        let count =
            |facet: &FacetCount| FacetReport { tag: tag_path(&facet.tag), count: facet.count };
        FacetsReport { below: tag_path(root), counts: counts.iter().map(count).collect() }
    }

    fn to_text(&self) -> String {
        if self.counts.is_empty() {
            let below = inline(&self.below);
            return format!("no document that matches has a tag below {below}\n");
        }
        let mut counts = table(&[&format!("tags below {}", self.below), "documents"], 1);
        for FacetReport { tag, count } in self.counts.iter().take(SHOWN_FACETS) {
            counts.add_row([tag, &count.to_string()]);
        }
        let n_more = self.counts.len().saturating_sub(SHOWN_FACETS);
        let more = if n_more > 0 { format!("and {n_more} more\n") } else { String::new() };
        format!("{counts}\n{more}")
    }
}

fn scored(tag: &TagEvidence) -> String {
    let label = inline(&tag.label);
    match tag.origin {
        Origin::Human => label.into_owned(),
        _ => format!("{label} {:.2}", tag.score),
    }
}

/// Shows what each tag's score is made of.
fn explain(evidence: &Evidence) -> String {
    if evidence.tags.is_empty() {
        return format!("     no label reaches the threshold{}\n", nearest(&evidence.neighbors));
    }
    // The parts of the logit, of model, neighbors, frequency and text, are there where a learned mix made
    // the scores.
    let has_shares = evidence.tags.iter().any(|tag| tag.shares.is_some());
    let mut header = vec!["    tag", "from", "score", "model", "kNN", "neighbors that voted"];
    if has_shares {
        header.insert(5, "parts of the logit");
    }
    let mut tags = table(&header, 2);
    tags.align_left(header.len() - 1);
    for tag in &evidence.tags {
        let model = tag.model.map_or("-".to_owned(), |score| format!("{score:.2}"));
        let is_human = tag.origin == Origin::Human;
        let part = |text: String| if is_human { "-".to_owned() } else { text };
        let mut row = vec![
            format!("    {}", tag.label),
            origin(tag.origin).to_owned(),
            part(format!("{:.2}", tag.score)),
            part(model),
            part(format!("{:.2}", tag.knn)),
            voters(evidence, &tag.label),
        ];
        if has_shares {
            row.insert(5, tag.shares.map_or("-".to_owned(), shares));
        }
        tags.add_row(row);
    }
    format!("{tags}\n")
}

/// Shows the parts of a score's logit.
fn shares(Shares { model, neighbors, frequency, text }: Shares) -> String {
    format!("{model:+.2} {neighbors:+.2} {frequency:+.2} {text:+.2}")
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Human => "given",
        Origin::Model => "model",
        Origin::Neighbors => "neighbors",
        Origin::Both => "both",
    }
}

fn voters(evidence: &Evidence, label: &str) -> String {
    let named: Vec<String> = evidence
        .voters(label)
        .take(SHOWN_VOTERS)
        .map(|neighbor| format!("{} {:.2}", shorten(&neighbor.key, 20), neighbor.weight))
        .collect();
    let n_more = evidence.voters(label).count() - named.len();
    let more = if n_more > 0 { format!(", {n_more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

fn nearest(neighbors: &[NeighborEvidence]) -> String {
    match neighbors.first() {
        Some(nearest) => format!("; the nearest neighbor is {}", shorten(&nearest.key, 40)),
        None => String::new(),
    }
}

/// Puts as many words on each line as fit.
fn wrap(words: &[String], width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() + 2 <= width => {
                *line += ", ";
                *line += word;
            }
            _ => lines.push(format!("     {word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

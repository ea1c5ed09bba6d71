//! The results of a search.

use std::ops::Range;

use autotag::Evidence;
use serde::ser::Error;
use serde::{Deserialize, Serialize, Serializer};
use tantivy::schema::Facet;
use tantivy::time::format_description::well_known::Rfc3339;
use tantivy::{DateTime, DocAddress, Score, TantivyDocument};

/// The result of a search.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SearchResults {
    /// The number of documents that match.
    pub total: usize,
    /// The page asked for.
    pub documents: Vec<FoundDocument>,
    /// The counts below each of the facets asked for, in their order.
    pub facets: Vec<FacetCounts>,
    /// The cursor for the next page; `None` where this is the last one, and where no document was
    /// asked for. It is of use until the searcher moves on to another commit, or longer where
    /// [`SearcherOptions::kept_commits`](crate::SearcherOptions::kept_commits) says so.
    pub next: Option<String>,
}

/// The tags right below a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FacetCounts {
    /// The tag below which tags were counted.
    #[serde(with = "super::tag_json")]
    pub root: Facet,
    /// The tags right below it, the most frequent first.
    pub counts: Vec<FacetCount>,
}

/// The number of documents that have a tag, or one below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FacetCount {
    /// The tag.
    #[serde(with = "super::tag_json")]
    pub tag: Facet,
    /// The number of documents.
    pub count: u64,
}

/// A document that was found.
///
/// In JSON it is without its address and its stored fields: Tantivy's schema knows how these are written.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FoundDocument {
    /// Its key.
    pub key: String,
    /// Its place in the index as of the commit that was searched.
    #[serde(skip)]
    pub address: DocAddress,
    /// Its relevance; `None` where documents were not sorted by it.
    pub score: Option<Score>,
    /// The value that it was sorted by; `None` where it has none or was sorted by relevance.
    pub sort_value: Option<SortValue>,
    /// The stored texts of the text fields, in their order.
    pub texts: Vec<String>,
    /// The passages that match the query, at most one of each text field; none where none were asked
    /// for.
    pub snippets: Vec<Snippet>,
    /// Its tags.
    #[serde(serialize_with = "super::tag_json::list::serialize")]
    pub tags: Vec<Facet>,
    /// Its suggestions; none where the schema has no field for them.
    #[serde(serialize_with = "super::tag_json::list::serialize")]
    pub suggestions: Vec<Facet>,
    /// The evidence of its tags; `None` where it was indexed untagged.
    pub evidence: Option<Evidence>,
    /// Its stored fields.
    #[serde(skip)]
    pub document: TantivyDocument,
}

/// A value of a fast field that documents were sorted by; in JSON a number, a truth value, or a date as
/// RFC 3339 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum SortValue {
    /// An unsigned integer.
    U64(u64),
    /// A signed integer.
    I64(i64),
    /// A floating-point number.
    F64(f64),
    /// A date, in the field's precision.
    Date(#[serde(serialize_with = "as_rfc_3339")] DateTime),
    /// A truth value.
    Bool(bool),
}

fn as_rfc_3339<S: Serializer>(date: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let written = date.into_utc().format(&Rfc3339).map_err(S::Error::custom)?;
    serializer.serialize_str(&written)
}

/// A passage of a text field that matches the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snippet {
    /// The field's name.
    pub field: String,
    /// The passage.
    pub text: String,
    /// The words that match, as ranges of bytes of the passage, in their order and without overlap.
    pub highlighted: Vec<Range<usize>>,
}

impl Snippet {
    /// Returns the passage as HTML: escaped, the words that match in `<b>` elements.
    pub fn to_html(&self) -> String {
        let (mut html, mut end) = (String::with_capacity(self.text.len()), 0);
        for range in &self.highlighted {
            escape(self.text.get(end..range.start).unwrap_or_default(), &mut html);
            html.push_str("<b>");
            escape(self.text.get(range.clone()).unwrap_or_default(), &mut html);
            html.push_str("</b>");
            end = range.end;
        }
        escape(self.text.get(end..).unwrap_or_default(), &mut html);
        html
    }
}

fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_escaped_inside_and_outside_of_matches() {
        let text = "<a> & \"b\"".to_owned();
        let snippet = Snippet { field: String::new(), text, highlighted: vec![0..3, 6..9] };
        assert_eq!(snippet.to_html(), "<b>&lt;a&gt;</b> &amp; <b>&quot;b&quot;</b>");
    }
}

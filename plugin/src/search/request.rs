//! The request of a search.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tantivy::Order;
use tantivy::query::Query;
use tantivy::schema::Facet;

use crate::DocumentOrigin;

/// A search: a query over the text, filters, counts, an order and a page.
///
/// ```
/// use tantivy::schema::Facet;
/// use tantivy_autotag::{SearchRequest, SortBy, TagFilter, parse_tag};
///
/// // The least certain of the documents that are about editing or images, but are no library.
/// let request = SearchRequest::new()
///     .tags(
///         TagFilter::new()
///             .any([parse_tag("/use/editing")?, parse_tag("/use/images")?])
///             .none([parse_tag("/role/library")?]),
///     )
///     .facets([Facet::root()])
///     .sort(SortBy::ascending("tag_margin"))
///     .limit(20);
/// # let _ = request;
/// # Ok::<(), tantivy_autotag::Error>(())
/// ```
///
/// In JSON, parts that are left out have their defaults, tags are paths such as `/role/program`, and
/// `filters` have no form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SearchRequest {
    /// The query over the text fields, in Tantivy's query language; an empty one finds all.
    pub query: String,
    /// The filter by tags.
    pub tags: TagFilter,
    /// The filter by suggestions. It needs an index whose schema has a field for suggestions.
    pub suggestions: TagFilter,
    /// The origins of which a document must have one; any will do where there are none. They need an
    /// index whose schema has the fields for reviews.
    pub origins: Vec<DocumentOrigin>,
    /// Further queries that every document found must match, over any field of the index. They do
    /// not change a document's relevance.
    #[serde(skip)]
    pub filters: Vec<Arc<dyn Query>>,
    /// The tags below which tags are counted; [`Facet::root`] counts those of the first level.
    #[serde(with = "super::tag_json::list")]
    pub facets: Vec<Facet>,
    /// The documents that are counted.
    pub counting: Counting,
    /// The order of the documents.
    pub sort: SortBy,
    /// Passages of the text fields that match the query, where they are wanted.
    pub snippets: Option<SnippetOptions>,
    /// The most documents that are returned, the first in the order. The memory of a search grows
    /// with it, up to the number of documents in the index.
    pub limit: usize,
    /// The number of documents that are skipped, from the beginning or from the cursor on.
    pub offset: usize,
    /// The end of the page before, [`SearchResults::next`](crate::SearchResults::next) of the same
    /// request: the documents behind it are returned.
    pub cursor: Option<String>,
}

impl Default for SearchRequest {
    /// Returns the request for the 10 most relevant of all documents.
    fn default() -> Self {
        SearchRequest {
            query: String::new(),
            tags: TagFilter::default(),
            suggestions: TagFilter::default(),
            origins: vec![],
            filters: vec![],
            facets: vec![],
            counting: Counting::default(),
            sort: SortBy::default(),
            snippets: None,
            limit: 10,
            offset: 0,
            cursor: None,
        }
    }
}

impl SearchRequest {
    /// Returns the request for the 10 most relevant of all documents.
    pub fn new() -> Self {
        SearchRequest::default()
    }

    /// Sets the query over the text fields.
    pub fn query(mut self, query: impl Into<String>) -> Self {
        self.query = query.into();
        self
    }

    /// Sets the filter by tags: a [`TagFilter`], or a list of tags that a document must all have.
    pub fn tags(mut self, tags: impl Into<TagFilter>) -> Self {
        self.tags = tags.into();
        self
    }

    /// Sets the filter by suggestions, as [`tags`](SearchRequest::tags) does.
    pub fn suggestions(mut self, suggestions: impl Into<TagFilter>) -> Self {
        self.suggestions = suggestions.into();
        self
    }

    /// Sets the origins of which a document must have one.
    pub fn origins(mut self, origins: impl IntoIterator<Item = DocumentOrigin>) -> Self {
        self.origins = origins.into_iter().collect();
        self
    }

    /// Adds a query that every document found must match.
    pub fn filter(mut self, query: impl Query) -> Self {
        self.filters.push(Arc::new(query));
        self
    }

    /// Sets the tags below which tags are counted.
    pub fn facets(mut self, facets: impl IntoIterator<Item = Facet>) -> Self {
        self.facets = facets.into_iter().collect();
        self
    }

    /// Sets which documents are counted.
    pub fn counting(mut self, counting: Counting) -> Self {
        self.counting = counting;
        self
    }

    /// Sets the order of the documents.
    pub fn sort(mut self, sort: SortBy) -> Self {
        self.sort = sort;
        self
    }

    /// Asks for passages that match the query.
    pub fn snippets(mut self, options: SnippetOptions) -> Self {
        self.snippets = Some(options);
        self
    }

    /// Sets the most documents that are returned.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the number of documents that are skipped.
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Sets the end of the page before.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }
}

/// A condition on a document's tags, or on its suggestions. Each tag stands for itself and for those
/// below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TagFilter {
    /// The tags that a document must all have.
    #[serde(with = "super::tag_json::list")]
    pub all: Vec<Facet>,
    /// Groups of tags: a document must have at least one of each group.
    #[serde(with = "super::tag_json::groups")]
    pub any: Vec<Vec<Facet>>,
    /// The tags of which a document must have none.
    #[serde(with = "super::tag_json::list")]
    pub none: Vec<Facet>,
}

impl TagFilter {
    /// Returns the filter that lets every document pass.
    pub fn new() -> Self {
        TagFilter::default()
    }

    /// Adds tags that a document must all have.
    pub fn all(mut self, tags: impl IntoIterator<Item = Facet>) -> Self {
        self.all.extend(tags);
        self
    }

    /// Adds a group of tags of which a document must have at least one; each call adds a group. A
    /// group without a tag is no condition.
    pub fn any(mut self, tags: impl IntoIterator<Item = Facet>) -> Self {
        let group: Vec<Facet> = tags.into_iter().collect();
        if !group.is_empty() {
            self.any.push(group);
        }
        self
    }

    /// Adds tags of which a document must have none.
    pub fn none(mut self, tags: impl IntoIterator<Item = Facet>) -> Self {
        self.none.extend(tags);
        self
    }

    /// Tells whether a document with these tags passes.
    pub fn matches(&self, tags: &[Facet]) -> bool {
        let has = |wanted: &Facet| {
            wanted.is_root() || tags.iter().any(|tag| tag == wanted || wanted.is_prefix_of(tag))
        };
        let has_any = |group: &Vec<Facet>| group.is_empty() || group.iter().any(has);
        self.all.iter().all(has) && self.any.iter().all(has_any) && !self.none.iter().any(has)
    }

    /// Tells whether the filter lets every document pass.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() + self.any.iter().map(Vec::len).sum::<usize>() + self.none.len()
    }

    /// Returns the filter without the choices below a tag; exclusions stay.
    pub(super) fn without_choices_below(&self, root: &Facet) -> TagFilter {
        let is_elsewhere = |tag: &&Facet| !root.is_root() && !root.is_prefix_of(tag);
        let elsewhere = |tags: &Vec<Facet>| tags.iter().filter(is_elsewhere).cloned().collect();
        let groups = self.any.iter().map(elsewhere);
        TagFilter {
            all: elsewhere(&self.all),
            any: groups.filter(|group: &Vec<Facet>| !group.is_empty()).collect(),
            none: self.none.clone(),
        }
    }
}

impl<I: IntoIterator<Item = Facet>> From<I> for TagFilter {
    /// Returns the filter for documents that have all of these tags.
    fn from(tags: I) -> Self {
        TagFilter::new().all(tags)
    }
}

/// The documents that are counted for a facet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Counting {
    /// Those that match the request: the counts say how many of the documents found have a tag.
    #[default]
    Conjunctive,
    /// Those that match the request without its own choices of tags below the facet, which are
    /// [`TagFilter::all`] and [`TagFilter::any`]: the counts say how many documents each tag would find in
    /// the place of those chosen, as lists of check boxes need it.
    Disjunctive,
}

/// The order of the documents found. Documents that are equal in it stand in the order of their
/// addresses, which stays the same until the searcher moves on to another commit.
///
/// Written out it is `relevance`, `FIELD:asc` or `FIELD:desc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum SortBy {
    /// The most relevant first.
    #[default]
    Relevance,
    /// By the first value of a fast field of unsigned or signed integers, floating-point numbers,
    /// dates or truth values. Documents without a value come last, whatever the direction.
    Field {
        /// The field's name.
        name: String,
        /// The direction.
        order: Order,
    },
}

impl SortBy {
    /// Sorts by a fast field, the smallest value first.
    pub fn ascending(field: impl Into<String>) -> Self {
        SortBy::Field { name: field.into(), order: Order::Asc }
    }

    /// Sorts by a fast field, the largest value first.
    pub fn descending(field: impl Into<String>) -> Self {
        SortBy::Field { name: field.into(), order: Order::Desc }
    }
}

impl fmt::Display for SortBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SortBy::Relevance => formatter.write_str("relevance"),
            SortBy::Field { name, order: Order::Asc } => write!(formatter, "{name}:asc"),
            SortBy::Field { name, order: Order::Desc } => write!(formatter, "{name}:desc"),
        }
    }
}

impl From<String> for SortBy {
    /// Reads the form that is written out; a field without a direction is sorted ascending.
    fn from(text: String) -> Self {
        if text == "relevance" {
            return SortBy::Relevance;
        }
        match text.rsplit_once(':') {
            Some((field, "asc")) => SortBy::ascending(field),
            Some((field, "desc")) => SortBy::descending(field),
            _ => SortBy::ascending(text),
        }
    }
}

impl From<SortBy> for String {
    fn from(sort: SortBy) -> String {
        sort.to_string()
    }
}

/// The options of snippets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SnippetOptions {
    /// The length of a snippet in bytes, at most 65,536; the last word of a snippet ends before it. A longer
    /// word is shown whole.
    pub max_bytes: usize,
}

impl Default for SnippetOptions {
    /// Returns 150 bytes.
    fn default() -> Self {
        SnippetOptions { max_bytes: 150 }
    }
}

impl SnippetOptions {
    /// Returns the options for snippets of 150 bytes.
    pub fn new() -> Self {
        SnippetOptions::default()
    }

    /// Sets the length of a snippet in bytes.
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }
}

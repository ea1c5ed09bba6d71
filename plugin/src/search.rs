//! Faceted search: queries, drill-down by tags, counts of tags, evidence.

mod bounds;

use std::sync::Arc;

use autotag::Evidence;
use tantivy::collector::{Count, FacetCollector, TopDocs};
use tantivy::query::{AllQuery, BooleanQuery, Occur, Query, QueryParser, TermQuery};
use tantivy::schema::{Facet, Field, IndexRecordOption, Schema, Value};
use tantivy::{DocAddress, Index, IndexReader, Score, Searcher, TantivyDocument, Term};

use crate::guard::{guard, open_reader};
use crate::segments::SegmentChecks;
use crate::{Error, Result, TagFields, document};

/// Searches an index by text and by tag.
///
/// It searches the index as of its opening or its last [`reload`](TagSearcher::reload); clones are
/// cheap.
#[derive(Clone)]
pub struct TagSearcher {
    reader: IndexReader,
    checks: Arc<SegmentChecks>,
    parser: QueryParser,
    schema: Schema,
    fields: TagFields,
}

/// A search.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// The query over the text fields, in Tantivy's query language; an empty one finds all.
    pub query: String,
    /// The tags that every document found must have, or have one below; see [`parse_tag`].
    pub tags: Vec<Facet>,
    /// The suggestions that every document found must have, or have one below it. They need an
    /// index whose schema has a field for suggestions.
    pub suggested: Vec<Facet>,
    /// The tag below which tags are counted; [`Facet::root`] counts those of the first level.
    pub facets: Option<Facet>,
    /// The most documents that are returned, the best first.
    pub limit: usize,
    /// The number of the best documents that are skipped.
    pub offset: usize,
}

impl Default for SearchRequest {
    /// Returns the request for the first 10 of all documents.
    fn default() -> Self {
        SearchRequest {
            query: String::new(),
            tags: vec![],
            suggested: vec![],
            facets: None,
            limit: 10,
            offset: 0,
        }
    }
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct SearchResults {
    /// The number of documents that match.
    pub total: usize,
    /// The best of them.
    pub documents: Vec<FoundDocument>,
    /// The tags right below the requested one, the most frequent first, among all that match.
    pub facets: Vec<FacetCount>,
}

/// The number of documents that have a tag, or one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetCount {
    /// The tag.
    pub tag: Facet,
    /// The number of documents.
    pub count: u64,
}

/// A document that was found.
#[derive(Clone, Debug)]
pub struct FoundDocument {
    /// Its key.
    pub key: String,
    /// Its relevance.
    pub score: Score,
    /// The stored texts of the text fields, in their order.
    pub texts: Vec<String>,
    /// Its tags.
    pub tags: Vec<Facet>,
    /// Its suggestions; none where the schema has no field for them.
    pub suggestions: Vec<Facet>,
    /// The evidence of its tags; `None` where it was indexed untagged.
    pub evidence: Option<Evidence>,
    /// Its stored fields.
    pub document: TantivyDocument,
}

impl TagSearcher {
    /// Opens an index for searching.
    ///
    /// # Errors
    ///
    /// [`Error::FieldType`] and its like when the fields do not fit the index's schema or none of
    /// the text fields is indexed, [`Error::Tantivy`] when the index cannot be read.
    pub fn new(index: &Index, fields: TagFields) -> Result<Self> {
        let schema = index.schema();
        fields.check(&schema)?;
        let parser = parser(index, &fields)?;
        let checks = Arc::new(SegmentChecks::new(index.clone()));
        checks.check_small()?;
        Ok(TagSearcher { reader: open_reader(index)?, checks, parser, schema, fields })
    }

    /// Moves on to the newest commit.
    ///
    /// # Errors
    ///
    /// [`Error::Tantivy`] when the index cannot be read.
    pub fn reload(&self) -> Result<()> {
        const READ: &str = "read the newest commit";
        self.checks.check_small()?;
        guard(READ, || self.reader.reload().map_err(Error::tantivy(READ)))
    }

    /// Returns the number of documents.
    pub fn n_documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// Searches.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query cannot be read, [`Error::QueryTooLong`] and
    /// [`Error::QueryTooDeep`] when it exceeds the limits, [`Error::Evidence`] when a document's
    /// evidence does not decode, [`Error::Tantivy`] when the index cannot be read.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchResults> {
        let query = self.query(request)?;
        guard("searched", || self.answer(request, &query))
    }

    fn answer(&self, request: &SearchRequest, query: &BooleanQuery) -> Result<SearchResults> {
        let searcher = self.reader.searcher();
        let (total, best) = find(&searcher, query, request)?;
        let mut documents = Vec::with_capacity(best.len());
        for (score, address) in best {
            documents.push(self.found(&searcher, score, address)?);
        }
        let facets = match &request.facets {
            Some(parent) => self.count(&searcher, query, parent)?,
            None => vec![],
        };
        Ok(SearchResults { total, documents, facets })
    }

    /// Returns a document by its key.
    ///
    /// # Errors
    ///
    /// As [`search`](TagSearcher::search).
    pub fn document(&self, key: &str) -> Result<Option<FoundDocument>> {
        let term = Term::from_field_text(self.fields.key, key);
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        let searcher = self.reader.searcher();
        let request = SearchRequest { limit: 1, ..SearchRequest::default() };
        guard("looked a key up", || {
            let (_, best) = find(&searcher, &query, &request)?;
            best.first().map(|&(score, address)| self.found(&searcher, score, address)).transpose()
        })
    }

    fn query(&self, request: &SearchRequest) -> Result<BooleanQuery> {
        let text: Box<dyn Query> = if request.query.trim().is_empty() {
            Box::new(AllQuery)
        } else {
            parse(&self.parser, &request.query)?
        };
        let mut clauses = vec![(Occur::Must, text)];
        clauses.extend(have(self.fields.tags, &request.tags));
        if !request.suggested.is_empty() {
            let field = self.fields.suggestions.ok_or(Error::NoSuggestions)?;
            clauses.extend(have(field, &request.suggested));
        }
        Ok(BooleanQuery::new(clauses))
    }

    fn found(
        &self,
        searcher: &Searcher,
        score: Score,
        address: DocAddress,
    ) -> Result<FoundDocument> {
        let document: TantivyDocument =
            searcher.doc(address).map_err(Error::tantivy("read a document"))?;
        let key = document.get_first(self.fields.key);
        let texts = self.fields.texts.iter().flat_map(|&field| {
            document::text_values(&document, field).map(|text| text.into_owned())
        });
        Ok(FoundDocument {
            key: key.and_then(|key| key.as_str()).unwrap_or_default().to_owned(),
            score,
            texts: texts.collect(),
            tags: facets(&document, self.fields.tags),
            suggestions: self.fields.suggestions.map_or(vec![], |field| facets(&document, field)),
            evidence: self.fields.evidence_of(&document)?,
            document,
        })
    }

    fn count(
        &self,
        searcher: &Searcher,
        query: &dyn Query,
        parent: &Facet,
    ) -> Result<Vec<FacetCount>> {
        let name = self.schema.get_field_name(self.fields.tags);
        let mut collector = FacetCollector::for_field(name);
        collector.add_facet(parent.clone());
        let counts =
            searcher.search(query, &collector).map_err(Error::tantivy("counted the tags"))?;
        let mut counts: Vec<FacetCount> = counts
            .get(parent.clone())
            .map(|(tag, count)| FacetCount { tag: tag.clone(), count })
            .collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.tag.cmp(&b.tag)));
        Ok(counts)
    }
}

/// Returns the parser of queries over the text fields.
pub(crate) fn parser(index: &Index, fields: &TagFields) -> Result<QueryParser> {
    let schema = index.schema();
    let is_indexed = |field: &Field| schema.get_field_entry(*field).is_indexed();
    let indexed: Vec<Field> = fields.texts.iter().copied().filter(is_indexed).collect();
    if indexed.is_empty() {
        let name = schema.get_field_name(fields.texts[0]).to_owned();
        return Err(Error::FieldType { role: "text", name, expected: "indexed to be searched" });
    }
    Ok(QueryParser::for_index(index, indexed))
}

/// Reads a query; it takes little stack, whatever the query.
pub(crate) fn parse(parser: &QueryParser, query: &str) -> Result<Box<dyn Query>> {
    bounds::check(query)?;
    // The parser takes other spaces for parts of a field's name, at quadratic cost.
    let parsed = parser.parse_query(&query.replace(char::is_whitespace, " "));
    parsed.map_err(|source| Error::Query { query: query.to_owned(), source })
}

/// Returns clauses that require these facets, or one below each.
fn have(field: Field, facets: &[Facet]) -> impl Iterator<Item = (Occur, Box<dyn Query>)> {
    // The root has no term: every document is below it.
    facets.iter().filter(|facet| !facet.is_root()).map(move |facet| {
        let term = Term::from_facet(field, facet);
        let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::Basic));
        (Occur::Must, query)
    })
}

fn facets(document: &TantivyDocument, field: Field) -> Vec<Facet> {
    let facets = document.get_all(field);
    facets
        .filter_map(|facet| Facet::from_encoded(facet.as_facet()?.as_bytes().to_vec()).ok())
        .collect()
}

fn find(
    searcher: &Searcher,
    query: &dyn Query,
    request: &SearchRequest,
) -> Result<(usize, Vec<(Score, DocAddress)>)> {
    // Tantivy panics at a limit of 0, and sets aside memory for a large one.
    let n_documents = usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX);
    let limit = request.limit.min(n_documents);
    if limit == 0 {
        let total = searcher.search(query, &Count).map_err(Error::tantivy("searched"))?;
        return Ok((total, vec![]));
    }
    let best = TopDocs::with_limit(limit).and_offset(request.offset.min(n_documents));
    searcher.search(query, &(Count, best.order_by_score())).map_err(Error::tantivy("searched"))
}

/// The longest tag that is read, in bytes: a label's name has 1024 at most, and each of them may need a
/// backslash.
const MAX_TAG_BYTES: usize = 4096;

/// Reads a tag: a path such as `/role/program`, or a label such as `role::program`.
///
/// In a path a backslash takes the next character as it is: `/a\/b` has one segment.
///
/// ```
/// use tantivy_autotag::{parse_tag, tag_path};
///
/// let tag = parse_tag("role::program")?;
/// assert_eq!(tag, parse_tag("/role/program")?);
/// assert_eq!(tag_path(&tag), "/role/program");
/// assert_eq!(tag_path(&parse_tag("client/server")?), r"/client\/server");
/// # Ok::<(), tantivy_autotag::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::TagPath`] when there is no name in it, or a NUL character, [`Error::TagTooLong`] when no tag
/// is as long.
pub fn parse_tag(text: &str) -> Result<Facet> {
    if text.len() > MAX_TAG_BYTES {
        return Err(Error::TagTooLong { length: text.len(), max: MAX_TAG_BYTES });
    }
    let wrong = || Error::TagPath { path: text.to_owned() };
    if text.contains('\0') {
        return Err(wrong());
    }
    if !text.starts_with('/') {
        let tag = document::facet(text);
        return if tag.is_root() { Err(wrong()) } else { Ok(tag) };
    }
    let parsed = Facet::from_text(text).map_err(|_| wrong())?;
    Ok(Facet::from_path(parsed.to_path().into_iter().filter(|segment| !segment.is_empty())))
}

/// Reads a label as people write it: by its name, such as `role::program`, or by its tag's path,
/// such as `/role/program`.
///
/// ```
/// use tantivy_autotag::parse_label;
///
/// assert_eq!(parse_label("/role/program")?, "role::program");
/// assert_eq!(parse_label("role::program")?, "role::program");
/// # Ok::<(), tantivy_autotag::Error>(())
/// ```
///
/// # Errors
///
/// As [`parse_tag`].
pub fn parse_label(text: &str) -> Result<String> {
    let tag = parse_tag(text)?;
    if tag.is_root() {
        return Err(Error::TagPath { path: text.to_owned() });
    }
    Ok(if text.starts_with('/') { tag.to_path().join("::") } else { text.to_owned() })
}

/// Writes a tag's path in the form that [`parse_tag`] reads.
///
/// Why not Tantivy's `Display`? It writes a backslash inside a name as a slash.
pub fn tag_path(tag: &Facet) -> String {
    let mut path = String::new();
    for segment in tag.to_path() {
        path.push('/');
        for character in segment.chars() {
            if matches!(character, '/' | '\\') {
                path.push('\\');
            }
            path.push(character);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_are_written() {
        for label in ["role::program", "/a/b", "client/server", r"back\slash", r"a::b/c\::d"] {
            let tag = document::facet(label);
            assert_eq!(parse_tag(&tag_path(&tag)).unwrap(), tag, "{label}");
        }
        assert!(parse_tag("/").unwrap().is_root());
        assert_eq!(parse_tag("/a//b/").unwrap(), document::facet("a::b"));
        for wrong in ["", "::", "a\0b"] {
            assert!(parse_tag(wrong).is_err(), "{wrong:?}");
        }
    }
}

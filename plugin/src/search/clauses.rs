//! Queries of Tantivy's for the parts of a request.

use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, Occur, Query, QueryParser, TermQuery,
};
use tantivy::schema::{Facet, Field, IndexRecordOption, Schema};
use tantivy::{Index, Term};

use super::bounds;
use super::request::{SearchRequest, TagFilter};
use crate::{DocumentOrigin, Error, Result, TagFields};

/// The most tags and origins in a request's filters.
const MAX_CONDITIONS: usize = 1024;

/// The most facets that are counted at once.
const MAX_FACETS: usize = 64;

/// Checks that a request is not too large.
pub(super) fn check(request: &SearchRequest) -> Result<()> {
    let SearchRequest { tags, suggestions, origins, filters, facets, .. } = request;
    let n_conditions = tags.len() + suggestions.len() + origins.len() + filters.len();
    for (what, count, max) in
        [("conditions", n_conditions, MAX_CONDITIONS), ("facets", facets.len(), MAX_FACETS)]
    {
        if count > max {
            return Err(Error::RequestTooLarge { what, count, max });
        }
    }
    Ok(())
}

/// Returns the parser of queries over the text fields.
pub(crate) fn parser(index: &Index, fields: &TagFields) -> Result<QueryParser> {
    let schema = index.schema();
    let indexed = indexed_texts(&schema, fields);
    if indexed.is_empty() {
        let name = schema.get_field_name(fields.texts[0]).to_owned();
        return Err(Error::FieldType { role: "text", name, expected: "indexed to be searched" });
    }
    Ok(QueryParser::for_index(index, indexed))
}

/// Returns the text fields that are searched.
pub(super) fn indexed_texts(schema: &Schema, fields: &TagFields) -> Vec<Field> {
    let is_indexed = |field: &Field| schema.get_field_entry(*field).is_indexed();
    fields.texts.iter().copied().filter(is_indexed).collect()
}

/// Reads a query; it takes little stack, whatever the query.
pub(crate) fn parse(parser: &QueryParser, query: &str) -> Result<Box<dyn Query>> {
    bounds::check(query)?;
    // The parser takes other spaces for parts of a field's name, at quadratic cost.
    let parsed = parser.parse_query(&query.replace(char::is_whitespace, " "));
    parsed.map_err(|source| Error::Query { query: query.to_owned(), source })
}

/// Returns the query over the text; an empty one finds all.
pub(super) fn text(parser: &QueryParser, query: &str) -> Result<Box<dyn Query>> {
    if query.trim().is_empty() { Ok(Box::new(AllQuery)) } else { parse(parser, query) }
}

/// Returns the query for the documents that match the text and pass a request's filters, with `tags`
/// in the place of its filter by tags. Only the text decides over a document's relevance.
pub(super) fn filtered(
    text: &dyn Query,
    request: &SearchRequest,
    tags: &TagFilter,
    fields: &TagFields,
) -> Result<BooleanQuery> {
    let mut clauses = vec![(Occur::Must, text.box_clone())];
    clauses.extend(tag_clauses(fields.tags, tags));
    if !request.suggestions.is_empty() {
        let field = fields.suggestions.ok_or(Error::NoSuggestions)?;
        clauses.extend(tag_clauses(field, &request.suggestions));
    }
    if !request.origins.is_empty() {
        let field = fields.review.as_ref().ok_or(Error::NoReviewFields)?.origin;
        clauses.push(must(any(request.origins.iter().map(|&origin| of_origin(field, origin)))));
    }
    clauses.extend(request.filters.iter().map(|filter| must(filter.box_clone())));
    Ok(BooleanQuery::new(clauses))
}

fn tag_clauses(field: Field, filter: &TagFilter) -> Vec<(Occur, Box<dyn Query>)> {
    let one = |tag: &Facet| has(field, tag);
    let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
    clauses.extend(filter.all.iter().map(|tag| must(one(tag))));
    let groups = filter.any.iter().filter(|group| !group.is_empty());
    clauses.extend(groups.map(|group| must(any(group.iter().map(one)))));
    clauses.extend(filter.none.iter().map(|tag| (Occur::MustNot, one(tag))));
    clauses
}

/// Returns the query for the documents that have a tag, or one below it.
fn has(field: Field, tag: &Facet) -> Box<dyn Query> {
    // The root has no term: every document is below it.
    if tag.is_root() {
        return Box::new(AllQuery);
    }
    Box::new(TermQuery::new(Term::from_facet(field, tag), IndexRecordOption::Basic))
}

fn of_origin(field: Field, origin: DocumentOrigin) -> Box<dyn Query> {
    let term = Term::from_field_u64(field, origin.code());
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn any(queries: impl Iterator<Item = Box<dyn Query>>) -> Box<dyn Query> {
    let mut queries: Vec<Box<dyn Query>> = queries.collect();
    match queries.len() {
        0 => Box::new(EmptyQuery),
        1 => queries.remove(0),
        _ => Box::new(BooleanQuery::union(queries)),
    }
}

/// Returns a clause that narrows the search without a part in a document's relevance.
fn must(query: Box<dyn Query>) -> (Occur, Box<dyn Query>) {
    (Occur::Must, Box::new(ConstScoreQuery::new(query, 0.0)))
}

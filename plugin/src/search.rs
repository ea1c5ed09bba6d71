//! Faceted search: queries, drill-down by tags, counts of tags, evidence.

mod bounds;
mod clauses;
mod counts;
mod cursor;
mod paths;
mod request;
mod results;
mod snippets;
mod sort;
mod state;
mod tag_json;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tantivy::collector::{Count, TopDocs};
use tantivy::directory::WatchHandle;
use tantivy::query::{Query, QueryParser, TermQuery};
use tantivy::schema::{Facet, Field, IndexRecordOption, Schema, Value};
use tantivy::{DocAddress, Index, Searcher, TantivyDocument, Term};

use crate::guard::guard;
use crate::{Error, Result, TagFields, document};

use cursor::Context;
use snippets::Snippets;
use sort::{First, Place, Sorting};
use state::State;

pub(crate) use clauses::{parse, parser};
pub use paths::{parse_label, parse_tag, tag_path};
pub use request::{Counting, SearchRequest, SnippetOptions, SortBy, TagFilter};
pub use results::{FacetCount, FacetCounts, FoundDocument, SearchResults, Snippet, SortValue};
pub use state::{Reload, SearcherOptions};

/// Searches an index by text and by tag.
///
/// It searches the index as of its opening or its last [`reload`](TagSearcher::reload), unless
/// [`Reload::OnCommit`] lets it follow the commits; clones are cheap and move on together.
///
/// Where [`search`](TagSearcher::search) does not do what a service needs, the service can give Tantivy
/// the query itself and use collectors of its own:
///
/// ```no_run
/// use tantivy::collector::DocSetCollector;
/// use tantivy_autotag::{Result, SearchRequest, TagSearcher};
///
/// fn print_all(searcher: &TagSearcher, request: &SearchRequest) -> Result<()> {
///     let query = searcher.query(request)?;
///     let tantivy = searcher.searcher();
///     for address in tantivy.search(&query, &DocSetCollector).expect("a whole index") {
///         println!("{}", searcher.read(&tantivy, address)?.key);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct TagSearcher {
    state: Arc<State>,
    /// Kept as long as the searcher follows the commits.
    _watch: Option<WatchHandle>,
    parser: QueryParser,
    schema: Schema,
    fields: TagFields,
}

impl fmt::Debug for TagSearcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut searcher = formatter.debug_struct("TagSearcher");
        searcher.field("fields", &self.fields).field("n_documents", &self.n_documents());
        searcher.finish_non_exhaustive()
    }
}

impl TagSearcher {
    /// Opens an index for searching, with the default options.
    ///
    /// # Errors
    ///
    /// As [`open`](TagSearcher::open).
    pub fn new(index: &Index, fields: TagFields) -> Result<Self> {
        TagSearcher::open(index, fields, SearcherOptions::default())
    }

    /// Opens an index for searching.
    ///
    /// # Errors
    ///
    /// [`Error::FieldType`] and its like when the fields do not fit the index's schema or none of
    /// the text fields is indexed, [`Error::SegmentDamaged`] when a small file is damaged,
    /// [`Error::Tantivy`] when the index cannot be read.
    pub fn open(index: &Index, fields: TagFields, options: SearcherOptions) -> Result<Self> {
        let schema = index.schema();
        fields.check(&schema)?;
        let parser = parser(index, &fields)?;
        let state = Arc::new(State::open(index, options)?);
        let watch = match options.reload {
            Reload::Manual => None,
            Reload::OnCommit => Some(state.follow(index)?),
        };
        Ok(TagSearcher { state, _watch: watch, parser, schema, fields })
    }

    /// Moves on to the newest commit.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentDamaged`] and [`Error::Tantivy`] when the commit cannot be read; the one
    /// before it is searched then.
    pub fn reload(&self) -> Result<()> {
        self.state.reload()
    }

    /// Returns why the newest commit is not searched, where a searcher that follows the commits could
    /// not read it. It searches the one before, and tries again at the next commit.
    pub fn reload_failure(&self) -> Option<Arc<Error>> {
        self.state.failure()
    }

    /// Returns the number of documents.
    pub fn n_documents(&self) -> u64 {
        self.searcher().num_docs()
    }

    /// Returns Tantivy's searcher of the commit that is searched.
    pub fn searcher(&self) -> Searcher {
        self.state.searcher()
    }

    /// Returns the fields that autotag uses.
    pub fn fields(&self) -> &TagFields {
        &self.fields
    }

    /// Returns Tantivy's query for the documents that match a request, whatever the page.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] when the query cannot be read, [`Error::QueryTooLong`],
    /// [`Error::QueryTooDeep`] and [`Error::RequestTooLarge`] when it exceeds the limits,
    /// [`Error::NoSuggestions`] and [`Error::NoReviewFields`] when the schema lacks a field that it
    /// needs.
    pub fn query(&self, request: &SearchRequest) -> Result<Box<dyn Query>> {
        clauses::check(request)?;
        let text = clauses::text(&self.parser, &request.query)?;
        Ok(Box::new(clauses::filtered(&*text, request, &request.tags, &self.fields)?))
    }

    /// Searches.
    ///
    /// # Errors
    ///
    /// As [`query`](TagSearcher::query); [`Error::SortField`] when documents cannot be sorted by the
    /// field, [`Error::CursorDamaged`], [`Error::CursorOutdated`] and
    /// [`Error::CursorOfAnotherRequest`] when the cursor is of no use, [`Error::Evidence`] when a
    /// document's evidence does not decode, [`Error::Tantivy`] when the index cannot be read.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchResults> {
        clauses::check(request)?;
        let text = clauses::text(&self.parser, &request.query)?;
        let sorting = Sorting::new(&request.sort, &self.schema)?;
        guard("searched", || self.answer(request, &*text, &sorting))
    }

    fn answer(
        &self,
        request: &SearchRequest,
        text: &dyn Query,
        sorting: &Sorting,
    ) -> Result<SearchResults> {
        let (searcher, cursor) = self.begin(request)?;
        let query = clauses::filtered(text, request, &request.tags, &self.fields)?;
        let Page { total, places, next } = page(&searcher, &query, request, sorting, cursor)?;
        let fields = clauses::indexed_texts(&self.schema, &self.fields);
        let snippets = request.snippets.map(|o| Snippets::new(&searcher, text, &fields, o));
        let snippets = snippets.transpose()?;
        let mut documents = Vec::with_capacity(places.len());
        for place in places {
            let mut found = self.found(&searcher, place.address)?;
            found.score = sorting.score(&place);
            found.sort_value = sorting.value(&place);
            if let Some(snippets) = &snippets {
                found.snippets = snippets.of(&found.document);
            }
            documents.push(found);
        }
        let facets = self.count(&searcher, text, request, &query)?;
        Ok(SearchResults { total, documents, facets, next })
    }

    /// Returns the commit to search, which is that of the request's cursor, and the place behind which
    /// the page begins.
    fn begin(&self, request: &SearchRequest) -> Result<(Searcher, Option<Place>)> {
        let newest = self.searcher();
        let Some(cursor) = &request.cursor else { return Ok((newest, None)) };
        let outdated = match Context::new(&newest, request).read(cursor) {
            Err(outdated @ Error::CursorOutdated) => outdated,
            read => return read.map(|place| (newest, Some(place))),
        };
        let read = |searcher: Searcher| {
            let place = Context::new(&searcher, request).read(cursor).ok()?;
            Some((searcher, Some(place)))
        };
        self.state.earlier().into_iter().find_map(read).ok_or(outdated)
    }

    /// Returns a document by its key.
    ///
    /// # Errors
    ///
    /// As [`read`](TagSearcher::read).
    pub fn document(&self, key: &str) -> Result<Option<FoundDocument>> {
        let term = Term::from_field_text(self.fields.key, key);
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        let searcher = self.searcher();
        guard("looked a key up", || {
            let first = searcher.search(&query, &TopDocs::with_limit(1).order_by_score());
            let first = first.map_err(Error::tantivy("looked a key up"))?;
            first.first().map(|&(_, address)| self.found(&searcher, address)).transpose()
        })
    }

    /// Returns the document at an address of a [`searcher`](TagSearcher::searcher) of this index.
    ///
    /// An address is of use with its own searcher only: it names another document, or none, after
    /// another commit.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchAddress`], [`Error::Evidence`] when the document's evidence does not decode,
    /// [`Error::Tantivy`] when the index cannot be read.
    pub fn read(&self, searcher: &Searcher, address: DocAddress) -> Result<FoundDocument> {
        let segment = searcher.segment_readers().get(address.segment_ord as usize);
        let is_there = segment.is_some_and(|segment| {
            address.doc_id < segment.max_doc() && !segment.is_deleted(address.doc_id)
        });
        if !is_there {
            return Err(Error::NoSuchAddress { address });
        }
        guard("read a document", || self.found(searcher, address))
    }

    fn found(&self, searcher: &Searcher, address: DocAddress) -> Result<FoundDocument> {
        let document: TantivyDocument =
            searcher.doc(address).map_err(Error::tantivy("read a document"))?;
        let key = document.get_first(self.fields.key);
        let texts = self.fields.texts.iter().flat_map(|&field| {
            document::text_values(&document, field).map(|text| text.into_owned())
        });
        Ok(FoundDocument {
            key: key.and_then(|key| key.as_str()).unwrap_or_default().to_owned(),
            address,
            score: None,
            sort_value: None,
            texts: texts.collect(),
            snippets: vec![],
            tags: facets(&document, self.fields.tags),
            suggestions: self.fields.suggestions.map_or(vec![], |field| facets(&document, field)),
            evidence: self.fields.evidence_of(&document)?,
            document,
        })
    }

    /// Counts the tags below each of the request's facets; those that count the same documents do so
    /// in one pass.
    fn count(
        &self,
        searcher: &Searcher,
        text: &dyn Query,
        request: &SearchRequest,
        query: &dyn Query,
    ) -> Result<Vec<FacetCounts>> {
        let name = self.schema.get_field_name(self.fields.tags);
        let (mut together, mut apart) = (Vec::new(), Vec::new());
        for (position, root) in request.facets.iter().enumerate() {
            let tags = match request.counting {
                Counting::Conjunctive => None,
                Counting::Disjunctive => Some(request.tags.without_choices_below(root)),
            };
            match tags.filter(|tags| *tags != request.tags) {
                None => together.push((position, root)),
                Some(tags) => apart.push((position, root, tags)),
            }
        }
        let (positions, roots): (Vec<usize>, Vec<&Facet>) = together.into_iter().unzip();
        let counted = counts::count(searcher, query, name, &roots)?;
        let mut counts: BTreeMap<usize, FacetCounts> = positions.into_iter().zip(counted).collect();
        for (position, root, tags) in apart {
            let query = clauses::filtered(text, request, &tags, &self.fields)?;
            let counted = counts::count(searcher, &query, name, &[root])?;
            counts.extend(counted.into_iter().map(|counted| (position, counted)));
        }
        Ok(counts.into_values().collect())
    }
}

/// A page of documents.
struct Page {
    /// The number of documents that match, on all pages.
    total: usize,
    places: Vec<Place>,
    next: Option<String>,
}

fn page(
    searcher: &Searcher,
    query: &dyn Query,
    request: &SearchRequest,
    sorting: &Sorting,
    cursor: Option<Place>,
) -> Result<Page> {
    if request.limit == 0 {
        let total = searcher.search(query, &Count).map_err(Error::tantivy("searched"))?;
        return Ok(Page { total, places: vec![], next: None });
    }
    let end = request.offset.saturating_add(request.limit);
    // One more, to tell whether there is a next page.
    let first = First { sorting, cursor, n: end.saturating_add(1) };
    let found = searcher.search(query, &(Count, first)).map_err(Error::tantivy("searched"))?;
    let (total, mut places) = found;
    let has_more = places.len() > end;
    places.truncate(end);
    places.drain(..request.offset.min(places.len()));
    let last = places.last().filter(|_| has_more);
    let next = last.map(|last| Context::new(searcher, request).write(last));
    Ok(Page { total, places, next })
}

fn facets(document: &TantivyDocument, field: Field) -> Vec<Facet> {
    let facets = document.get_all(field);
    facets
        .filter_map(|facet| Facet::from_encoded(facet.as_facet()?.as_bytes().to_vec()).ok())
        .collect()
}

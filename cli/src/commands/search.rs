//! `autotag search`: documents by text and tag, counts of tags, and why documents have them.

mod report;

use std::path::PathBuf;

use tantivy_autotag::tantivy::query::EmptyQuery;
use tantivy_autotag::tantivy::schema::Facet;
use tantivy_autotag::{
    Counting, DocumentOrigin, Error, FoundDocument, IndexFolder, SearchRequest, SearchResults,
    SnippetOptions, SortBy, TagFilter, TagSearcher, parse_tag,
};

use crate::args::Common;
use crate::output::{self, Detail};

use report::SearchReport;

/// Search an index by text and by tag
///
/// The query is in Tantivy's language: words, "phrases", +must, -must not, AND, OR, NOT. A query
/// that is a document's key finds that document first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag search --index index --tag /role/program --facets /use --explain 'image editor'
  autotag search --index index --origin predicted --sort tag_margin")]
pub(crate) struct SearchArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// A tag that every document must have, or one below it; may be given several times
    #[arg(long, value_name = "/FACET/VALUE", value_parser = tag)]
    tag: Vec<Facet>,

    /// Tags of which every document must have at least one, or one below it; give the option several
    /// times
    #[arg(long, value_name = "/FACET/VALUE", value_parser = tag)]
    any_tag: Vec<Facet>,

    /// A tag that no document may have, nor one below it; may be given several times
    #[arg(long, value_name = "/FACET/VALUE", value_parser = tag)]
    not_tag: Vec<Facet>,

    /// A suggestion that every document must have, or one below it; may be given several times
    #[arg(long, value_name = "/FACET/VALUE", value_parser = tag)]
    suggested: Vec<Facet>,

    /// Only documents whose tags were all predicted, all given by people, or some of each, or that
    /// have none; may be given several times
    #[arg(long, value_enum, value_name = "ORIGIN")]
    origin: Vec<TagOrigin>,

    /// Count the tags right below this one among all documents that match; / counts the first level;
    /// may be given several times
    #[arg(long, value_name = "/FACET", value_parser = tag)]
    facets: Vec<Facet>,

    /// Count for each of --facets as if no --tag and --any-tag below it were given: how many documents
    /// another choice would find
    #[arg(long, requires = "facets")]
    disjunctive: bool,

    /// The order: `relevance`, or a fast field such as tag_margin (the least certain first), tag_score or
    /// tagged_at, with :desc for the largest value first
    #[arg(long, value_name = "FIELD[:asc|:desc]", default_value = "relevance")]
    sort: SortBy,

    /// Show the passages that match instead of the beginning of the text
    #[arg(long)]
    snippets: bool,

    /// The most documents that are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,

    /// The number of the best to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,

    /// Go on behind the page that ended with this cursor
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,

    /// Show each tag's score, the model's and the neighbors' part, and the neighbors that voted
    #[arg(long)]
    explain: bool,

    /// The query; all documents match where there is none
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
}

fn tag(text: &str) -> Result<Facet, String> {
    parse_tag(text).map_err(|error| error.to_string())
}

/// The origin of a document's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TagOrigin {
    Untagged,
    Predicted,
    Mixed,
    Human,
}

impl From<TagOrigin> for DocumentOrigin {
    fn from(origin: TagOrigin) -> DocumentOrigin {
        match origin {
            TagOrigin::Untagged => DocumentOrigin::Untagged,
            TagOrigin::Predicted => DocumentOrigin::Predicted,
            TagOrigin::Mixed => DocumentOrigin::Mixed,
            TagOrigin::Human => DocumentOrigin::Human,
        }
    }
}

fn request(args: &SearchArgs) -> SearchRequest {
    let (all, any, none) = (args.tag.clone(), args.any_tag.clone(), args.not_tag.clone());
    let mut request = SearchRequest::new()
        .query(args.query.join(" "))
        .tags(TagFilter::new().all(all).any(any).none(none))
        .suggestions(args.suggested.clone())
        .origins(args.origin.iter().map(|&origin| origin.into()))
        .facets(args.facets.clone())
        .sort(args.sort.clone())
        .limit(args.limit)
        .offset(args.offset);
    if args.disjunctive {
        request.counting = Counting::Disjunctive;
    }
    request.snippets = args.snippets.then(SnippetOptions::default);
    request.cursor = args.cursor.clone();
    request
}

pub(crate) fn run(args: &SearchArgs, common: &Common) -> anyhow::Result<()> {
    let searcher = IndexFolder::open(&args.index)?.searcher()?;
    let request = request(args);
    let results = search(&searcher, &request)?;
    let detail = Detail::explained(args.explain);
    output::print(common.format, &SearchReport::new(&request, results, detail))?;
    Ok(())
}

/// Searches; where the query is a document's key, that document comes first.
fn search(searcher: &TagSearcher, request: &SearchRequest) -> anyhow::Result<SearchResults> {
    let is_first_page = request.offset == 0 && request.cursor.is_none() && request.limit > 0;
    if !is_first_page || request.sort != SortBy::Relevance {
        return Ok(searcher.search(request)?);
    }
    let exact = searcher.document(&request.query)?.filter(|document| matches(document, request));
    let Some(exact) = exact else { return Ok(searcher.search(request)?) };
    let mut results = search_readable(searcher, request)?;
    match results.documents.iter().position(|document| document.key == exact.key) {
        Some(position) => results.documents[..=position].rotate_right(1),
        None => {
            // One less of the others, so that the cursor leaves none out; it needs one to stand behind.
            let n_others = (request.limit - 1).max(1);
            results = search_readable(searcher, &request.clone().limit(n_others))?;
            results.documents.insert(0, exact);
        }
    }
    results.total = results.total.max(results.documents.len());
    Ok(results)
}

/// Searches; a query that cannot be read finds nothing: a key need not be one.
fn search_readable(
    searcher: &TagSearcher,
    request: &SearchRequest,
) -> Result<SearchResults, Error> {
    match searcher.search(request) {
        Err(Error::Query { .. } | Error::QueryTooLong { .. } | Error::QueryTooDeep { .. }) => {
            searcher.search(&request.clone().query("").filter(EmptyQuery))
        }
        found => found,
    }
}

fn matches(document: &FoundDocument, request: &SearchRequest) -> bool {
    let origin = DocumentOrigin::of(document.evidence.as_ref());
    request.tags.matches(&document.tags)
        && request.suggestions.matches(&document.suggestions)
        && (request.origins.is_empty() || request.origins.contains(&origin))
}

//! `autotag search`: documents by text and tag, counts of tags, and why documents have them.

mod report;

use std::path::PathBuf;

use tantivy_autotag::tantivy::schema::Facet;
use tantivy_autotag::{
    FoundDocument, IndexFolder, SearchRequest, SearchResults, TagSearcher, parse_tag,
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
Example:
  autotag search --index index --tag /role/program --facets /use --explain 'image editor'")]
pub(crate) struct SearchArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// A tag that every document must have, or one below it; may be given several times
    #[arg(long, value_name = "/FACET/VALUE", value_parser = tag)]
    tag: Vec<Facet>,

    /// A suggestion that every document must have, or one below it; may be given several times
    #[arg(long, value_name = "/FACET/VALUE", value_parser = tag)]
    suggested: Vec<Facet>,

    /// Count the tags right below this one among all documents that match; / counts the first level
    #[arg(long, value_name = "/FACET", value_parser = tag)]
    facets: Option<Facet>,

    /// The most documents that are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,

    /// The number of the best to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,

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

pub(crate) fn run(args: &SearchArgs, common: &Common) -> anyhow::Result<()> {
    let searcher = IndexFolder::open(&args.index)?.searcher()?;
    let request = SearchRequest {
        query: args.query.join(" "),
        tags: args.tag.clone(),
        suggested: args.suggested.clone(),
        facets: args.facets.clone(),
        limit: args.limit,
        offset: args.offset,
    };
    let results = search(&searcher, &request)?;
    let detail = Detail::explained(args.explain);
    output::print(common.format, &SearchReport::new(&request, results, detail))?;
    Ok(())
}

/// Searches; where the query is a document's key, that document comes first.
fn search(searcher: &TagSearcher, request: &SearchRequest) -> anyhow::Result<SearchResults> {
    let exact = searcher.document(&request.query)?.filter(|document| has_tags(document, request));
    let Some(exact) = exact.filter(|_| request.offset == 0 && request.limit > 0) else {
        return Ok(searcher.search(request)?);
    };
    // A key need not be a query that can be read, nor stand in the text.
    let mut results = searcher.search(request).unwrap_or_else(|_| SearchResults {
        total: 0,
        documents: vec![],
        facets: vec![],
    });
    results.documents.retain(|document| document.key != exact.key);
    results.documents.insert(0, exact);
    results.documents.truncate(request.limit);
    results.total = results.total.max(results.documents.len());
    Ok(results)
}

fn has_tags(document: &FoundDocument, request: &SearchRequest) -> bool {
    let has_all = |tags: &[Facet], wanted: &[Facet]| {
        let has = |wanted: &Facet| tags.iter().any(|tag| tag == wanted || wanted.is_prefix_of(tag));
        wanted.iter().all(|wanted| wanted.is_root() || has(wanted))
    };
    has_all(&document.tags, &request.tags) && has_all(&document.suggestions, &request.suggested)
}

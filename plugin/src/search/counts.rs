//! Counts of tags, for several facets at once.

use tantivy::Searcher;
use tantivy::collector::{FacetCollector, FacetCounts as CollectedCounts, MultiCollector};
use tantivy::query::Query;
use tantivy::schema::Facet;

use super::results::{FacetCount, FacetCounts};
use crate::{Error, Result};

/// Counts the tags right below each of some tags among a query's documents, in one pass.
pub(super) fn count(
    searcher: &Searcher,
    query: &dyn Query,
    field: &str,
    roots: &[&Facet],
) -> Result<Vec<FacetCounts>> {
    if roots.is_empty() {
        return Ok(vec![]);
    }
    // One collector takes no two tags of which one is below the other.
    let mut collectors = MultiCollector::new();
    let mut handles = Vec::with_capacity(roots.len());
    for &root in roots {
        let mut collector = FacetCollector::for_field(field);
        collector.add_facet(root.clone());
        handles.push(collectors.add_collector(collector));
    }
    let mut collected =
        searcher.search(query, &collectors).map_err(Error::tantivy("counted the tags"))?;
    let counts = roots.iter().zip(handles);
    Ok(counts.map(|(root, handle)| below(root, &handle.extract(&mut collected))).collect())
}

fn below(root: &Facet, collected: &CollectedCounts) -> FacetCounts {
    let counts = collected.get(root.clone());
    let mut counts: Vec<FacetCount> =
        counts.map(|(tag, count)| FacetCount { tag: tag.clone(), count }).collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.tag.cmp(&b.tag)));
    FacetCounts { root: root.clone(), counts }
}

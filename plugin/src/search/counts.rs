//! Counts of tags, for several facets at once.
//!
//! Why not Tantivy's `FacetCollector`? Below the root it takes names that differ in their first character
//! alone for one (`/cat/a`, `/rat/b`), and it panics at two facets of which one is below the other.

use std::collections::BTreeMap;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::StrColumn;
use tantivy::query::Query;
use tantivy::schema::Facet;
use tantivy::{DocId, Score, Searcher, SegmentOrdinal, SegmentReader};

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
    let counted = searcher.search(query, &Counts { field, roots });
    let counted = counted.map_err(Error::tantivy("counted the tags"))?;
    Ok(roots.iter().zip(counted).map(|(root, counts)| sorted(root, counts)).collect())
}

fn sorted(root: &Facet, counts: BTreeMap<Facet, u64>) -> FacetCounts {
    let counts = counts.into_iter().map(|(tag, count)| FacetCount { tag, count });
    let mut counts: Vec<FacetCount> = counts.collect();
    // Equal ones stay in the order of their tags.
    counts.sort_by_key(|count| std::cmp::Reverse(count.count));
    FacetCounts { root: root.clone(), counts }
}

/// Counts the documents of each tag right below some tags.
struct Counts<'c> {
    field: &'c str,
    roots: &'c [&'c Facet],
}

/// The counts of a segment.
struct SegmentCounts {
    /// The tags of each document; `None` where no document of the segment has one.
    tags: Option<StrColumn>,
    below: Vec<Children>,
}

/// The tags right below a tag in a segment, with their counts.
#[derive(Default)]
struct Children {
    /// The ordinal of the first tag of the segment below it.
    first: u64,
    /// For each tag of the segment below it, from the first one on: the child that it is, or is below.
    child_of: Vec<usize>,
    children: Vec<Child>,
}

struct Child {
    /// Encoded.
    tag: Vec<u8>,
    count: u64,
    /// The document that was counted last: it may have several tags below the child.
    last: Option<DocId>,
}

impl Children {
    /// Lists the children of a tag among those of a segment.
    fn new(root: &Facet, tags: &StrColumn) -> tantivy::Result<Self> {
        let root = root.encoded_str().as_bytes();
        let mut below = Children::default();
        let mut stream = tags.dictionary().range().ge(root).into_stream()?;
        while stream.advance() {
            // The separator is the least of all bytes: the tags below one follow it, and each other.
            let Some(child) = child(root, stream.key()) else {
                if below.child_of.is_empty() && stream.key().starts_with(root) {
                    continue;
                }
                break;
            };
            if below.child_of.is_empty() {
                below.first = stream.term_ord();
            }
            if below.children.last().is_none_or(|last| last.tag != child) {
                below.children.push(Child { tag: child.to_owned(), count: 0, last: None });
            }
            below.child_of.push(below.children.len() - 1);
        }
        Ok(below)
    }

    fn collect(&mut self, doc: DocId, tag: u64) {
        let position = tag.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let Some(&child) = position.and_then(|at| self.child_of.get(at)) else { return };
        let Some(child) = self.children.get_mut(child) else { return };
        if child.last != Some(doc) {
            child.last = Some(doc);
            child.count += 1;
        }
    }
}

/// Returns the child of a tag that another tag is, or is below; all of them encoded.
fn child<'k>(root: &[u8], key: &'k [u8]) -> Option<&'k [u8]> {
    if !key.starts_with(root) {
        return None;
    }
    let begin = if root.is_empty() {
        0
    } else if key.get(root.len()) == Some(&SEPARATOR) {
        root.len() + 1
    } else {
        return None;
    };
    let name = key.get(begin..)?;
    let length = name.iter().position(|&byte| byte == SEPARATOR).unwrap_or(name.len());
    (length > 0).then(|| &key[..begin + length])
}

/// The byte between the names of an encoded tag.
const SEPARATOR: u8 = 0;

impl Collector for Counts<'_> {
    type Fruit = Vec<BTreeMap<Facet, u64>>;
    type Child = SegmentCounts;

    fn for_segment(
        &self,
        _: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<SegmentCounts> {
        let tags = segment.fast_fields().str(self.field)?;
        let mut below = Vec::with_capacity(self.roots.len());
        for root in self.roots {
            below.push(match &tags {
                Some(tags) => Children::new(root, tags)?,
                None => Children::default(),
            });
        }
        Ok(SegmentCounts { tags, below })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<Self::Fruit>) -> tantivy::Result<Self::Fruit> {
        let mut merged = vec![BTreeMap::new(); self.roots.len()];
        for segment in segments {
            for (merged, counts) in merged.iter_mut().zip(segment) {
                for (tag, count) in counts {
                    *merged.entry(tag).or_default() += count;
                }
            }
        }
        Ok(merged)
    }
}

impl SegmentCollector for SegmentCounts {
    type Fruit = Vec<BTreeMap<Facet, u64>>;

    fn collect(&mut self, doc: DocId, _: Score) {
        let Some(tags) = &self.tags else { return };
        for tag in tags.ords().values_for_doc(doc) {
            for below in &mut self.below {
                below.collect(doc, tag);
            }
        }
    }

    fn harvest(self) -> Self::Fruit {
        let counts = |below: Children| {
            let found = below.children.into_iter().filter(|child| child.count > 0);
            let found =
                found.filter_map(|child| Some((Facet::from_encoded(child.tag).ok()?, child.count)));
            found.collect()
        };
        self.below.into_iter().map(counts).collect()
    }
}

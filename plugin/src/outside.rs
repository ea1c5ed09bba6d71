//! Changes that another program made to the index: noticed when it is opened for tagging.
//!
//! A commit without autotag takes autotag's payload away. What the datastore keeps may be outdated
//! then: a neighbor whose document is gone must not vote. So records are compared with documents; a
//! record, which every document that autotag encoded has, tells a document's neighbor from one that
//! somebody put into the datastore himself.

use std::collections::BTreeSet;

use autotag::{DatastoreReader, Source};
use serde::{Deserialize, Serialize};
use tantivy::schema::Value;
use tantivy::{Index, SegmentReader, TantivyDocument};

use crate::commit::Payload;
use crate::guard::{guard, open_reader};
use crate::segments::SegmentChecks;
use crate::stores::Stores;
use crate::{Error, Result, TagFields, document, source};

/// The most keys that are listed.
const MAX_LISTED: usize = 100;

/// The changes that another program made to an index since autotag's last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutsideChanges {
    /// The number of documents without evidence: they came without autotag, or could not be tagged.
    /// [`TaggingWriter::retag`](crate::TaggingWriter::retag) tags them.
    pub untagged: u64,
    /// The keys of the first of them, at most 100.
    pub untagged_keys: Vec<String>,
    /// The number of documents without a key. They can be searched, but neither tagged nor
    /// replaced; of autotag's deletions only that of all documents takes them away.
    pub without_key: u64,
    /// The number of keys whose neighbor and record were removed, since their document is gone or was
    /// replaced.
    pub forgotten: u64,
}

const READ: &str = "compared the documents with their neighbors";

/// Removes what the datastore keeps of documents that another program deleted or replaced; the
/// caller commits that, where there is any.
///
/// Returns `None` where autotag made the last commit, or nobody made one.
pub(crate) fn reconcile(
    index: &Index,
    fields: &TagFields,
    checks: &SegmentChecks,
    last: &Payload,
    neighbors: &DatastoreReader,
    stores: &mut Stores,
) -> Result<Option<OutsideChanges>> {
    let metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
    if last.generation > 0 || (metas.opstamp == 0 && metas.segments.is_empty()) {
        return Ok(None);
    }
    let searcher = open_reader(index)?.searcher();
    let mut outside = OutsideChanges::default();
    let mut outdated = BTreeSet::new();
    for segment in searcher.segment_readers() {
        checks.check_stored(segment)?;
        let read = || without_evidence(segment, fields).map_err(Error::tantivy(READ));
        for key in guard(READ, read)? {
            outside.count(key.as_deref());
            outdated.extend(key);
        }
    }
    for key in neighbors.document_keys()? {
        if !source::has_document(&searcher, fields, &key)? {
            outdated.insert(key);
        }
    }
    for key in outdated {
        outside.forgotten += u64::from(forget(&key, neighbors, stores)?);
    }
    let OutsideChanges { untagged, without_key, forgotten, .. } = outside;
    tracing::warn!(untagged, without_key, forgotten, "another program changed the index");
    Ok(Some(outside))
}

impl OutsideChanges {
    fn count(&mut self, key: Option<&str>) {
        match key {
            Some(key) => {
                self.untagged += 1;
                if self.untagged_keys.len() < MAX_LISTED {
                    self.untagged_keys.push(key.to_owned());
                }
            }
            None => self.without_key += 1,
        }
    }
}

/// Returns the keys of the documents that have no evidence; `None` for one without a key.
fn without_evidence(
    segment: &SegmentReader,
    fields: &TagFields,
) -> tantivy::Result<Vec<Option<String>>> {
    let mut keys = Vec::new();
    let store = segment.get_store_reader(1)?;
    for document in store.iter::<TantivyDocument>(segment.alive_bitset()) {
        let document = document?;
        let key = document.get_first(fields.key).and_then(|key| key.as_str().map(str::to_owned));
        if key.is_none() || document.get_first(fields.evidence).is_none() {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Stages the removal of a document's neighbor and record; false where there is neither.
fn forget(key: &str, neighbors: &DatastoreReader, stores: &mut Stores) -> Result<bool> {
    // Another program's key may be one that the datastore cannot have.
    if document::check_key(key).is_err() {
        return Ok(false);
    }
    let record = neighbors.documents(&[key])?.remove(0);
    let is_neighbor = neighbors.get(key)?.is_some_and(|item| item.source == Source::Human);
    // A text that cannot be encoded has no evidence either: people's rejections stay.
    if !record.is_some_and(|record| is_neighbor || record.encoded.is_some()) {
        return Ok(false);
    }
    if is_neighbor {
        stores.datastore.delete(key)?;
    }
    stores.datastore.delete_document(key)?;
    Ok(true)
}

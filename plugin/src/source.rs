//! Reads documents of the last commit back, so that they can be written again.

use std::collections::BTreeSet;

use tantivy::collector::DocSetCollector;
use tantivy::query::Query;
use tantivy::schema::{Field, IndexRecordOption, Schema};
use tantivy::{
    DocAddress, DocId, DocSet, Searcher, SegmentReader, TERMINATED, TantivyDocument, Term,
};

use crate::guard::guard;
use crate::operation::StoredDocument;
use crate::restore::{self, FastValues};
use crate::segments::SegmentChecks;
use crate::{Error, Result, TagFields};

/// Checks that nothing is lost when a document is read back and written again.
///
/// # Errors
///
/// [`Error::NotStored`].
pub(crate) fn check_stored(schema: &Schema) -> Result<()> {
    restore::check_all(schema)
}

/// Reads the document of a key, after the checksum of its segment's store; `None` where there is
/// none.
pub(crate) fn read(
    searcher: &Searcher,
    fields: &TagFields,
    key: &str,
    checks: &SegmentChecks,
) -> Result<Option<StoredDocument>> {
    let Some(address) = look_up(searcher, fields, key)? else { return Ok(None) };
    let segment = searcher.segment_reader(address.segment_ord);
    checks.check_stored(segment)?;
    let stored: TantivyDocument =
        searcher.doc(address).map_err(Error::tantivy("read a document"))?;
    let evidence = fields.evidence_of(&stored)?.unwrap_or_default();
    let mut document = TantivyDocument::new();
    for (field, value) in stored.field_values() {
        if !fields.is_reserved(field) {
            document.add_field_value(field, value);
        }
    }
    if FastValues::are_needed(searcher.schema(), fields) {
        const RESTORED: &str = "restored a document from its fast fields";
        checks.check_fast(segment)?;
        let mut restore =
            || FastValues::open(segment, fields)?.add_to(&mut document, address.doc_id);
        guard(RESTORED, || restore().map_err(Error::tantivy(RESTORED)))?;
    }
    Ok(Some(StoredDocument { document, evidence }))
}

/// Tells whether there is a document of a key.
pub(crate) fn has_document(searcher: &Searcher, fields: &TagFields, key: &str) -> Result<bool> {
    Ok(look_up(searcher, fields, key)?.is_some())
}

fn look_up(searcher: &Searcher, fields: &TagFields, key: &str) -> Result<Option<DocAddress>> {
    const LOOKED_UP: &str = "looked a key up";
    guard(LOOKED_UP, || address(searcher, fields, key).map_err(Error::tantivy(LOOKED_UP)))
}

fn address(
    searcher: &Searcher,
    fields: &TagFields,
    key: &str,
) -> tantivy::Result<Option<DocAddress>> {
    let term = Term::from_field_text(fields.key, key);
    for (segment, reader) in (0..).zip(searcher.segment_readers()) {
        let index = reader.inverted_index(fields.key)?;
        let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic)? else {
            continue;
        };
        while postings.doc() != TERMINATED {
            if !reader.is_deleted(postings.doc()) {
                return Ok(Some(DocAddress::new(segment, postings.doc())));
            }
            postings.advance();
        }
    }
    Ok(None)
}

/// Returns the keys of a query's documents, in their order.
pub(crate) fn keys(
    searcher: &Searcher,
    fields: &TagFields,
    query: &dyn Query,
) -> Result<BTreeSet<String>> {
    const LISTED: &str = "listed the keys";
    guard(LISTED, || try_keys(searcher, fields, query).map_err(Error::tantivy(LISTED)))
}

fn try_keys(
    searcher: &Searcher,
    fields: &TagFields,
    query: &dyn Query,
) -> tantivy::Result<BTreeSet<String>> {
    let found = searcher.search(query, &DocSetCollector)?;
    let mut keys = BTreeSet::new();
    for (segment, reader) in (0u32..).zip(searcher.segment_readers()) {
        each_key(reader, fields.key, |key, id| {
            if found.contains(&DocAddress::new(segment, id)) {
                keys.insert(String::from_utf8_lossy(key).into_owned());
            }
        })?;
    }
    Ok(keys)
}

/// Hands every key of a segment and each of its documents to a function, deleted ones too.
pub(crate) fn each_key(
    segment: &SegmentReader,
    key: Field,
    mut look: impl FnMut(&[u8], DocId),
) -> tantivy::Result<()> {
    let index = segment.inverted_index(key)?;
    let mut terms = index.terms().stream()?;
    while terms.advance() {
        let info = terms.value().clone();
        let mut postings = index.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
        while postings.doc() != TERMINATED {
            look(terms.key(), postings.doc());
            postings.advance();
        }
    }
    Ok(())
}

//! Opening both stores for writing, in the state of the last commit.

use autotag::{
    Datastore, DatastoreReader, Encoder, Fingerprint, LabelVocabulary, Tagger, failpoint,
};
use tantivy::indexer::{IndexWriterOptions, UserOperation};
use tantivy::{Index, IndexWriter};

use crate::budget::Metered;
use crate::commit::{self, Payload};
use crate::error::in_use;
use crate::guard::guard;
use crate::index_options::check_tokenizers;
use crate::outside::{self, OutsideChanges};
use crate::segments::{SegmentChecks, WholeSegments, default_merge_policy};
use crate::stores::Stores;
use crate::{Corrections, Error, Result, TagFields, WriterOptions, source};

/// Checks that an index has what a writer needs: the fields, the tokenizers of its schema, and
/// the values of documents that are to be written again.
pub(super) fn check_index(
    index: &Index,
    fields: &TagFields,
    options: &WriterOptions,
) -> Result<()> {
    let schema = index.schema();
    fields.check(&schema)?;
    check_tokenizers(index)?;
    match options.corrections {
        Corrections::Required => source::check_stored(&schema),
        Corrections::Unsupported => Ok(()),
    }
}

/// Both stores, locked and in the state of the last commit.
pub(super) struct Opened {
    pub(super) stores: Stores,
    pub(super) last: Payload,
    /// The last commit's neighbors.
    pub(super) neighbors: DatastoreReader,
    pub(super) outside: Option<OutsideChanges>,
}

/// Locks both stores and brings them to the state of the last commit; labels are those of a model.
pub(super) fn open_stores(
    index: &Index,
    datastore: &Datastore,
    labels: &LabelVocabulary,
    fields: &TagFields,
    checks: &SegmentChecks,
    options: &WriterOptions,
) -> Result<Opened> {
    let encoder = datastore.encoder();
    let tantivy = open_tantivy(index, options)?;
    let mut writer = datastore.writer().map_err(in_use)?;
    // Not before both are locked: another writer may have been committing.
    let last = Payload::of(index, encoder)?.of_encoder(encoder);
    // The last writer may have died before its commit was durable.
    commit::sync(index)?;
    failpoint::reach("open::locked");
    commit::recover(&mut writer, &last)?;
    failpoint::reach("open::settled");
    // A process that was killed leaves segment files that no commit knows.
    let collected = tantivy.garbage_collect_files().wait();
    collected.map_err(Error::tantivy("removed unused files"))?;
    failpoint::reach("open::collected");
    let neighbors = datastore.reader()?;
    check_vocabulary(labels, neighbors.labels())?;
    let mut stores = Stores::new(tantivy, writer, fields.key);
    let outside = outside::reconcile(index, fields, checks, &last, &neighbors, &mut stores)?;
    let last = last.at_least(neighbors.generation());
    if outside.as_ref().is_none_or(|outside| outside.forgotten == 0) {
        return Ok(Opened { stores, last, neighbors, outside });
    }
    drop(neighbors);
    let last = commit::commit(&mut stores, &last)?.payload;
    let neighbors = datastore.reader()?;
    Ok(Opened { stores, last, neighbors, outside })
}

/// Opens Tantivy's side for writing.
pub(crate) fn open_tantivy(index: &Index, options: &WriterOptions) -> Result<IndexWriter<Metered>> {
    let writer_options = IndexWriterOptions::builder()
        .num_worker_threads(options.tantivy_threads.get())
        .memory_budget_per_thread(options.tantivy_memory)
        .num_merge_threads(1)
        .build();
    const OPENED: &str = "opened the index for writing";
    let open = || index.writer_with_options(writer_options).map_err(Error::tantivy(OPENED));
    let tantivy: IndexWriter<Metered> = guard(OPENED, open)?;
    let merge_policy = options.merge_policy.clone().unwrap_or_else(default_merge_policy);
    tantivy.set_merge_policy(Box::new(WholeSegments::new(merge_policy, index.clone())));
    // Tantivy would give the first operation the last commit's number, and a merge of what that
    // commit has would take it for part of it: its deletion would be applied before it is
    // committed, or to one of the merged segments only. This takes the number away.
    let nothing = std::iter::empty::<UserOperation<Metered>>();
    tantivy.run(nothing).map_err(Error::tantivy("opened the index for writing"))?;
    Ok(tantivy)
}

/// Checks that a tagger has an index's or a bundle's encoder.
pub(crate) fn check_encoder<E: Encoder>(tagger: &Tagger<E>, expected: Fingerprint) -> Result<()> {
    match tagger.encoder().fingerprint() {
        found if found == expected => Ok(()),
        found => Err(Error::EncoderMismatch { index: expected, tagger: found }),
    }
}

/// Checks that the ids of the model's labels mean the same in the datastore.
pub(super) fn check_vocabulary(model: &LabelVocabulary, datastore: &LabelVocabulary) -> Result<()> {
    let mut stored = datastore.first_names();
    for (id, expected) in model.names().enumerate() {
        let found = stored.next().unwrap_or_default();
        if found != expected {
            let (found, expected) = (found.to_owned(), expected.to_owned());
            return Err(Error::LabelMismatch { id, found, expected });
        }
    }
    Ok(())
}

//! Rebuilds an index's datastore from its documents: for another encoder, or after damage.

use std::path::Path;

use autotag::datastore::{SealState, check_seal};
use autotag::tagger::StageTimes;
use autotag::{
    Datastore, DatastoreReader, DatastoreWriter, DocumentRecord, Encoded, Encoder, Evidence,
    Fingerprint, LabelFate, LabelHistory, LabelId, LabelSet, LabelVocabulary, Source, Tagger,
    failpoint,
};
use serde::{Deserialize, Serialize};
use tantivy::query::AllQuery;
use tantivy::{Index, Searcher};

use crate::change::{DecidedLabels, worth_keeping};
use crate::commit::{self, Payload};
use crate::error::in_use;
use crate::folder::Locked;
use crate::guard::open_reader;
use crate::layout::own_folder;
use crate::operation::StoredDocument;
use crate::process::{as_kept, digest};
use crate::segments::SegmentChecks;
use crate::worker::EncoderHealth;
use crate::{
    BundleSource, Error, IndexFolder, JobProgress, Result, TagFields, datastores, document,
    restore, source,
};

/// The most texts, and bytes of text, that are encoded at once.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// The number of documents between two commits: an interruption costs at most so many.
const COMMIT_EVERY: usize = 5_000;

/// The outcome of rebuilding a datastore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RebuildReport {
    /// The number of documents labeled by people that vote again.
    pub labeled: u64,
    /// The number of texts that had to be encoded.
    pub encoded: u64,
    /// The keys of documents labeled by people that no longer vote: they cannot be encoded.
    pub failed: Vec<String>,
}

impl IndexFolder {
    /// Rebuilds the datastore under another name, and points the index to it.
    ///
    /// `old`, the one that is replaced, has passed its integrity check where it is given.
    pub(crate) fn replace_datastore<E: Encoder>(
        &mut self,
        locked: &Locked,
        name: &str,
        tagger: &Tagger<E>,
        bundle: &BundleSource<'_>,
        old: Option<&Datastore>,
        progress: impl FnMut(JobProgress),
    ) -> Result<RebuildReport> {
        let (index, fields) = self.index_in(&locked.directory)?;
        restore::check_texts(&index.schema(), &fields)?;
        let reader = open_reader(&index)?;
        // A damaged payload is met in repairs only, which commit nothing before they are done.
        let generation = Payload::of(&index, self.encoder()).map_or(0, |last| last.generation);
        let begun = format!("{generation} {}", bundle.fingerprint);
        let own = own_folder(&self.path);
        let new = own.join(name);
        let encoder = tagger.encoder().fingerprint();
        let goes_on = datastores::is_begun_as(&new, &begun) && !is_damaged(&new, &encoder);
        if new.exists() && !goes_on {
            datastores::remove_or_set_aside(&own, &new, &self.description)?;
        }
        datastores::begin(&new, &begun)?;
        if let Err(autotag::Error::NoDatastore { .. }) = Datastore::open(&new, &encoder) {
            bundle.neighbors.write_to(&new)?;
        }
        let datastore = Datastore::open(&new, &encoder)?;
        let rebuild = Rebuild {
            searcher: reader.searcher(),
            fields,
            tagger,
            health: EncoderHealth::default(),
            checks: SegmentChecks::new(index),
            is_same_encoder: old.is_some_and(|old| old.encoder() == encoder),
            known: datastore.reader()?,
            writer: datastore.writer()?,
            old: old.map(Datastore::reader).transpose()?,
            pending: Vec::new(),
            pending_bytes: 0,
            report: RebuildReport::default(),
        };
        let report = rebuild.run(progress)?;
        drop(datastore);
        datastores::sync(&new)?;
        failpoint::reach("migrate::rebuilt");
        self.description = self.description.with_datastore(name).with_bundle(bundle);
        self.publish()?;
        failpoint::reach("migrate::published");
        datastores::finish(&new)?;
        Ok(report)
    }

    /// Opens the datastore and completes the last commit; `None` where it is damaged.
    ///
    /// The index must be locked for writing.
    pub(crate) fn recovered_datastore(&self, index: &Index) -> Result<Option<Datastore>> {
        if !matches!(check_seal(&self.datastore_path()), Ok(SealState::Whole | SealState::Unsealed))
        {
            return Ok(None);
        }
        let recover = || -> Result<Option<Datastore>> {
            let datastore =
                Datastore::open(&self.datastore_path(), &self.encoder()).map_err(in_use)?;
            let last = Payload::of(index, self.encoder())?;
            commit::recover(&mut datastore.writer().map_err(in_use)?, &last)?;
            let is_whole = datastore.verify()?.problems.is_empty();
            Ok(is_whole.then_some(datastore))
        };
        match recover() {
            Err(
                Error::Datastore(
                    autotag::Error::DatastoreDamaged { .. } | autotag::Error::NoDatastore { .. },
                )
                | Error::CommitChanged,
            ) => Ok(None),
            recovered => recovered,
        }
    }
}

fn is_damaged(datastore: &Path, encoder: &Fingerprint) -> bool {
    let opened = Datastore::open(datastore, encoder);
    matches!(opened, Err(autotag::Error::DatastoreDamaged { .. }))
}

/// A document to be encoded and put.
struct Pending {
    key: String,
    text: String,
    labels: DecidedLabels,
    record: DocumentRecord,
}

/// The work of filling a new datastore, or of resuming an interrupted attempt.
struct Rebuild<'t, E> {
    searcher: Searcher,
    fields: TagFields,
    tagger: &'t Tagger<E>,
    health: EncoderHealth,
    checks: SegmentChecks,
    is_same_encoder: bool,
    /// The commits of an interrupted attempt.
    known: DatastoreReader,
    writer: DatastoreWriter,
    /// The datastore that is replaced, where it can be read.
    old: Option<DatastoreReader>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    report: RebuildReport,
}

impl<E: Encoder> Rebuild<'_, E> {
    fn run(mut self, mut progress: impl FnMut(JobProgress)) -> Result<RebuildReport> {
        if let Some(old) = &self.old {
            self.writer.change_labels(|labels| carry_labels(old.labels(), labels))?;
        }
        let keys = source::keys(&self.searcher, &self.fields, &AllQuery)?;
        let total = keys.len();
        for (done, key) in (1..).zip(keys) {
            self.take(key)?;
            if done % COMMIT_EVERY == 0 {
                self.flush()?;
                self.writer.commit()?;
            }
            progress(JobProgress { done, total });
        }
        self.flush()?;
        self.writer.commit()?;
        Ok(self.report)
    }

    /// Takes up a document, where there is something to keep of it.
    fn take(&mut self, key: String) -> Result<()> {
        let is_done = self.known.get(&key)?.is_some_and(|item| item.source == Source::Human)
            || self.known.documents(&[&key])?[0].is_some();
        if is_done {
            return Ok(());
        }
        let found = source::read(&self.searcher, &self.fields, &key, &self.checks)?;
        let Some(committed) = found else { return Ok(()) };
        let labels = self.labels_of(&key, &committed)?;
        let record = match &self.old {
            Some(old) => old.documents(&[&key])?.remove(0),
            None => None,
        };
        let rejected = self.rejected(record.as_ref(), &committed.evidence);
        let text = document::text(&committed.document, &self.fields).into_owned();
        let content = digest(&text);
        let review = record.as_ref().map_or(committed.evidence.review, |record| record.review);
        let encoded = record.filter(|record| self.is_same_encoder && record.content == content);
        let encoded = encoded.and_then(|record| record.encoded);
        let record = DocumentRecord { content, review, rejected, encoded };
        match labels {
            Some(labels) => {
                self.pending_bytes += text.len();
                self.pending.push(Pending { key, text, labels, record });
                if self.pending.len() >= BATCH || self.pending_bytes >= BATCH_BYTES {
                    self.flush()?;
                }
            }
            None => {
                if let Some(record) = worth_keeping(record) {
                    self.writer.put_document(&key, record)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the labels that people decided; `None` where the document was tagged.
    fn labels_of(&self, key: &str, committed: &StoredDocument) -> Result<Option<DecidedLabels>> {
        if let Some(old) = &self.old
            && let Some(item) = old.get(key)?.filter(|item| item.source == Source::Human)
        {
            let names = |labels| document::label_names(labels, old.labels());
            let (given, undecided) = (names(&item.labels), names(&item.undecided));
            return Ok(Some(DecidedLabels { given, undecided }));
        }
        let evidence = &committed.evidence;
        let is_decided = !evidence.given().is_empty() || !evidence.review.is_none();
        Ok((is_decided && !evidence.not_voting).then(|| DecidedLabels::of(evidence)))
    }

    /// Returns the new ids of rejected labels: those of the old record and those of the document.
    fn rejected(&self, record: Option<&DocumentRecord>, evidence: &Evidence) -> LabelSet {
        let old = self.old.as_ref().zip(record);
        let recorded = old.iter().flat_map(|(old, record)| {
            record.rejected.ids().iter().map(|&label| old.labels().name(label))
        });
        let told = evidence.rejected.iter().map(String::as_str);
        recorded.chain(told).filter_map(|name| self.writer.labels().id(name)).collect()
    }

    /// Encodes the pending documents and puts them.
    fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let is_new = |pending: &&Pending| pending.record.encoded.is_none();
        let texts: Vec<&str> =
            pending.iter().filter(is_new).map(|pending| pending.text.as_str()).collect();
        let answers = self.tagger.encode(&texts, &mut StageTimes::default());
        // Else a lost device would make every document one that does not vote.
        self.health.record(&answers)?;
        self.report.encoded += texts.len() as u64;
        let mut answers = answers.outcomes();
        for Pending { key, labels, mut record, .. } in pending {
            if record.encoded.is_none() {
                let answer = answers.next().expect("every text has an answer");
                record.encoded = answer.ok().map(as_kept);
            }
            let Some(Encoded { embedding, .. }) = &record.encoded else {
                // It does not vote, but stays corrected.
                if let Some(record) = worth_keeping(record) {
                    self.writer.put_document(&key, record)?;
                }
                self.report.failed.push(key);
                continue;
            };
            labels.put(&mut self.writer, &key, embedding)?;
            self.writer.put_document(&key, record)?;
            self.report.labeled += 1;
        }
        Ok(())
    }
}

/// Gives labels the names and fates that they have in another vocabulary; those that are missing
/// are appended.
fn carry_labels(from: &LabelVocabulary, to: &mut LabelVocabulary) -> autotag::Result<()> {
    let all: Vec<LabelHistory> =
        (0..from.len() as u32).map(|id| from.history(LabelId(id))).collect();
    let mut ids = Vec::with_capacity(all.len());
    for label in &all {
        let known = label.former.iter().chain([&label.name]).find_map(|name| to.id(name));
        let id = match known {
            Some(id) => id,
            None => to.insert(label.former.first().unwrap_or(&label.name))?,
        };
        for name in label.former.iter().skip(1).chain([&label.name]) {
            if to.fate(id) == LabelFate::Active && to.id(name).is_none_or(|other| other == id) {
                to.rename(id, name)?;
            }
        }
        ids.push(id);
    }
    let is_active = |labels: &LabelVocabulary, id| labels.fate(id) == LabelFate::Active;
    for (position, label) in (0..).zip(&all) {
        if label.fate == LabelFate::Active {
            continue;
        }
        let id = ids[position as usize];
        let target = from.resolve(LabelId(position)).map(|target| ids[target.index()]);
        match target {
            _ if !is_active(to, id) => {}
            Some(target) if target != id && is_active(to, target) => to.merge(id, target)?,
            Some(_) => {}
            None => to.retire(id)?,
        }
    }
    Ok(())
}

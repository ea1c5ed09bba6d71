//! Making an index's datastore anew from its documents: for another encoder, or after damage.

use std::path::Path;

use autotag::tagger::StageTimes;
use autotag::{
    Datastore, DatastoreReader, DatastoreWriter, DocumentRecord, Encoded, Encoder, LabelFate,
    LabelHistory, LabelId, LabelSet, LabelVocabulary, Source, Tagger,
};
use tantivy::Searcher;
use tantivy::query::AllQuery;

use crate::operation::StoredDocument;
use crate::segments::SegmentChecks;
use crate::worker::{digest, sparsified};
use crate::{JobProgress, Origin, Result, TagFields, document, source};

/// So many texts, or bytes of them, are encoded at once.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;

/// After so many documents what was done is committed, so that it need not be done again.
const COMMIT_EVERY: usize = 5_000;

/// What a datastore is made of.
pub(crate) struct Sources<'s, E> {
    pub(crate) searcher: &'s Searcher,
    pub(crate) fields: &'s TagFields,
    pub(crate) tagger: &'s Tagger<E>,
    /// The training set of the tagger's bundle.
    pub(crate) seed: &'s Datastore,
    /// The datastore that is replaced, where it can be read.
    pub(crate) old: Option<&'s Datastore>,
}

/// What making a datastore anew did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Documents labelled by people that vote again.
    pub labeled: u64,
    /// Texts that had to be encoded.
    pub encoded: u64,
    /// The keys of documents labelled by people that vote no more: they cannot be encoded.
    pub failed: Vec<String>,
}

/// A document to be encoded and put.
struct Pending {
    key: String,
    text: String,
    /// What people said of it.
    labels: Vec<String>,
    record: DocumentRecord,
}

/// Makes a datastore in a folder, or goes on where making it was interrupted.
pub(crate) fn rebuild<E: Encoder>(
    sources: &Sources<'_, E>,
    folder: &Path,
    mut progress: impl FnMut(JobProgress),
) -> Result<RebuildReport> {
    let encoder = sources.tagger.encoder().fingerprint();
    if let Err(autotag::Error::NoDatastore { .. }) = Datastore::open(folder, &encoder) {
        sources.seed.copy_to(folder)?;
    }
    let datastore = Datastore::open(folder, &encoder)?;
    let old = sources.old.map(Datastore::reader).transpose()?;
    let mut rebuild = Rebuild {
        sources,
        checks: SegmentChecks::new(sources.searcher.index().clone()),
        is_same_encoder: sources.old.is_some_and(|old| old.encoder() == encoder),
        known: datastore.reader()?,
        writer: datastore.writer()?,
        old,
        pending: Vec::new(),
        pending_bytes: 0,
        rebuilt: RebuildReport::default(),
    };
    rebuild.carry_labels()?;
    let keys = source::keys(sources.searcher, sources.fields, &AllQuery)?;
    let total = keys.len();
    for (done, key) in (1..).zip(keys) {
        rebuild.take(key)?;
        if done % COMMIT_EVERY == 0 {
            rebuild.flush()?;
            rebuild.writer.commit()?;
        }
        progress(JobProgress { done, total });
    }
    rebuild.flush()?;
    rebuild.writer.commit()?;
    Ok(rebuild.rebuilt)
}

struct Rebuild<'s, E> {
    sources: &'s Sources<'s, E>,
    checks: SegmentChecks,
    is_same_encoder: bool,
    /// What an interrupted attempt had committed.
    known: DatastoreReader,
    writer: DatastoreWriter,
    old: Option<DatastoreReader>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    rebuilt: RebuildReport,
}

impl<E: Encoder> Rebuild<'_, E> {
    /// Gives the labels the names and fates that they have.
    fn carry_labels(&mut self) -> Result<()> {
        let Some(old) = &self.old else { return Ok(()) };
        let old = old.labels();
        self.writer.change_labels(|labels| carry_labels(old, labels))?;
        Ok(())
    }

    /// Takes a document up, where there is something to keep of it.
    fn take(&mut self, key: String) -> Result<()> {
        let is_done = self.known.get(&key)?.is_some_and(|item| item.source == Source::Human)
            || self.known.documents(&[&key])?[0].is_some();
        let Sources { searcher, fields, .. } = self.sources;
        let read = || source::read(searcher, fields, &key, 0, &self.checks);
        let found = if is_done { None } else { read()? };
        let Some(committed) = found else { return Ok(()) };
        let labels = self.labels_of(&key, &committed)?;
        let record = match &self.old {
            Some(old) => old.documents(&[&key])?.remove(0),
            None => None,
        };
        let rejected = self.rejected(record.as_ref());
        let text = document::text(&committed.document, fields).into_owned();
        let content = digest(&text);
        let is_corrected = record.as_ref().is_some_and(|record| record.is_corrected);
        let encoded = record.filter(|record| self.is_same_encoder && record.content == content);
        let encoded = encoded.and_then(|record| record.encoded);
        let record = DocumentRecord { content, is_corrected, rejected, encoded };
        match labels {
            Some(labels) => {
                self.pending_bytes += text.len();
                self.pending.push(Pending { key, text, labels, record });
                if self.pending.len() >= BATCH || self.pending_bytes >= BATCH_BYTES {
                    self.flush()?;
                }
            }
            None if record.encoded.is_some()
                || record.is_corrected
                || !record.rejected.is_empty() =>
            {
                self.writer.put_document(&key, record)?;
            }
            None => {}
        }
        Ok(())
    }

    /// Returns the labels that people gave a document; `None` where it was tagged.
    fn labels_of(&self, key: &str, committed: &StoredDocument) -> Result<Option<Vec<String>>> {
        if let Some(old) = &self.old
            && let Some(item) = old.get(key)?.filter(|item| item.source == Source::Human)
        {
            let name = |&label: &LabelId| old.labels().name(label).to_owned();
            return Ok(Some(item.labels.ids().iter().map(name).collect()));
        }
        let given = committed.evidence.tags.iter().filter(|tag| tag.origin == Origin::Human);
        let labels: Vec<String> = given.map(|tag| tag.label.clone()).collect();
        Ok((!labels.is_empty() && !committed.evidence.silent).then_some(labels))
    }

    /// Returns the ids that rejected labels have now.
    fn rejected(&self, record: Option<&DocumentRecord>) -> LabelSet {
        let (Some(old), Some(record)) = (&self.old, record) else { return LabelSet::default() };
        let names = record.rejected.ids().iter().map(|&label| old.labels().name(label));
        names.filter_map(|name| self.writer.labels().id(name)).collect()
    }

    /// Encodes what is pending and puts it.
    fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let is_new = |pending: &&Pending| pending.record.encoded.is_none();
        let texts: Vec<&str> =
            pending.iter().filter(is_new).map(|pending| pending.text.as_str()).collect();
        let answers = self.sources.tagger.encode(&texts, &mut StageTimes::default());
        self.rebuilt.encoded += texts.len() as u64;
        let mut answers = answers.outcomes();
        for Pending { key, labels, mut record, .. } in pending {
            if record.encoded.is_none() {
                let answer = answers.next().expect("every text has an answer");
                record.encoded = answer.ok().map(sparsified);
            }
            let Some(Encoded { embedding, .. }) = &record.encoded else {
                self.rebuilt.failed.push(key);
                continue;
            };
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            self.writer.put(&key, embedding, &labels, Source::Human)?;
            self.writer.put_document(&key, record)?;
            self.rebuilt.labeled += 1;
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

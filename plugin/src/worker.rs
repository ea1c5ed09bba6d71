//! What the tagging threads do with a chunk of operations.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use autotag::tagger::StageTimes;
use autotag::{
    DatastoreReader, DocumentRecord, EncodeError, Encoded, Encoder, LabelId, LabelSet, Tagger,
    Tagging,
};
use sha2::{Digest, Sha256};
use tantivy::{Searcher, TantivyDocument};

use crate::budget::{Metered, Permit};
use crate::change::{Change, Content, Kept, NewNeighbor, Processed};
use crate::ledger::Tally;
use crate::operation::{Action, Chunk, Corrected, LabelSource, Operation, StoredDocument};
use crate::segments::SegmentChecks;
use crate::{Evidence, FailedDocument, OnFailure, Result, TagFields, document, source};

/// What tagging needs; shared by the threads.
pub(crate) struct Worker<E> {
    tagger: RwLock<Tagger<E>>,
    /// Tags the documents of the last job, where that was begun with settings of its own.
    job_tagger: RwLock<Option<Tagger<E>>>,
    pub(crate) fields: TagFields,
    pub(crate) checks: SegmentChecks,
    on_failure: OnFailure,
}

/// What is known of an operation's text.
struct Text {
    content: [u8; 16],
    /// What is kept of the document that the last commit has under the key.
    record: Option<DocumentRecord>,
    encoded: Result<Encoded, EncodeError>,
    /// Absent where people gave the labels.
    tagging: Option<Tagging>,
}

/// Model scores below count as 0, so that those kept of a document take little room.
const LEAST_SCORE: f32 = 1.0 / 4096.0;

const ONE_EACH: &str = "every document has an answer";

impl<E: Encoder> Worker<E> {
    pub(crate) fn new(
        tagger: Tagger<E>,
        fields: TagFields,
        checks: SegmentChecks,
        on_failure: OnFailure,
    ) -> Self {
        let (tagger, job_tagger) = (RwLock::new(tagger), RwLock::default());
        Worker { tagger, job_tagger, fields, checks, on_failure }
    }

    /// Returns the tagger that is in use.
    pub(crate) fn tagger(&self) -> Tagger<E> {
        self.tagger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses another tagger from the next chunk on.
    pub(crate) fn set_tagger(&self, tagger: Tagger<E>) {
        *self.tagger.write().unwrap_or_else(PoisonError::into_inner) = tagger;
    }

    /// Uses a tagger of its own for the documents of a job; the usual one where there is none.
    pub(crate) fn set_job_tagger(&self, tagger: Option<Tagger<E>>) {
        *self.job_tagger.write().unwrap_or_else(PoisonError::into_inner) = tagger;
    }

    fn job_tagger(&self) -> Option<Tagger<E>> {
        self.job_tagger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tags a chunk's documents, in their order.
    ///
    /// # Errors
    ///
    /// When the datastore cannot be read. A document that cannot be tagged is dealt with as the
    /// policy says.
    pub(crate) fn process(&self, mut chunk: Chunk) -> Result<Processed> {
        let mut tally = Tally::default();
        let mut texts = self.texts(&mut chunk, &mut tally)?.into_iter();
        let started = Instant::now();
        let neighbors = &chunk.neighbors;
        let mut changes = Vec::with_capacity(chunk.operations.len());
        for Operation { key, action, permit } in chunk.operations {
            let text = action.has_text().then(|| texts.next().expect(ONE_EACH));
            let had_neighbor = neighbors.get(&key)?.is_some();
            let content = self.content(&key, action, text, permit, neighbors, &mut tally)?;
            if let Some(content) = content {
                changes.push(Change { key, had_neighbor, content });
            }
        }
        tally.times.neighbors += started.elapsed();
        Ok(Processed { changes, tally })
    }

    /// Decides what an operation's key has from now on; `None` where it keeps what it has.
    fn content(
        &self,
        key: &str,
        action: Action,
        text: Option<Text>,
        permit: Permit,
        neighbors: &DatastoreReader,
        tally: &mut Tally,
    ) -> Result<Option<Content>> {
        let kept = match (action, text) {
            (Action::Delete, _) => {
                tally.deleted += 1;
                return Ok(Some(Content::Nothing(permit)));
            }
            (Action::Rewrite(committed, evidence), _) => {
                tally.retagged.add(&committed.evidence, &evidence);
                let mut document = committed.document;
                document::attach(&mut document, &self.fields, &evidence);
                return Ok(Some(Content::Rewritten(Metered::new(document, permit))));
            }
            (Action::Tag(document), Some(text)) => {
                self.tagged(key, document, text, neighbors, tally)?
            }
            (Action::Retag(committed), Some(text)) => {
                self.retagged(key, committed, text, neighbors, tally)?
            }
            (Action::Label(document, labels), Some(text)) => {
                let labels = resolved(labels, neighbors);
                let given = Corrected { labels, ..Corrected::default() };
                self.labeled(key, document, text, given, neighbors, tally)
            }
            (Action::Correct(committed, corrected), Some(text)) => {
                self.labeled(key, committed.document, text, corrected, neighbors, tally)
            }
            (_, None) => unreachable!("`Action::has_text` says which operations have one"),
        };
        Ok(kept.map(|kept| Content::Document(Metered::new(kept.document, permit), kept.rest)))
    }

    /// Estimates what one text takes until it is applied: its representation and its scores.
    pub(crate) fn bytes_of_text(&self) -> usize {
        let tagger = self.tagger.read().unwrap_or_else(PoisonError::into_inner);
        let encoder = tagger.encoder();
        // Once as it was encoded, and once as the datastore is to keep it.
        2 * size_of::<f32>() * (encoder.dimensions() + encoder.labels().len())
    }

    /// Encodes the texts that are not known yet, all together, and tags those without labels.
    fn texts(&self, chunk: &mut Chunk, tally: &mut Tally) -> Result<Vec<Text>> {
        let neighbors = &chunk.neighbors;
        let with_text: Vec<&mut Operation> =
            chunk.operations.iter_mut().filter(|operation| operation.action.has_text()).collect();
        let keys: Vec<&str> = with_text.iter().map(|operation| operation.key.as_str()).collect();
        let records = neighbors.documents(&keys)?;

        let mut all: Vec<Cow<'_, str>> = Vec::with_capacity(with_text.len());
        for operation in &with_text {
            all.push(document::text(document_of(&operation.action), &self.fields));
        }
        let contents: Vec<[u8; 16]> = all.iter().map(|text| digest(text)).collect();
        let is_known = |position: usize| {
            let record: &Option<DocumentRecord> = &records[position];
            record.as_ref().is_some_and(|record| {
                record.content == contents[position] && record.encoded.is_some()
            })
        };
        let unknown: Vec<&str> =
            (0..all.len()).filter(|&p| !is_known(p)).map(|p| all[p].as_ref()).collect();
        tally.encoded += unknown.len() as u64;
        tally.reused += (all.len() - unknown.len()) as u64;
        let tagger = self.tagger();
        let mut times = StageTimes::default();
        let answers = tagger.encode(&unknown, &mut times);
        let mut answers = answers.outcomes();
        (tally.times.tokenize, tally.times.encode) = (times.tokenize, times.encode);

        let known: Vec<bool> = (0..all.len()).map(is_known).collect();
        drop(all);
        let mut texts = Vec::with_capacity(contents.len());
        for ((content, record), is_known) in contents.into_iter().zip(records).zip(known) {
            let encoded = match &record {
                Some(DocumentRecord { encoded: Some(encoded), .. }) if is_known => {
                    Ok(encoded.clone())
                }
                _ => answers.next().expect(ONE_EACH).map(sparsified),
            };
            texts.push(Text { content, record, encoded, tagging: None });
        }
        for (operation, text) in with_text.into_iter().zip(&texts) {
            self.keep_correction(operation, text, neighbors, &chunk.searcher)?;
        }
        self.tag(&tagger, chunk, &mut texts, Action::is_tagged, tally)?;
        let tagger = self.job_tagger().unwrap_or(tagger);
        self.tag(&tagger, chunk, &mut texts, Action::is_tagged_again, tally)?;
        Ok(texts)
    }

    /// Tags the texts whose documents have no labels of their own, where the tagger is to.
    fn tag(
        &self,
        tagger: &Tagger<E>,
        chunk: &Chunk,
        texts: &mut [Text],
        is_meant: impl Fn(&Action) -> bool,
        tally: &mut Tally,
    ) -> Result<()> {
        let started = Instant::now();
        let with_text = chunk.operations.iter().filter(|operation| operation.action.has_text());
        let (mut untagged, mut earlier) = (Vec::new(), Vec::new());
        for (position, operation) in with_text.enumerate() {
            if is_meant(&operation.action) && texts[position].encoded.is_ok() {
                earlier.push(chunk.neighbors.get(&operation.key)?.map(|item| item.item));
                untagged.push(position);
            }
        }
        let encoded = untagged.iter().filter_map(|&position| texts[position].encoded.as_ref().ok());
        let encoded: Vec<&Encoded> = encoded.collect();
        let taggings = tagger.tag_encoded(&encoded, &earlier, &chunk.neighbors)?;
        let labels = chunk.neighbors.labels();
        for (position, mut tagging) in untagged.into_iter().zip(taggings) {
            let text = &mut texts[position];
            if let Some(record) = &text.record {
                let rejected = labels.resolve_set(&record.rejected);
                tagging.tags.retain(|tag| !rejected.contains(tag.label));
                tagging.suggestions.retain(|tag| !rejected.contains(tag.label));
            }
            text.tagging = Some(tagging);
        }
        tally.times.neighbors += started.elapsed();
        Ok(())
    }

    /// Lets a document that a person corrected keep the labels given when it comes again, with
    /// whatever text.
    ///
    /// Why? Whoever feeds documents does not know of the correction.
    fn keep_correction(
        &self,
        operation: &mut Operation,
        text: &Text,
        neighbors: &DatastoreReader,
        searcher: &Searcher,
    ) -> Result<()> {
        let Some(record) = text.record.as_ref().filter(|record| record.is_corrected) else {
            return Ok(());
        };
        let Action::Tag(document) = &mut operation.action else { return Ok(()) };
        let (key, vocabulary) = (&operation.key, neighbors.labels());
        let generation = neighbors.generation();
        let labels: Vec<String> = match neighbors.get(key)? {
            Some(item) => {
                item.labels.ids().iter().map(|&label| vocabulary.name(label).to_owned()).collect()
            }
            // A text that cannot be encoded has no neighbor: only the document has the labels.
            None => match source::read(searcher, &self.fields, key, generation, &self.checks)? {
                Some(committed) => resolved(committed.evidence.given(), neighbors),
                None => return Ok(()),
            },
        };
        let rejected = record.rejected.clone();
        if labels.is_empty() && record.content != text.content {
            // Nothing was given, and what was rejected stays so: the new text is tagged.
            return Ok(());
        }
        let corrected = Corrected { labels, rejected, source: LabelSource::Earlier };
        let document = std::mem::take(document);
        let committed = StoredDocument { document, evidence: Evidence::default(), generation };
        operation.action = Action::Correct(committed, corrected);
        Ok(())
    }

    fn tagged(
        &self,
        key: &str,
        mut document: TantivyDocument,
        text: Text,
        neighbors: &DatastoreReader,
        tally: &mut Tally,
    ) -> Result<Option<NewDocument>> {
        let evidence = match predicted(&text, neighbors)? {
            Ok(evidence) => evidence,
            Err(cause) => {
                tally.failures.push(FailedDocument { key: key.to_owned(), cause });
                let is_kept = self.on_failure == OnFailure::IndexUntagged;
                let record = text.into_record(LabelSet::default());
                let rest = Kept { neighbor: None, record: said_by_people(record) };
                return Ok(is_kept.then_some(NewDocument { document, rest }));
            }
        };
        tally.tagged += 1;
        document::attach(&mut document, &self.fields, &evidence);
        let rest = Kept { neighbor: None, record: Some(text.into_record(LabelSet::default())) };
        Ok(Some(NewDocument { document, rest }))
    }

    /// Tags a document again; one whose tags and evidence stay as they were is not written again.
    fn retagged(
        &self,
        key: &str,
        committed: StoredDocument,
        text: Text,
        neighbors: &DatastoreReader,
        tally: &mut Tally,
    ) -> Result<Option<NewDocument>> {
        let evidence = match predicted(&text, neighbors)? {
            Ok(evidence) => evidence,
            Err(cause) => {
                tally.failures.push(FailedDocument { key: key.to_owned(), cause });
                return Ok(None);
            }
        };
        tally.retagged.add(&committed.evidence, &evidence);
        let is_recorded = text.record.as_ref().is_some_and(|r| r.content == text.content);
        if evidence == committed.evidence && is_recorded {
            return Ok(None);
        }
        let mut document = committed.document;
        document::attach(&mut document, &self.fields, &evidence);
        let rest = Kept { neighbor: None, record: Some(text.into_record(LabelSet::default())) };
        Ok(Some(NewDocument { document, rest }))
    }

    fn labeled(
        &self,
        key: &str,
        mut document: TantivyDocument,
        text: Text,
        given: Corrected,
        neighbors: &DatastoreReader,
        tally: &mut Tally,
    ) -> Option<NewDocument> {
        let Corrected { labels, rejected, source } = given;
        let failure = text.encoded.as_ref().err().cloned();
        let mut evidence = Evidence::human(&labels);
        evidence.silent = failure.is_some();
        document::attach(&mut document, &self.fields, &evidence);
        let mut record = text.into_record(rejected);
        record.rejected = not_given(&record.rejected, &labels, neighbors);
        record.is_corrected = source != LabelSource::Document;
        if let Some(Encoded { embedding, .. }) = &record.encoded {
            tally.labeled += 1;
            let neighbor = Some(NewNeighbor { embedding: embedding.clone(), labels });
            return Some(NewDocument { document, rest: Kept { neighbor, record: Some(record) } });
        }
        let cause = failure.expect("what is not encoded has failed");
        tally.failures.push(FailedDocument { key: key.to_owned(), cause });
        // What a person says of a document that is there already must not be lost.
        let is_kept = self.on_failure == OnFailure::IndexUntagged || source == LabelSource::Person;
        let rest = Kept { neighbor: None, record: said_by_people(record) };
        is_kept.then_some(NewDocument { document, rest })
    }
}

/// Returns the rejected labels that were not given, nor what stands for them now.
fn not_given(rejected: &LabelSet, given: &[String], neighbors: &DatastoreReader) -> LabelSet {
    let vocabulary = neighbors.labels();
    let given: LabelSet = given.iter().filter_map(|name| vocabulary.id(name)).collect();
    let is_given = |&label: &LabelId| {
        given.contains(label)
            || vocabulary.resolve(label).is_some_and(|label| given.contains(label))
    };
    rejected.ids().iter().copied().filter(|label| !is_given(label)).collect()
}

/// Returns the record of a document that cannot be encoded, where it holds what people said.
fn said_by_people(record: DocumentRecord) -> Option<DocumentRecord> {
    (record.is_corrected || !record.rejected.is_empty()).then_some(record)
}

/// A document that is to be indexed, and what the datastore keeps of it.
struct NewDocument {
    document: TantivyDocument,
    rest: Kept,
}

impl Text {
    /// Returns what is kept of the document; what people rejected before stays rejected.
    fn into_record(self, rejected: LabelSet) -> DocumentRecord {
        let before = self.record.map(|record| record.rejected).unwrap_or_default();
        let rejected = rejected.ids().iter().chain(before.ids()).copied().collect();
        let encoded = self.encoded.ok();
        DocumentRecord { content: self.content, is_corrected: false, rejected, encoded }
    }
}

fn document_of(action: &Action) -> &TantivyDocument {
    match action {
        Action::Tag(document) | Action::Label(document, _) => document,
        Action::Correct(committed, _)
        | Action::Retag(committed)
        | Action::Rewrite(committed, _) => &committed.document,
        Action::Delete => unreachable!("a deletion has no text"),
    }
}

/// Returns the names of the labels that stand for those given; retired ones are left out.
fn resolved(labels: Vec<String>, neighbors: &DatastoreReader) -> Vec<String> {
    if !neighbors.labels().is_changed() {
        return labels;
    }
    let mut names: Vec<String> = Vec::with_capacity(labels.len());
    for label in &labels {
        let name = neighbors.labels().resolve_name(label);
        if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Leaves out the model's scores that are too low to matter.
pub(crate) fn sparsified(encoded: Encoded) -> Encoded {
    let scores = encoded.scores.map(|scores| scores.sparsified(LEAST_SCORE));
    Encoded { scores, ..encoded }
}

/// Returns the beginning of a text's SHA-256 digest.
pub(crate) fn digest(text: &str) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    *digest.first_chunk().expect("32 bytes begin with 16")
}

fn predicted(text: &Text, neighbors: &DatastoreReader) -> Result<Result<Evidence, EncodeError>> {
    match (&text.encoded, &text.tagging) {
        (Ok(_), Some(tagging)) => Evidence::predicted(tagging, neighbors).map(Ok),
        (Ok(_), None) => unreachable!("what is encoded and has no labels is tagged"),
        (Err(cause), _) => Ok(Err(cause.clone())),
    }
}

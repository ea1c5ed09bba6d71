//! A chunk's way through the tagger, to the change of each key.

use std::borrow::Cow;
use std::time::Instant;

use autotag::tagger::StageTimes;
use autotag::{
    DatastoreReader, DocumentRecord, EncodeError, Encoded, Encoder, Evidence, ItemId, LabelId,
    LabelSet, LabelVocabulary, StoredItem, Tagger,
};
use sha2::{Digest, Sha256};
use tantivy::{Searcher, TantivyDocument};

use crate::budget::{Metered, Permit};
use crate::change::{Change, Content, Kept, ProcessedChunk};
use crate::ledger::Tally;
use crate::operation::{Action, Chunk, GivenLabels, LabelSource, Labeling, Operation};
use crate::worker::Worker;
use crate::{FailedDocument, OnFailure, Result, document, source};

/// Model scores below count as 0, so that those kept of a document take little room.
const LEAST_SCORE: f32 = 1.0 / 4096.0;

impl<E: Encoder> Worker<E> {
    /// Decides the changes of a chunk's keys.
    ///
    /// # Errors
    ///
    /// When a store cannot be read. A document that cannot be tagged is dealt with as the policy
    /// says.
    pub(crate) fn process(&self, chunk: Chunk) -> Result<ProcessedChunk> {
        let Chunk { operations, neighbors, searcher, .. } = chunk;
        let (neighbors, searcher) = (&neighbors, &searcher);
        let changes = Vec::with_capacity(operations.len());
        let mut step = Step { worker: self, neighbors, searcher, changes, tally: Tally::default() };
        let drafts = step.split(operations)?;
        let known = lookup(&drafts, neighbors)?;
        let tagger = self.tagger();
        let texts = step.encode(&tagger, drafts, known);
        let started = Instant::now();
        step.label(&tagger, texts)?;
        step.tally.times.neighbors += started.elapsed();
        Ok(step.finish())
    }
}

/// A document to be indexed.
struct Draft {
    /// The operation's place in its chunk.
    position: usize,
    key: String,
    document: TantivyDocument,
    permit: Permit,
}

/// The last commit's content under a key.
struct Known {
    record: Option<DocumentRecord>,
    neighbor: Option<StoredItem>,
}

/// A document with the digest of its text and the last commit's content under its key.
struct Text {
    draft: Draft,
    digest: [u8; 16],
    known: Known,
}

/// A document that the tagger labels.
struct Prediction {
    text: Text,
    encoded: Encoded,
    /// The evidence of the last commit, where the document is tagged again.
    before: Option<Evidence>,
}

/// Looks up each key's neighbor and record, once.
fn lookup(drafts: &[(Draft, Labeling)], neighbors: &DatastoreReader) -> Result<Vec<Known>> {
    let keys: Vec<&str> = drafts.iter().map(|(draft, _)| draft.key.as_str()).collect();
    let mut known = Vec::with_capacity(keys.len());
    for (key, record) in keys.iter().zip(neighbors.documents(&keys)?) {
        known.push(Known { record, neighbor: neighbors.get(key)? });
    }
    Ok(known)
}

/// The work on one chunk.
struct Step<'c, E> {
    worker: &'c Worker<E>,
    neighbors: &'c DatastoreReader,
    searcher: &'c Searcher,
    /// With the places of their operations in the chunk.
    changes: Vec<(usize, Change)>,
    tally: Tally,
}

impl<E: Encoder> Step<'_, E> {
    /// Decides the operations without a text, and returns the documents to be indexed.
    fn split(&mut self, operations: Vec<Operation>) -> Result<Vec<(Draft, Labeling)>> {
        let mut drafts = Vec::with_capacity(operations.len());
        for (position, operation) in operations.into_iter().enumerate() {
            let Operation { key, action, permit, .. } = operation;
            let (had_neighbor, content) = match action {
                Action::Index(document, labeling) => {
                    drafts.push((Draft { position, key, document, permit }, labeling));
                    continue;
                }
                Action::Delete => {
                    self.tally.deleted += 1;
                    (self.neighbors.get(&key)?.is_some(), Content::Nothing(permit))
                }
                Action::Rewrite(mut stored, evidence) => {
                    self.tally.retagged.add(&stored.evidence, &evidence);
                    let Worker { fields, clock, .. } = self.worker;
                    document::attach(&mut stored.document, fields, Some(&evidence), clock);
                    // The datastore keeps its neighbor, whether there is one or not.
                    (false, Content::Rewritten(Metered::new(stored.document, permit)))
                }
            };
            self.changes.push((position, Change { key, had_neighbor, content }));
        }
        Ok(drafts)
    }

    /// Encodes the texts that are not those of the last commit, all together.
    fn encode(
        &mut self,
        tagger: &Tagger<E>,
        drafts: Vec<(Draft, Labeling)>,
        mut known: Vec<Known>,
    ) -> Vec<(Text, Labeling, Result<Encoded, EncodeError>)> {
        let fields = &self.worker.fields;
        let texts: Vec<Cow<'_, str>> =
            drafts.iter().map(|(draft, _)| document::text(&draft.document, fields)).collect();
        let digests: Vec<[u8; 16]> = texts.iter().map(|text| digest(text)).collect();
        let all = known.iter_mut().zip(&digests);
        let reused: Vec<Option<Encoded>> =
            all.map(|(known, digest)| known.take_encoded(digest)).collect();
        let new = texts.iter().zip(&reused).filter(|(_, reused)| reused.is_none());
        let new: Vec<&str> = new.map(|(text, _)| text.as_ref()).collect();
        self.tally.encoded += new.len() as u64;
        self.tally.reused += (texts.len() - new.len()) as u64;
        let mut times = StageTimes::default();
        let answers = tagger.encode(&new, &mut times);
        let mut answers = answers.outcomes();
        (self.tally.times.tokenize, self.tally.times.encode) = (times.tokenize, times.encode);
        drop(texts);

        let mut encoded = Vec::with_capacity(drafts.len());
        let answered = drafts.into_iter().zip(digests).zip(known).zip(reused);
        for ((((draft, labeling), digest), known), reused) in answered {
            let answer = reused.map_or_else(
                || answers.next().expect("every new text has an answer").map(sparsified),
                Ok,
            );
            encoded.push((Text { draft, digest, known }, labeling, answer));
        }
        encoded
    }

    /// Labels the documents: as people said, or by the tagger.
    fn label(
        &mut self,
        tagger: &Tagger<E>,
        texts: Vec<(Text, Labeling, Result<Encoded, EncodeError>)>,
    ) -> Result<()> {
        let (mut new, mut again) = (Vec::with_capacity(texts.len()), Vec::new());
        for (text, labeling, encoded) in texts {
            match (self.keep_correction(&text, labeling)?, encoded) {
                (Labeling::Given(given), encoded) => self.index_labeled(text, given, encoded),
                (Labeling::Predict, Ok(encoded)) => {
                    new.push(Prediction { text, encoded, before: None });
                }
                (Labeling::Repredict(before), Ok(encoded)) => {
                    again.push(Prediction { text, encoded, before: Some(before) });
                }
                (Labeling::Predict, Err(cause)) => self.index_untagged(text, cause),
                (Labeling::Repredict(_), Err(cause)) => self.fail(&text.draft.key, cause),
            }
        }
        self.predict(tagger, new)?;
        if again.is_empty() {
            return Ok(());
        }
        self.predict(&self.worker.with_job_settings(tagger), again)
    }

    /// Lets a document that a person corrected keep the labels given when it comes again, with
    /// whatever text.
    ///
    /// Why? The source of the documents does not know of the correction.
    fn keep_correction(&self, text: &Text, labeling: Labeling) -> Result<Labeling> {
        let Text { draft, digest, known } = text;
        let (Labeling::Predict, Some(record)) = (&labeling, &known.record) else {
            return Ok(labeling);
        };
        if !record.is_corrected {
            return Ok(labeling);
        }
        let labels = match &known.neighbor {
            Some(item) => document::label_names(&item.labels, self.vocabulary()),
            // A text that cannot be encoded has no neighbor: only the document has the labels.
            None => {
                let Worker { fields, checks, .. } = self.worker;
                match source::read(self.searcher, fields, &draft.key, checks)? {
                    Some(stored) => resolved(stored.evidence.given(), self.vocabulary()),
                    None => return Ok(labeling),
                }
            }
        };
        if labels.is_empty() && record.content != *digest {
            // Only rejections remain: the new text is tagged.
            return Ok(labeling);
        }
        let (rejected, source) = (LabelSet::default(), LabelSource::EarlierCorrection);
        Ok(Labeling::Given(GivenLabels { labels, rejected, source }))
    }

    /// Tags documents by their neighbors and the model; one that is tagged again and keeps its tags
    /// and evidence is not written again.
    fn predict(&mut self, tagger: &Tagger<E>, predictions: Vec<Prediction>) -> Result<()> {
        if predictions.is_empty() {
            return Ok(());
        }
        let encoded: Vec<&Encoded> = predictions.iter().map(|p| &p.encoded).collect();
        let earlier: Vec<Option<ItemId>> =
            predictions.iter().map(|p| p.text.known.neighbor.as_ref().map(|n| n.item)).collect();
        let taggings = tagger.tag_encoded(&encoded, &earlier, self.neighbors)?;
        for (Prediction { text, encoded, before }, mut tagging) in
            predictions.into_iter().zip(taggings)
        {
            let rejected = text.known.rejected();
            let excluded = self.vocabulary().resolve_set(&rejected);
            tagging.tags.retain(|tag| !excluded.contains(tag.label));
            tagging.suggestions.retain(|tag| !excluded.contains(tag.label));
            tagging.margins.retain(|margin| !excluded.contains(margin.label));
            let evidence = Evidence::predicted(&tagging, self.neighbors);
            match before {
                None => self.tally.tagged += 1,
                Some(before) => {
                    self.tally.retagged.add(&before, &evidence);
                    if evidence == before && text.is_recorded() {
                        continue;
                    }
                }
            }
            let record = text.record(rejected, Some(encoded));
            self.index(text, Some(&evidence), Kept::new(None, record));
        }
        Ok(())
    }

    /// Indexes a document with the labels that people gave; it votes for them where its text could
    /// be encoded.
    fn index_labeled(
        &mut self,
        text: Text,
        given: GivenLabels,
        encoded: Result<Encoded, EncodeError>,
    ) {
        let GivenLabels { labels, rejected, source } = given;
        let labels = resolved(labels, self.vocabulary());
        let evidence = Evidence { not_voting: encoded.is_err(), ..Evidence::human(&labels) };
        // What a person says of a document that is there already must not be lost.
        let is_indexed =
            encoded.is_ok() || source == LabelSource::Correction || self.keeps_failed();
        let encoded = encoded.map_err(|cause| self.fail(&text.draft.key, cause)).ok();
        self.tally.labeled += u64::from(encoded.is_some());
        if is_indexed {
            let earlier = text.known.rejected();
            let rejected = rejected.ids().iter().chain(earlier.ids()).copied();
            let rejected = not_given(rejected, &labels, self.vocabulary());
            let is_corrected = source != LabelSource::Document;
            let record = DocumentRecord { is_corrected, ..text.record(rejected, encoded) };
            self.index(text, Some(&evidence), Kept::new(Some(labels), record));
        }
    }

    /// Indexes a document that cannot be encoded without tags, where the policy says so.
    fn index_untagged(&mut self, text: Text, cause: EncodeError) {
        self.fail(&text.draft.key, cause);
        if self.keeps_failed() {
            let record = text.record(text.known.rejected(), None);
            self.index(text, None, Kept::new(None, record));
        }
    }

    fn index(&mut self, text: Text, evidence: Option<&Evidence>, kept: Kept) {
        let Text { draft, known, .. } = text;
        let Draft { position, key, mut document, permit } = draft;
        let Worker { fields, clock, .. } = self.worker;
        document::attach(&mut document, fields, evidence, clock);
        let content = Content::Document(Metered::new(document, permit), kept);
        let had_neighbor = known.neighbor.is_some();
        self.changes.push((position, Change { key, had_neighbor, content }));
    }

    fn fail(&mut self, key: &str, cause: EncodeError) {
        self.tally.failures.push(FailedDocument { key: key.to_owned(), cause });
    }

    fn keeps_failed(&self) -> bool {
        self.worker.on_failure == OnFailure::IndexUntagged
    }

    fn vocabulary(&self) -> &LabelVocabulary {
        self.neighbors.labels()
    }

    /// Returns the changes in the order of their operations.
    fn finish(mut self) -> ProcessedChunk {
        self.changes.sort_unstable_by_key(|(position, _)| *position);
        let changes = self.changes.into_iter().map(|(_, change)| change).collect();
        ProcessedChunk { changes, tally: self.tally }
    }
}

impl Known {
    /// Takes the encoder's answer to a text, where the last commit has the same.
    fn take_encoded(&mut self, digest: &[u8; 16]) -> Option<Encoded> {
        self.record.as_mut().filter(|record| record.content == *digest)?.encoded.take()
    }

    /// Returns the labels that people said the document does not have.
    fn rejected(&self) -> LabelSet {
        self.record.as_ref().map(|record| record.rejected.clone()).unwrap_or_default()
    }
}

impl Text {
    fn record(&self, rejected: LabelSet, encoded: Option<Encoded>) -> DocumentRecord {
        DocumentRecord { content: self.digest, is_corrected: false, rejected, encoded }
    }

    /// Tells whether the last commit has a record of the same text.
    fn is_recorded(&self) -> bool {
        self.known.record.as_ref().is_some_and(|record| record.content == self.digest)
    }
}

/// Returns the rejected labels that were not given, nor the labels that stand for them now.
fn not_given(
    rejected: impl Iterator<Item = LabelId>,
    given: &[String],
    vocabulary: &LabelVocabulary,
) -> LabelSet {
    let given: LabelSet = given.iter().filter_map(|name| vocabulary.id(name)).collect();
    let is_given = |&label: &LabelId| {
        given.contains(label)
            || vocabulary.resolve(label).is_some_and(|label| given.contains(label))
    };
    rejected.filter(|label| !is_given(label)).collect()
}

/// Returns the names of the labels that stand for those given; retired ones are left out.
fn resolved(labels: Vec<String>, vocabulary: &LabelVocabulary) -> Vec<String> {
    if !vocabulary.is_changed() {
        return labels;
    }
    let mut names: Vec<String> = Vec::with_capacity(labels.len());
    for label in &labels {
        let name = vocabulary.resolve_name(label);
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

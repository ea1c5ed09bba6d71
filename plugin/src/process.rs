//! A chunk's way through the tagger, to the change of each key.

use std::borrow::Cow;
use std::time::Instant;

use autotag::datastore::rounded;
use autotag::tagger::StageTimes;
use autotag::{
    DatastoreReader, DocumentRecord, EncodeError, Encoded, Encoder, Evidence, ItemId, LabelSet,
    LabelVocabulary, Review, StoredItem, Tagger,
};
use sha2::{Digest, Sha256};
use tantivy::{Searcher, TantivyDocument};

use crate::budget::{Metered, Permit};
use crate::change::{Change, Content, DecidedLabels, Kept, ProcessedChunk};
use crate::ledger::Tally;
use crate::operation::{Action, Chunk, Corrected, Labeling, Operation};
use crate::ticket::Ticket;
use crate::worker::Worker;
use crate::{FailedDocument, OnFailure, Result, document, source};

/// Model scores below count as 0, so that those kept of a document take little room.
const LEAST_SCORE: f32 = 1.0 / 4096.0;

impl<E: Encoder> Worker<E> {
    /// Decides the changes of a chunk's keys.
    ///
    /// # Errors
    ///
    /// When a store cannot be read, or the encoder fails on all texts. A document that cannot be tagged
    /// is dealt with as the policy says.
    pub(crate) fn process(&self, chunk: Chunk) -> Result<ProcessedChunk> {
        let Chunk { operations, neighbors, searcher, all_deleted, .. } = chunk;
        let (neighbors, searcher) = (&neighbors, &searcher);
        let changes = Vec::with_capacity(operations.len());
        let mut step = Step { worker: self, neighbors, searcher, changes, tally: Tally::default() };
        let drafts = step.split(operations)?;
        let mut known = lookup(&drafts, neighbors)?;
        if all_deleted {
            known.iter_mut().for_each(|known| known.record = None);
        }
        let tagger = self.tagger();
        let texts = step.encode(&tagger, drafts, known)?;
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
    ticket: Ticket,
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

/// A document, who labels it, and the encoder's answer to its text.
type EncodedText = (Text, Labeling, Result<Encoded, EncodeError>);

/// A document that the tagger labels.
struct Prediction {
    text: Text,
    encoded: Encoded,
    /// The evidence of the last commit, where the document is tagged again.
    before: Option<Evidence>,
    /// The labels that people gave, where they decided only some.
    given: Option<Vec<String>>,
}

/// The part of a person's review that a document keeps when it comes again.
enum Inherited {
    /// All labels were decided.
    Complete(Corrected),
    /// These labels were given; the others are predicted.
    Partial(Vec<String>),
}

/// The way in which decided labels reach their document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// The document is handed over.
    Handed,
    /// A person corrects the document of the last commit.
    Corrected,
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
            let Operation { key, action, ticket, permit, .. } = operation;
            let (had_neighbor, content) = match action {
                Action::Index(document, labeling) => {
                    drafts.push((Draft { position, key, document, ticket, permit }, labeling));
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
    ///
    /// Fails when the encoder fails on all texts.
    fn encode(
        &mut self,
        tagger: &Tagger<E>,
        drafts: Vec<(Draft, Labeling)>,
        mut known: Vec<Known>,
    ) -> Result<Vec<EncodedText>> {
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
        self.worker.encoder_health.record(&answers)?;
        let mut answers = answers.outcomes();
        (self.tally.times.tokenize, self.tally.times.encode) = (times.tokenize, times.encode);
        drop(texts);

        let mut encoded = Vec::with_capacity(drafts.len());
        let answered = drafts.into_iter().zip(digests).zip(known).zip(reused);
        for ((((draft, labeling), digest), known), reused) in answered {
            let answer = reused.map_or_else(
                || answers.next().expect("every new text has an answer").map(as_kept),
                Ok,
            );
            encoded.push((Text { draft, digest, known }, labeling, answer));
        }
        Ok(encoded)
    }

    /// Labels the documents: as people said, or by the tagger.
    fn label(&mut self, tagger: &Tagger<E>, texts: Vec<EncodedText>) -> Result<()> {
        let (mut new, mut again) = (Vec::with_capacity(texts.len()), Vec::new());
        for (text, labeling, encoded) in texts {
            match labeling {
                Labeling::Given(labels) => self.index_given(text, labels, encoded),
                Labeling::Corrected(Corrected { evidence, rejected }) => {
                    // A label may have been changed since the correction was made.
                    let evidence = evidence.relabeled(self.vocabulary());
                    let corrected = Corrected::new(evidence, rejected, self.vocabulary());
                    self.index_decided(text, corrected, encoded, Arrival::Corrected);
                }
                Labeling::Predict => match (self.inherited(&text)?, encoded) {
                    (Some(Inherited::Complete(corrected)), encoded) => {
                        self.index_decided(text, corrected, encoded, Arrival::Handed);
                    }
                    (Some(Inherited::Partial(given)), Ok(encoded)) => {
                        new.push(Prediction { text, encoded, before: None, given: Some(given) });
                    }
                    (Some(Inherited::Partial(given)), Err(cause)) => {
                        let (review, rejected) = (Review::Partial, text.known.rejected());
                        let evidence = Evidence { review, ..Evidence::human(&given) };
                        let corrected = Corrected::new(evidence, rejected, self.vocabulary());
                        self.index_decided(text, corrected, Err(cause), Arrival::Handed);
                    }
                    (None, Ok(encoded)) => {
                        new.push(Prediction { text, encoded, before: None, given: None });
                    }
                    (None, Err(cause)) => self.index_untagged(text, cause),
                },
                Labeling::Repredict(before) => match encoded {
                    Ok(encoded) => {
                        let is_partial = before.review == Review::Partial;
                        let given = is_partial.then(|| self.given(&text, &before));
                        again.push(Prediction { text, encoded, before: Some(before), given });
                    }
                    Err(cause) => self.fail(&text.draft, cause),
                },
            }
        }
        self.predict(tagger, new)?;
        if again.is_empty() {
            return Ok(());
        }
        self.predict(&self.worker.with_job_settings(tagger), again)
    }

    /// Returns what a document that a person reviewed keeps when it comes again, with whatever text.
    ///
    /// Why? The source of the documents does not know of the review.
    fn inherited(&self, text: &Text) -> Result<Option<Inherited>> {
        let Text { draft, digest, known } = text;
        let Some(record) = known.record.as_ref().filter(|record| !record.review.is_none()) else {
            return Ok(None);
        };
        let before = match &known.neighbor {
            Some(_) => Evidence::default(),
            // A text that cannot be encoded has no neighbor: only the document has the labels.
            None => {
                let Worker { fields, checks, .. } = self.worker;
                match source::read(self.searcher, fields, &draft.key, checks)? {
                    Some(stored) => stored.evidence,
                    None => return Ok(None),
                }
            }
        };
        let given = self.given(text, &before);
        if record.review == Review::Partial {
            return Ok(Some(Inherited::Partial(given)));
        }
        if given.is_empty() && record.content != *digest {
            // Only rejections remain: the new text is tagged.
            return Ok(None);
        }
        let evidence = Evidence { review: Review::Complete, ..Evidence::human(&given) };
        let rejected = self.still_rejected(text, &given);
        Ok(Some(Inherited::Complete(Corrected::new(evidence, rejected, self.vocabulary()))))
    }

    /// Returns the labels that people gave a document, as those that stand for them now.
    fn given(&self, text: &Text, before: &Evidence) -> Vec<String> {
        document::given(before, text.known.neighbor.as_ref(), self.vocabulary())
    }

    /// Returns the labels that people rejected before these were given.
    fn still_rejected(&self, text: &Text, given: &[String]) -> LabelSet {
        let earlier = text.known.rejected();
        document::not_given(earlier.ids().iter().copied(), given, self.vocabulary())
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
        for (Prediction { text, encoded, before, given }, mut tagging) in
            predictions.into_iter().zip(taggings)
        {
            let rejected = text.known.rejected();
            let vocabulary = self.vocabulary();
            let excluded = vocabulary.resolve_set(&rejected);
            let is_given = |label| {
                given
                    .as_ref()
                    .is_some_and(|given| given.iter().any(|g| g == vocabulary.name(label)))
            };
            let is_open = |label| !excluded.contains(label) && !is_given(label);
            tagging.margins.retain(|margin| is_open(margin.label));
            let mut evidence = Evidence::predicted(&tagging, self.neighbors);
            if let Some(given) = &given {
                evidence = Evidence { review: Review::Partial, ..evidence.with_given(given) };
            }
            let corrected = Corrected::new(evidence, rejected, self.vocabulary());
            let Corrected { evidence, rejected } = corrected;
            match before {
                None => self.tally.tagged += 1,
                Some(before) => {
                    self.tally.retagged.add(&before, &evidence);
                    if evidence == before && text.is_recorded() {
                        continue;
                    }
                }
            }
            let labels = given.map(|_| DecidedLabels::of(&evidence));
            let record = text.record(evidence.review, rejected, Some(encoded));
            self.index(text, Some(&evidence), Kept::new(labels, record));
        }
        Ok(())
    }

    /// Indexes a document with the labels that came with it.
    fn index_given(
        &mut self,
        text: Text,
        labels: Vec<String>,
        encoded: Result<Encoded, EncodeError>,
    ) {
        let labels = document::resolved(labels, self.vocabulary());
        let rejected = self.still_rejected(&text, &labels);
        let corrected = Corrected::new(Evidence::human(&labels), rejected, self.vocabulary());
        self.index_decided(text, corrected, encoded, Arrival::Handed);
    }

    /// Indexes a document with the labels that people decided; it votes by them where its text could be
    /// encoded.
    fn index_decided(
        &mut self,
        text: Text,
        Corrected { mut evidence, rejected }: Corrected,
        encoded: Result<Encoded, EncodeError>,
        arrival: Arrival,
    ) {
        evidence.not_voting = encoded.is_err();
        // What a person says of a document that is there already must not be lost.
        let is_indexed = encoded.is_ok() || arrival == Arrival::Corrected || self.keeps_failed();
        let encoded = encoded.map_err(|cause| self.fail(&text.draft, cause)).ok();
        self.tally.labeled += u64::from(encoded.is_some());
        if is_indexed {
            let record = text.record(evidence.review, rejected, encoded);
            let kept = Kept::new(Some(DecidedLabels::of(&evidence)), record);
            self.index(text, Some(&evidence), kept);
        }
    }

    /// Indexes a document that cannot be encoded without tags, where the policy says so.
    fn index_untagged(&mut self, text: Text, cause: EncodeError) {
        self.fail(&text.draft, cause);
        if self.keeps_failed() {
            let record = text.record(Review::None, text.known.rejected(), None);
            self.index(text, None, Kept::new(None, record));
        }
    }

    fn index(&mut self, text: Text, evidence: Option<&Evidence>, kept: Kept) {
        let Text { draft, known, .. } = text;
        let Draft { position, key, mut document, permit, .. } = draft;
        let Worker { fields, clock, .. } = self.worker;
        document::attach(&mut document, fields, evidence, clock);
        let content = Content::Document(Metered::new(document, permit), kept);
        let had_neighbor = known.neighbor.is_some();
        self.changes.push((position, Change { key, had_neighbor, content }));
    }

    fn fail(&mut self, draft: &Draft, cause: EncodeError) {
        let Draft { key, ticket, .. } = draft;
        self.tally.failures.push(FailedDocument { key: key.clone(), ticket: *ticket, cause });
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
    fn record(
        &self,
        review: Review,
        rejected: LabelSet,
        encoded: Option<Encoded>,
    ) -> DocumentRecord {
        DocumentRecord { content: self.digest, review, rejected, encoded }
    }

    /// Tells whether the last commit has a record of the same text.
    fn is_recorded(&self) -> bool {
        self.known.record.as_ref().is_some_and(|record| record.content == self.digest)
    }
}

/// Leaves out the model's scores that are too low to matter, and rounds all else as the datastore keeps it: so
/// the same text gets the same tags when it comes again and is not encoded again.
pub(crate) fn as_kept(encoded: Encoded) -> Encoded {
    let scores = encoded.scores.map(|scores| scores.sparsified(LEAST_SCORE));
    rounded(Encoded { scores, ..encoded })
}

/// Returns the beginning of a text's SHA-256 digest.
pub(crate) fn digest(text: &str) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    *digest.first_chunk().expect("32 bytes begin with 16")
}

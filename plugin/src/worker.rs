//! What the tagging threads do with a chunk of operations.

use std::borrow::Cow;
use std::time::Instant;

use autotag::tagger::StageTimes;
use autotag::{DatastoreReader, EncodeError, Encoded, Encoder, Tagger, Tagging};
use tantivy::TantivyDocument;

use crate::budget::Metered;
use crate::ledger::Tally;
use crate::queue::{Action, Chunk, Operation};
use crate::stores::{Change, Content, NewNeighbor};
use crate::{Evidence, FailedDocument, OnFailure, Result, TagFields, document};

/// What tagging needs; shared by the threads.
pub(crate) struct Worker<E> {
    pub(crate) tagger: Tagger<E>,
    pub(crate) fields: TagFields,
    pub(crate) on_failure: OnFailure,
}

/// A chunk's outcome: what to change in both stores, and how much was done.
pub(crate) struct Processed {
    pub(crate) changes: Vec<Change>,
    pub(crate) tally: Tally,
}

/// What the tagger says of a chunk's documents, each kind in the order of its operations.
struct Answers {
    taggings: Vec<Result<Tagging, EncodeError>>,
    /// The labelled documents' representations.
    encoded: Vec<Result<Encoded, EncodeError>>,
}

const ONE_EACH: &str = "every document has an answer";

impl<E: Encoder> Worker<E> {
    /// Tags a chunk's documents, in their order.
    ///
    /// # Errors
    ///
    /// When the neighbors cannot be searched. A document that cannot be tagged is dealt with as the
    /// policy says.
    pub(crate) fn process(&self, chunk: Chunk) -> Result<Processed> {
        let mut tally = Tally::default();
        let Answers { taggings, encoded } = self.answers(&chunk, &mut tally)?;
        let (mut taggings, mut encoded) = (taggings.into_iter(), encoded.into_iter());

        let started = Instant::now();
        let neighbors = &chunk.neighbors;
        let mut changes = Vec::with_capacity(chunk.operations.len());
        for Operation { key, action, permit } in chunk.operations {
            let kept = match action {
                Action::Tag(document) => {
                    let evidence = predicted(taggings.next().expect(ONE_EACH), neighbors)?;
                    self.tagged(&key, document, evidence, &mut tally)
                }
                Action::Label(document, labels) => {
                    let encoded = encoded.next().expect(ONE_EACH);
                    self.labeled(&key, document, labels, encoded, &mut tally)
                }
                Action::Delete => {
                    tally.deleted += 1;
                    changes.push(change(key, Content::Nothing(permit), neighbors)?);
                    continue;
                }
            };
            if let Some((document, neighbor)) = kept {
                let content = Content::Document(Metered::new(document, permit), neighbor);
                changes.push(change(key, content, neighbors)?);
            }
        }
        tally.times.neighbors += started.elapsed();
        Ok(Processed { changes, tally })
    }

    /// Encodes all texts together, and tags those that came without labels.
    fn answers(&self, chunk: &Chunk, tally: &mut Tally) -> Result<Answers> {
        let mut texts: Vec<Cow<'_, str>> = Vec::with_capacity(chunk.operations.len());
        let mut is_labeled = Vec::with_capacity(chunk.operations.len());
        for operation in &chunk.operations {
            if let Action::Tag(document) | Action::Label(document, _) = &operation.action {
                texts.push(document::text(document, &self.fields));
                is_labeled.push(matches!(operation.action, Action::Label(..)));
            }
        }
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let mut times = StageTimes::default();
        let all = self.tagger.encode(&texts, &mut times);
        tally.times.tokenize = times.tokenize;
        tally.times.encode = times.encode;

        let (mut encoded, mut unlabeled) = (Vec::new(), Vec::new());
        for (outcome, is_labeled) in all.into_iter().zip(is_labeled) {
            if is_labeled { &mut encoded } else { &mut unlabeled }.push(outcome);
        }
        let started = Instant::now();
        let taggings = self.tagger.tag_encoded(unlabeled, &chunk.neighbors)?;
        tally.times.neighbors = started.elapsed();
        Ok(Answers { taggings, encoded })
    }

    fn tagged(
        &self,
        key: &str,
        mut document: TantivyDocument,
        evidence: Result<Evidence, EncodeError>,
        tally: &mut Tally,
    ) -> Option<Kept> {
        match evidence {
            Ok(evidence) => {
                tally.tagged += 1;
                document::attach(&mut document, &self.fields, &evidence);
                Some((document, None))
            }
            Err(cause) => {
                tally.failures.push(FailedDocument { key: key.to_owned(), cause });
                (self.on_failure == OnFailure::IndexUntagged).then_some((document, None))
            }
        }
    }

    fn labeled(
        &self,
        key: &str,
        mut document: TantivyDocument,
        labels: Vec<String>,
        encoded: Result<Encoded, EncodeError>,
        tally: &mut Tally,
    ) -> Option<Kept> {
        let mut evidence = Evidence::human(&labels);
        evidence.silent = encoded.is_err();
        document::attach(&mut document, &self.fields, &evidence);
        match encoded {
            Ok(Encoded { embedding, .. }) => {
                tally.labeled += 1;
                Some((document, Some(NewNeighbor { embedding, labels })))
            }
            Err(cause) => {
                tally.failures.push(FailedDocument { key: key.to_owned(), cause });
                (self.on_failure == OnFailure::IndexUntagged).then_some((document, None))
            }
        }
    }
}

/// A document that is to be indexed, and its neighbor where people labelled it.
type Kept = (TantivyDocument, Option<NewNeighbor>);

fn change(key: String, content: Content, neighbors: &DatastoreReader) -> Result<Change> {
    let had_neighbor = neighbors.get(&key)?.is_some();
    Ok(Change { key, had_neighbor, content })
}

fn predicted(
    tagging: Result<Tagging, EncodeError>,
    neighbors: &DatastoreReader,
) -> Result<Result<Evidence, EncodeError>> {
    match tagging {
        Ok(tagging) => Evidence::predicted(&tagging, neighbors).map(Ok),
        Err(cause) => Ok(Err(cause)),
    }
}

//! Corrections: a person's labels for a document in the index.

use std::collections::BTreeSet;

use autotag::{DatastoreReader, Encoder, Evidence, LabelId};

use crate::operation::{Action, GivenLabels, LabelSource, Labeling};
use crate::worker::Worker;
use crate::{Error, Result, TaggingWriter, Ticket, document, source};

/// A person's verdict on a document's labels.
///
/// ```
/// use tantivy_autotag::Correction;
///
/// let exactly = Correction::labels(["role::program", "use::editing"]);
/// let otherwise_as_tagged = Correction::change(["use::editing"], ["role::plugin"]);
/// # let _ = (exactly, otherwise_as_tagged);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Whether the document's tags are kept, except for the labels named.
    keeps_tags: bool,
    add: Vec<String>,
    remove: Vec<String>,
}

impl Correction {
    /// Gives a document exactly these labels, or none.
    pub fn labels(labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let add = labels.into_iter().map(Into::into).collect();
        Correction { keeps_tags: false, add, remove: vec![] }
    }

    /// Keeps a document's tags, but adds and removes some labels.
    pub fn change(
        add: impl IntoIterator<Item = impl Into<String>>,
        remove: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let add = add.into_iter().map(Into::into).collect();
        let remove = remove.into_iter().map(Into::into).collect();
        Correction { keeps_tags: true, add, remove }
    }
}

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Replaces a document's tags by a person's labels, and makes it a neighbor from the next commit
    /// on.
    ///
    /// Removed labels are rejected: tagging the document again does not bring them back, until a
    /// person gives them. Deleting the document forgets that.
    ///
    /// The document is that of the last commit: what a person sees. Where its key was changed since, the
    /// correction is refused, so that it does not publish what others have not committed yet.
    ///
    /// # Errors
    ///
    /// [`Error::NotCommitted`] when its key was changed since the last commit: correct it after the next
    /// one, for which [`wait_for`](TaggingWriter::wait_for) waits. (A commit in progress is waited for.)
    /// [`Error::NoSuchDocument`], [`Error::NotStored`] when the schema does not store all of a
    /// document, [`Error::Label`] for a label that cannot be a facet, is retired, or is to be removed
    /// but unknown; the document stays as it is then. As [`add`](TaggingWriter::add) for
    /// earlier documents.
    pub fn correct(&self, key: &str, correction: &Correction) -> Result<Ticket> {
        document::check_key(key)?;
        source::check_stored(&self.schema)?;
        loop {
            if self.pipeline.queue.is_uncommitted(key)? {
                return Err(Error::NotCommitted { key: key.to_owned(), document: None });
            }
            let snapshot = self.pipeline.queue.snapshot()?;
            let Worker { fields, checks, .. } = &self.pipeline.worker;
            let (searcher, generation) = (&snapshot.searcher, snapshot.generation);
            let found = source::read(searcher, fields, key, checks)?;
            let Some(stored) = found else {
                return Err(Error::NoSuchDocument { key: key.to_owned() });
            };
            let neighbors = &snapshot.neighbors;
            let corrected = corrected(key, correction, &stored.evidence, neighbors)?;
            drop(snapshot.searcher);
            let action = Action::Index(stored.document, Labeling::Given(corrected));
            let submitted = self.submit_made_from(generation, key.to_owned(), action)?;
            if let Some(ticket) = submitted {
                return Ok(ticket);
            }
        }
    }
}

/// Resolves a correction to the labels that a document has and those that it does not have.
fn corrected(
    key: &str,
    correction: &Correction,
    evidence: &Evidence,
    neighbors: &DatastoreReader,
) -> Result<GivenLabels> {
    let vocabulary = neighbors.labels();
    let wrong = |source| Error::Label { key: key.to_owned(), source };
    let given = document::check_labels(key, &correction.add)?;
    let mut labels = BTreeSet::new();
    for label in &given {
        vocabulary.check_usable(label).map_err(wrong)?;
        labels.extend(vocabulary.resolve_name(label).map(str::to_owned));
    }
    let mut removed: BTreeSet<LabelId> = BTreeSet::new();
    for label in &correction.remove {
        removed.extend(vocabulary.resolve(vocabulary.require(label).map_err(wrong)?));
    }
    for tag in &evidence.tags {
        let Some(id) = vocabulary.id(&tag.label).and_then(|id| vocabulary.resolve(id)) else {
            continue;
        };
        let name = vocabulary.name(id);
        if correction.keeps_tags && !removed.contains(&id) {
            labels.insert(name.to_owned());
        } else if !labels.contains(name) {
            removed.insert(id);
        }
    }
    removed.retain(|&id| !labels.contains(vocabulary.name(id)));
    let (labels, rejected) = (labels.into_iter().collect(), removed.into_iter().collect());
    Ok(GivenLabels { labels, rejected, source: LabelSource::Correction })
}

//! What people say of a document's labels, after it was tagged.

use std::collections::BTreeSet;

use autotag::{DatastoreReader, Encoder, LabelId};

use crate::operation::{Action, Corrected, LabelSource};
use crate::worker::Worker;
use crate::{Error, Evidence, Result, TaggingWriter, document, source};

/// What a person says of a document's labels.
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
    /// Whether the document's tags stay but for the labels named.
    keeps_tags: bool,
    add: Vec<String>,
    remove: Vec<String>,
}

impl Correction {
    /// Says that a document has these labels and no others; none of them is no error.
    pub fn labels(labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let add = labels.into_iter().map(Into::into).collect();
        Correction { keeps_tags: false, add, remove: vec![] }
    }

    /// Says that a document's tags are right, but for labels that it lacks and labels that it does
    /// not have.
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
    /// Gives a document the labels that a person says it has, in the place of its tags, and makes
    /// it a neighbor from the next commit on.
    ///
    /// The labels that the person takes away are rejected: the document does not get them again
    /// when it is tagged again, until a person gives them. Deleting the document forgets that.
    ///
    /// The document is that of the last commit. Where its key was changed since, what was handed
    /// over before is committed first; the next call of [`commit`](TaggingWriter::commit) counts it.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchDocument`], [`Error::NotStored`] when the schema does not store all of a
    /// document, [`Error::Label`] for a label that cannot be a facet, is retired, or is taken away
    /// though nobody knows it; the document stays as it is then. As [`add`](TaggingWriter::add) for
    /// earlier documents.
    pub fn correct(&self, key: &str, correction: &Correction) -> Result<()> {
        document::check_key(key)?;
        source::check_stored(&self.schema)?;
        loop {
            // Not only where the document is refused: what is said of it may be about labels that
            // the last commit does not know.
            if self.shared.queue.is_changed(key) {
                self.commit_with(|_, _| Ok(()))?;
            }
            let snapshot = self.shared.queue.snapshot()?;
            let Worker { fields, checks, .. } = &self.shared.worker;
            let (searcher, generation) = (&snapshot.searcher, snapshot.generation);
            let found = source::read(searcher, fields, key, generation, checks)?;
            let Some(committed) = found else {
                return Err(Error::NoSuchDocument { key: key.to_owned() });
            };
            let neighbors = &snapshot.neighbors;
            let corrected = corrected(key, correction, &committed.evidence, neighbors)?;
            drop(snapshot.searcher);
            let action = Action::Correct(committed, corrected);
            if self.try_submit(key, action)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Works out the labels that a document has and those that it does not have.
fn corrected(
    key: &str,
    correction: &Correction,
    evidence: &Evidence,
    neighbors: &DatastoreReader,
) -> Result<Corrected> {
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
        removed.extend(vocabulary.resolve(vocabulary.known(label).map_err(wrong)?));
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
    Ok(Corrected { labels, rejected, source: LabelSource::Person })
}

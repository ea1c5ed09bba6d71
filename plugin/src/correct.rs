//! Corrections: what a person decides of the labels of a document in the index.

use std::collections::BTreeSet;

use autotag::{DatastoreReader, Encoder, Evidence, LabelId, LabelVocabulary, Review, Source};
use serde::{Deserialize, Serialize};

use crate::operation::{Action, Corrected, Labeling};
use crate::worker::Worker;
use crate::{Error, Result, TaggingWriter, Ticket, document, source};

/// A person's decisions on a document's labels.
///
/// Labels that a correction does not decide stay as they were: given, rejected, or undecided.
///
/// ```
/// use tantivy_autotag::Correction;
///
/// let one_click = Correction::add(["use::editing"]);
/// let both = Correction::add(["use::editing"]).and(Correction::reject(["role::plugin"]));
/// let all_tags_are_right = Correction::confirm();
/// let exactly_these = Correction::set(["role::program", "use::editing"]);
/// # let _ = (one_click, both, all_tags_are_right, exactly_these);
/// ```
///
/// In JSON it is an object with `add`, `reject`, `set` and `confirm`, all of which may be left out:
/// `{"add": ["use::editing"], "confirm": true}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Correction {
    given: Vec<String>,
    rejected: Vec<String>,
    others: Others,
}

/// The labels that a correction does not name, in the order of precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Others {
    /// They stay as they were.
    #[default]
    Kept,
    /// The tags are given; the document has no others.
    Confirmed,
    /// The tags are rejected; the document has no others.
    Rejected,
}

/// A correction as it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reject: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Vec<String>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    confirm: bool,
}

impl From<Written> for Correction {
    fn from(Written { add, reject, set, confirm }: Written) -> Self {
        let named = Correction::add(add).and(Correction::reject(reject));
        let named = if confirm { named.and(Correction::confirm()) } else { named };
        match set {
            Some(set) => named.and(Correction::set(set)),
            None => named,
        }
    }
}

impl From<Correction> for Written {
    fn from(Correction { given, rejected, others }: Correction) -> Self {
        let confirm = others == Others::Confirmed;
        let (add, set) = match others {
            Others::Rejected => (vec![], Some(given)),
            Others::Kept | Others::Confirmed => (given, None),
        };
        Written { add, reject: rejected, set, confirm }
    }
}

impl Correction {
    /// Says that the document has these labels.
    pub fn add(labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Correction { given: labels.into_iter().map(Into::into).collect(), ..Correction::default() }
    }

    /// Says that the document does not have these labels.
    pub fn reject(labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let rejected = labels.into_iter().map(Into::into).collect();
        Correction { rejected, ..Correction::default() }
    }

    /// Says that the document has exactly these labels, or none; its other tags are rejected.
    pub fn set(labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Correction { others: Others::Rejected, ..Correction::add(labels) }
    }

    /// Says that all tags of the document are right, and that it has no other label.
    pub fn confirm() -> Self {
        Correction { others: Others::Confirmed, ..Correction::default() }
    }

    /// Joins two corrections of the same document.
    ///
    /// A label that one gives and the other rejects is given.
    pub fn and(mut self, other: Correction) -> Self {
        self.given.extend(other.given);
        self.rejected.extend(other.rejected);
        self.others = self.others.max(other.others);
        self
    }
}

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Records what a person decided of a document's labels, and makes it a neighbor from the next
    /// commit on.
    ///
    /// The document votes with the labels given or confirmed. Where it has undecided labels it abstains
    /// from the vote on those, and they are predicted anew when it is tagged again or comes with another
    /// text; decided ones stay. Rejected labels do not come back until a person gives them. Deleting the
    /// document forgets all that.
    ///
    /// The document is that of the last commit: what a person sees. Where its key was changed since, the
    /// correction is refused, so that it does not publish what others have not committed yet.
    ///
    /// # Errors
    ///
    /// [`Error::NotCommitted`] when its key was changed since the last commit: correct it after the next
    /// one, for which [`wait_for`](TaggingWriter::wait_for) waits. (A commit in progress is waited for.)
    /// [`Error::NoSuchDocument`], [`Error::NotStored`] when the schema does not store all of a
    /// document, [`Error::Label`] for a label that cannot be a facet, is retired, or is rejected
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
            let corrected = corrected(key, correction, &stored.evidence, &snapshot.neighbors)?;
            // A commit can use the memory of a snapshot that nobody holds.
            drop(snapshot);
            let action = Action::Index(stored.document, Labeling::Corrected(corrected));
            let submitted = self.submit_made_from(generation, key.to_owned(), action)?;
            if let Some(ticket) = submitted {
                return Ok(ticket);
            }
        }
    }
}

/// Applies a correction to the document's evidence and verdicts.
fn corrected(
    key: &str,
    correction: &Correction,
    before: &Evidence,
    neighbors: &DatastoreReader,
) -> Result<Corrected> {
    let vocabulary = neighbors.labels();
    let (added, mut rejected) = resolved(key, correction, vocabulary)?;
    let record = neighbors.documents(&[key])?.remove(0);
    let item = neighbors.get(key)?.filter(|item| item.source == Source::Human);
    let review_before = record.as_ref().map_or(Review::None, |record| record.review);
    // One that came with its labels has no undecided ones.
    let is_decided = match review_before {
        Review::Complete => true,
        Review::Partial => false,
        Review::None => item.is_some() || before.not_voting,
    };
    let review = match correction.others {
        Others::Kept if !is_decided => Review::Partial,
        Others::Kept | Others::Confirmed | Others::Rejected => Review::Complete,
    };

    let given = document::given(before, item.as_ref(), vocabulary);
    let mut given: BTreeSet<String> = given.into_iter().collect();
    let tags = before.tags.iter().filter_map(|tag| vocabulary.resolve(vocabulary.id(&tag.label)?));
    match correction.others {
        Others::Kept => {}
        Others::Confirmed => given.extend(tags.map(|tag| vocabulary.name(tag).to_owned())),
        Others::Rejected => {
            rejected.extend(tags);
            given.clear();
        }
    }
    given.retain(|label| vocabulary.id(label).is_none_or(|id| !rejected.contains(&id)));
    given.extend(added);

    let earlier = record.map(|record| record.rejected).unwrap_or_default();
    let earlier = earlier.ids().iter().copied();
    let given: Vec<String> = given.into_iter().collect();
    let rejected = document::not_given(rejected.into_iter().chain(earlier), &given, vocabulary);
    let evidence = match review {
        Review::Partial => before.relabeled(vocabulary).with_given(&given),
        Review::None | Review::Complete => Evidence::human(&given),
    };
    Ok(Corrected::new(Evidence { review, ..evidence }, rejected, vocabulary))
}

/// Returns the labels that a correction gives and rejects, as those that stand for them now.
fn resolved(
    key: &str,
    correction: &Correction,
    vocabulary: &LabelVocabulary,
) -> Result<(BTreeSet<String>, BTreeSet<LabelId>)> {
    let wrong = |source| Error::Label { key: key.to_owned(), source };
    let (mut given, mut rejected) = (BTreeSet::new(), BTreeSet::new());
    for label in &document::check_labels(key, &correction.given)? {
        vocabulary.check_usable(label).map_err(wrong)?;
        given.extend(vocabulary.resolve_name(label).map(str::to_owned));
    }
    for label in &correction.rejected {
        rejected.extend(vocabulary.resolve(vocabulary.require(label).map_err(wrong)?));
    }
    Ok((given, rejected))
}

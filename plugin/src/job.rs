//! A job: work over many documents of an index, and how far it got.

use std::fmt;
use std::sync::Arc;

use autotag::{
    Fingerprint, Interpolation, LabelId, LabelVocabulary, LearnedMix, Selection, Tagger,
};
use serde::{Deserialize, Serialize};

/// A job, and how far it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The task.
    pub task: Task,
    /// The key of the last document done.
    pub after: Option<String>,
}

/// The task of a job, with everything that a later process needs to resume it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Tags documents again.
    Retag {
        /// The query that finds them; all documents where it is empty.
        query: String,
        /// The settings; absent in a job of an earlier version, which is finished with the writer's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<TagSettings>,
        /// The bundle that the index was migrated to, where this is part of the migration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moved_to: Option<Fingerprint>,
    },
    /// Rewrites the documents that have a changed label.
    Relabel {
        /// The label's id in the datastore.
        label: u32,
        /// The name that it had before.
        name: String,
        /// The change; absent in a job of an earlier version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<LabelChange>,
    },
}

/// The settings of a tagger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TagSettings {
    /// The interpolation of model scores and neighbors' votes.
    pub interpolation: Interpolation,
    /// The learned mix in the place of the interpolation, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<LearnedMix>,
    /// The selection of tags by their scores.
    pub selection: Selection,
}

impl TagSettings {
    /// Returns a tagger's.
    pub fn of<E>(tagger: &Tagger<E>) -> Self {
        TagSettings {
            interpolation: tagger.interpolation,
            mix: tagger.mix.as_deref().cloned(),
            selection: tagger.selection.clone(),
        }
    }

    /// Returns a tagger with these settings in the place of its own.
    pub(crate) fn put_into<E>(self, mut tagger: Tagger<E>) -> Tagger<E> {
        let TagSettings { interpolation, mix, selection } = self;
        (tagger.interpolation, tagger.selection) = (interpolation, selection);
        tagger.mix = mix.map(Arc::new);
        tagger
    }
}

impl Job {
    /// Tells whether this tags again the documents of a query, by these settings.
    pub fn is_retagging(&self, of: &str, by: &TagSettings) -> bool {
        let Task::Retag { query, settings, moved_to: None } = &self.task else { return false };
        query.trim() == of.trim() && settings.as_ref() == Some(by)
    }

    /// Tells whether this tags all documents again after a migration to a bundle.
    pub fn is_moving_to(&self, bundle: Fingerprint) -> bool {
        matches!(&self.task, Task::Retag { moved_to, .. } if *moved_to == Some(bundle))
    }

    /// Tells whether this makes exactly one change of a label.
    pub fn is_making(&self, asked: &LabelChange) -> bool {
        matches!(&self.task, Task::Relabel { change, .. } if change.as_ref() == Some(asked))
    }
}

impl fmt::Display for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Task::Retag { moved_to: Some(bundle), .. } => {
                write!(formatter, "tagging again after the move to bundle {bundle:.12}")?;
            }
            Task::Retag { query, .. } if query.is_empty() => write!(formatter, "tagging again")?,
            Task::Retag { query, .. } => write!(formatter, "tagging again what {query:?} finds")?,
            Task::Relabel { change: Some(change), .. } => write!(formatter, "{change}")?,
            Task::Relabel { name, .. } => write!(formatter, "changing the label {name:?}")?,
        }
        if let Task::Retag { settings: Some(settings), .. } = &self.task {
            write!(formatter, " with threshold {}", f32::from(settings.selection.threshold))?;
        }
        match &self.after {
            Some(after) => write!(formatter, ", done up to document {after:?}"),
            None => Ok(()),
        }
    }
}

/// A change of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelChange {
    /// Renames a label; its earlier names still lead to it.
    Rename {
        /// A name of the label.
        label: String,
        /// The name that it gets.
        name: String,
    },
    /// Replaces a label by another one, wherever it was or will be given or predicted.
    Merge {
        /// The label that disappears.
        label: String,
        /// The label that stands for it.
        into: String,
    },
    /// Removes a label from all documents; it is not given or predicted again.
    Retire {
        /// The label.
        label: String,
    },
    /// Restores a merged or retired label.
    Restore {
        /// The label.
        label: String,
    },
}

impl fmt::Display for LabelChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelChange::Rename { label, name } => {
                write!(formatter, "renaming the label {label:?} to {name:?}")
            }
            LabelChange::Merge { label, into } => {
                write!(formatter, "merging the label {label:?} into {into:?}")
            }
            LabelChange::Retire { label } => write!(formatter, "retiring the label {label:?}"),
            LabelChange::Restore { label } => write!(formatter, "restoring the label {label:?}"),
        }
    }
}

/// The progress of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobProgress {
    /// The number of documents done.
    pub done: usize,
    /// The number of all its documents.
    pub total: usize,
}

impl LabelChange {
    /// Changes a vocabulary; returns the label and its earlier name.
    pub(crate) fn apply(&self, labels: &mut LabelVocabulary) -> autotag::Result<(LabelId, String)> {
        let (LabelChange::Rename { label, .. }
        | LabelChange::Merge { label, .. }
        | LabelChange::Retire { label }
        | LabelChange::Restore { label }) = self;
        let id = labels.require(label)?;
        let before = labels.name(id).to_owned();
        match self {
            LabelChange::Rename { name, .. } => labels.rename(id, name)?,
            LabelChange::Merge { into, .. } => labels.merge(id, labels.require(into)?)?,
            LabelChange::Retire { .. } => labels.retire(id)?,
            LabelChange::Restore { .. } => labels.restore(id),
        }
        Ok((id, before))
    }
}

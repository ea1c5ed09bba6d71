//! Work over many documents of an index: tagging them again, giving labels other names.
//!
//! A job goes through the documents in the order of their keys and commits now and then; each
//! commit's payload says how far it got. Searches and other writing go on meanwhile.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use autotag::{
    DatastoreReader, DatastoreWriter, Encoder, Fingerprint, Interpolation, LabelId,
    LabelVocabulary, Selection, Source, Tagger, failpoint,
};
use serde::{Deserialize, Serialize};
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, Query, TermQuery};
use tantivy::schema::IndexRecordOption;

use crate::ledger::Ledger;
use crate::queue::{Action, Committed, Snapshot};
use crate::worker::Worker;
use crate::{Error, Evidence, Origin, Result, Retagged, TaggingWriter, document, search, source};

/// A job, and how far it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What is done.
    pub task: Task,
    /// The key of the last document that it has dealt with.
    pub after: Option<String>,
}

/// What a job does, with all that it was asked for: whoever goes on with it does the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Tags documents again.
    Retag {
        /// The query that finds them; all documents where it is empty.
        query: String,
        /// How they are tagged; absent in what an earlier version began, which is finished with the
        /// settings of the writer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<TagSettings>,
        /// The bundle that the index was moved to, where this is part of the move.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moved_to: Option<Fingerprint>,
    },
    /// Writes a changed label anew where documents have it.
    Relabel {
        /// The label's id in the datastore.
        label: u32,
        /// The name that it had before.
        name: String,
        /// How it was changed; absent in what an earlier version began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<LabelChange>,
    },
}

/// How documents are tagged: a tagger without its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TagSettings {
    /// How neighbors vote and how much they weigh.
    pub interpolation: Interpolation,
    /// Which scores become tags.
    pub selection: Selection,
}

impl TagSettings {
    /// Returns a tagger's.
    pub fn of<E>(tagger: &Tagger<E>) -> Self {
        let (interpolation, selection) = (tagger.interpolation, tagger.selection.clone());
        TagSettings { interpolation, selection }
    }

    /// Returns a tagger with these settings in the place of its own.
    fn put_into<E>(self, mut tagger: Tagger<E>) -> Tagger<E> {
        (tagger.interpolation, tagger.selection) = (self.interpolation, self.selection);
        tagger
    }
}

impl Job {
    /// Tells whether this tags again what a query finds, by these settings.
    pub fn is_retagging(&self, of: &str, by: &TagSettings) -> bool {
        let Task::Retag { query, settings, moved_to: None } = &self.task else { return false };
        query.trim() == of.trim() && settings.as_ref() == Some(by)
    }

    /// Tells whether this tags all documents again after the index was moved to a bundle.
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

/// How labels change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelChange {
    /// Gives a label another name; its earlier names lead to it still.
    Rename {
        /// A name of the label.
        label: String,
        /// The name that it gets.
        name: String,
    },
    /// Lets a label stand for another one, wherever that was or will be given or predicted.
    Merge {
        /// The label that disappears.
        label: String,
        /// The label that stands for it.
        into: String,
    },
    /// Takes a label from all documents; it is not given or predicted again.
    Retire {
        /// The label.
        label: String,
    },
    /// Takes a merged or retired label into use again.
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

/// How far a job got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobProgress {
    /// The documents that were looked at.
    pub done: usize,
    /// The documents that are to be looked at.
    pub total: usize,
}

impl LabelChange {
    /// Changes a vocabulary; returns the label and the name that it had.
    fn apply(&self, labels: &mut LabelVocabulary) -> autotag::Result<(LabelId, String)> {
        let (LabelChange::Rename { label, .. }
        | LabelChange::Merge { label, .. }
        | LabelChange::Retire { label }
        | LabelChange::Restore { label }) = self;
        let id = labels.known(label)?;
        let before = labels.name(id).to_owned();
        match self {
            LabelChange::Rename { name, .. } => labels.rename(id, name)?,
            LabelChange::Merge { into, .. } => labels.merge(id, labels.known(into)?)?,
            LabelChange::Retire { .. } => labels.retire(id)?,
            LabelChange::Restore { .. } => labels.restore(id),
        }
        Ok((id, before))
    }
}

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Tags documents again by the neighbors and settings of now, and tells what changed.
    ///
    /// `query`, in Tantivy's query language, finds them; an empty one finds all. Documents whose
    /// labels people gave keep them. What the encoder said of a text is used again where the
    /// datastore has it, else the stored text is encoded. A document that cannot be encoded keeps
    /// its tags; with [`OnFailure::Fail`](crate::OnFailure::Fail) that interrupts the job.
    ///
    /// Everything that was handed over before is committed first. The process may die meanwhile:
    /// [`resume`](TaggingWriter::resume) goes on where the last commit was made, with the settings
    /// that the writer's tagger has now.
    ///
    /// # Errors
    ///
    /// [`Error::JobUnfinished`] when another job is, [`Error::NotStored`] when the schema does not
    /// store all of a document, [`Error::Query`] when the query cannot be read, and as
    /// [`commit`](TaggingWriter::commit).
    pub fn retag(&self, query: &str, progress: impl FnMut(JobProgress)) -> Result<Retagged> {
        self.retag_as(query, None, progress)
    }

    /// Tags all documents again after [`IndexFolder::migrate`](crate::IndexFolder::migrate), as part
    /// of the move: a job that the index knows as this bundle's.
    ///
    /// # Errors
    ///
    /// As [`retag`](TaggingWriter::retag).
    pub fn retag_moved(
        &self,
        bundle: Fingerprint,
        progress: impl FnMut(JobProgress),
    ) -> Result<Retagged> {
        self.retag_as("", Some(bundle), progress)
    }

    fn retag_as(
        &self,
        query: &str,
        moved_to: Option<Fingerprint>,
        progress: impl FnMut(JobProgress),
    ) -> Result<Retagged> {
        let _one = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        source::check_stored(&self.schema)?;
        let settings = Some(TagSettings::of(&self.shared.worker.tagger()));
        let task = Task::Retag { query: query.to_owned(), settings, moved_to };
        // Before it begins: a query that cannot be read would never be finished.
        self.query(&task, &self.shared.queue.snapshot()?)?;
        self.begin(|_| Ok(task))?;
        self.run_job(progress)
    }

    /// Changes a label everywhere: in the datastore at once, then in all documents that have it.
    ///
    /// The process may die meanwhile: [`resume`](TaggingWriter::resume) goes on with the documents.
    /// Documents that were not labelled by people get a restored label back when they are tagged
    /// again.
    ///
    /// # Errors
    ///
    /// [`Error::Datastore`] with what is wrong with the labels that are named; nothing is changed
    /// then. As [`retag`](TaggingWriter::retag) otherwise.
    pub fn change_labels(
        &self,
        change: &LabelChange,
        progress: impl FnMut(JobProgress),
    ) -> Result<Retagged> {
        let _one = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        source::check_stored(&self.schema)?;
        self.begin(|datastore| {
            let (id, name) = datastore.change_labels(|labels| change.apply(labels))?;
            Ok(Task::Relabel { label: id.0, name, change: Some(change.clone()) })
        })?;
        self.run_job(progress)
    }

    /// Returns the job that was begun and not finished; it waits for
    /// [`resume`](TaggingWriter::resume).
    pub fn unfinished_job(&self) -> Option<Job> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).job.clone()
    }

    /// Goes on with the job that was begun and not finished, with the settings that it was begun
    /// with; does nothing where there is none.
    ///
    /// # Errors
    ///
    /// As [`retag`](TaggingWriter::retag).
    pub fn resume(&self, progress: impl FnMut(JobProgress)) -> Result<Retagged> {
        let _one = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        self.run_job(progress)
    }

    /// Lets a job that another thread works on stop at its next document: it commits what is done,
    /// returns what was changed, and waits for [`resume`](TaggingWriter::resume). Does nothing where
    /// none is worked on.
    pub fn interrupt_job(&self) {
        self.interrupts_job.store(true, Ordering::Relaxed);
    }

    fn begin(&self, task: impl FnOnce(&mut DatastoreWriter) -> Result<Task>) -> Result<()> {
        let begun = self.commit_with(|stores, payload| {
            if let Some(job) = &payload.job {
                return Err(Error::JobUnfinished { job: Box::new(job.clone()) });
            }
            payload.job = Some(Job { task: task(&mut stores.datastore)?, after: None });
            Ok(())
        });
        begun.map(drop)
    }

    fn run_job(&self, progress: impl FnMut(JobProgress)) -> Result<Retagged> {
        let Some(job) = self.unfinished_job() else { return Ok(Retagged::default()) };
        let worker = &self.shared.worker;
        let settings = match &job.task {
            Task::Retag { settings, .. } => settings.clone(),
            Task::Relabel { .. } => None,
        };
        // It stays until the next job: what an interrupted one handed over may not be tagged yet.
        worker.set_job_tagger(settings.map(|settings| settings.put_into(worker.tagger())));
        self.work_through(job, progress)
    }

    fn work_through(
        &self,
        Job { task, after }: Job,
        mut progress: impl FnMut(JobProgress),
    ) -> Result<Retagged> {
        let queue = &self.shared.queue;
        queue.ledger(Ledger::take_retagged);
        self.interrupts_job.store(false, Ordering::Relaxed);
        let keys = self.keys(&task, &queue.snapshot()?)?;
        let total = keys.len();
        for (done, key) in (1..).zip(keys) {
            if after.as_ref().is_none_or(|after| key > *after) {
                self.work_on(&task, &key)?;
                let is_interrupted = self.interrupts_job.load(Ordering::Relaxed);
                if is_interrupted || done % self.job_documents == 0 {
                    let job = Job { task: task.clone(), after: Some(key) };
                    self.commit_job(Some(job))?;
                }
                if is_interrupted {
                    return Ok(queue.ledger(Ledger::take_retagged));
                }
            }
            progress(JobProgress { done, total });
        }
        self.commit_job(None)?;
        Ok(queue.ledger(Ledger::take_retagged))
    }

    fn commit_job(&self, job: Option<Job>) -> Result<()> {
        let committed = self.commit_with(|_, payload| {
            payload.job = job;
            Ok(())
        });
        failpoint::reach("job::committed");
        committed.map(drop)
    }

    /// Hands one document over; one that was changed since the last commit is up to date anyway.
    fn work_on(&self, task: &Task, key: &str) -> Result<()> {
        loop {
            let Snapshot { generation, neighbors, searcher } = self.shared.queue.snapshot()?;
            let Worker { fields, checks, .. } = &self.shared.worker;
            let Some(committed) = source::read(&searcher, fields, key, generation, checks)? else {
                return Ok(());
            };
            let Some(action) = action(task, key, committed, &neighbors)? else { return Ok(()) };
            drop((searcher, neighbors));
            let refused = self.try_submit(key, action)?;
            if refused.is_none() || self.shared.queue.is_changed(key) {
                return Ok(());
            }
        }
    }

    /// Returns the keys of the documents that a job is about, in their order.
    fn keys(&self, task: &Task, snapshot: &Snapshot) -> Result<BTreeSet<String>> {
        let query = self.query(task, snapshot)?;
        let fields = &self.shared.worker.fields;
        let mut keys = source::keys(&snapshot.searcher, fields, query.as_ref())?;
        if let Task::Relabel { label, .. } = task {
            let neighbors = &snapshot.neighbors;
            let label = neighbors.labels().resolve(LabelId(*label));
            neighbors.for_each(|key, item| -> autotag::Result<()> {
                let has_label = label.is_some_and(|label| item.labels.contains(label));
                if has_label && item.source == Source::Human {
                    keys.insert(key.to_owned());
                }
                Ok(())
            })?;
        }
        Ok(keys)
    }

    fn query(&self, task: &Task, snapshot: &Snapshot) -> Result<Box<dyn Query>> {
        let fields = &self.shared.worker.fields;
        match task {
            Task::Retag { query, .. } if query.trim().is_empty() => Ok(Box::new(AllQuery)),
            Task::Retag { query, .. } => {
                let parser = search::parser(snapshot.searcher.index(), fields)?;
                search::parse(&parser, query)
            }
            Task::Relabel { name, .. } => {
                let facet = document::facet(name);
                let has = |field| -> Box<dyn Query> {
                    let term = Term::from_facet(field, &facet);
                    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
                };
                let fields = [Some(fields.tags), fields.suggestions];
                Ok(Box::new(BooleanQuery::union(fields.into_iter().flatten().map(has).collect())))
            }
        }
    }
}

/// Returns what a task does to a document; `None` where that is nothing.
fn action(
    task: &Task,
    key: &str,
    committed: Committed,
    neighbors: &DatastoreReader,
) -> Result<Option<Action>> {
    let item = neighbors.get(key)?.filter(|item| item.source == Source::Human);
    match task {
        Task::Retag { .. } => {
            let evidence = &committed.evidence;
            let is_given = evidence.tags.iter().any(|tag| tag.origin == Origin::Human);
            if item.is_some() || evidence.silent {
                return Ok(None);
            }
            if is_given {
                // An encoder that the index was migrated to cannot encode it.
                let evidence = Evidence { silent: true, ..evidence.clone() };
                return Ok(Some(Action::Rewrite(committed, evidence)));
            }
            Ok(Some(Action::Retag(committed)))
        }
        Task::Relabel { .. } => {
            let name = |&label: &LabelId| neighbors.labels().name(label).to_owned();
            let given = item.map(|item| item.labels.ids().iter().map(name).collect::<Vec<_>>());
            let evidence = match given {
                Some(labels) => Evidence::human(&labels),
                None => committed.evidence.relabeled(neighbors.labels()),
            };
            let is_new = evidence != committed.evidence;
            Ok(is_new.then_some(Action::Rewrite(committed, evidence)))
        }
    }
}

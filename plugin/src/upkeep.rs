//! Runs jobs: tags documents again, or changes a label in all documents that have it.
//!
//! A job goes through the documents in the order of their keys and commits at intervals; each
//! commit's payload holds its progress. Searches and other writing go on meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use autotag::{
    DatastoreReader, DatastoreWriter, Encoder, Evidence, Fingerprint, LabelId, Review, Source,
    failpoint,
};
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, Query, TermQuery};
use tantivy::schema::IndexRecordOption;

use crate::job::{Job, JobProgress, LabelChange, TagSettings, Task};
use crate::ledger::Ledger;
use crate::operation::{Action, Labeling, Snapshot, StoredDocument};
use crate::worker::Worker;
use crate::{Error, Result, RetagReport, TaggingWriter, document, search, source};

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Tags documents again by the current neighbors and settings.
    ///
    /// `query`, in Tantivy's query language, finds them; an empty one finds all. Labels that people
    /// decided stay; of a document with undecided labels those are predicted. The encoder's answer to a
    /// text is reused where the datastore has it; else the stored text is encoded. A document that
    /// cannot be encoded keeps its tags; with [`OnFailure::Fail`](crate::OnFailure::Fail) that interrupts the job.
    ///
    /// All earlier operations are committed first. After a crash
    /// [`resume`](TaggingWriter::resume) goes on from the last commit, with the settings that the
    /// writer's tagger has when this call begins.
    ///
    /// # Errors
    ///
    /// [`Error::JobUnfinished`] when another job is, [`Error::NotStored`] when the schema does not
    /// store all of a document, [`Error::Query`] when the query cannot be read, and as
    /// [`commit`](TaggingWriter::commit).
    pub fn retag(&self, query: &str, progress: impl FnMut(JobProgress)) -> Result<RetagReport> {
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
    ) -> Result<RetagReport> {
        self.retag_as("", Some(bundle), progress)
    }

    fn retag_as(
        &self,
        query: &str,
        moved_to: Option<Fingerprint>,
        progress: impl FnMut(JobProgress),
    ) -> Result<RetagReport> {
        let _one = self.begin_job();
        source::check_stored(&self.schema)?;
        let settings = Some(TagSettings::of(&self.pipeline.worker.tagger()));
        let task = Task::Retag { query: query.to_owned(), settings, moved_to };
        // Before it begins: a query that cannot be read would never be finished.
        self.query(&task, &self.pipeline.queue.snapshot()?)?;
        self.begin(|_| Ok(task))?;
        self.run_job(progress)
    }

    /// Changes a label everywhere: in the datastore at once, then in all documents that have it.
    ///
    /// After a crash [`resume`](TaggingWriter::resume) goes on with the documents.
    /// Documents that were not labeled by people get a restored label back when they are tagged
    /// again.
    ///
    /// # Errors
    ///
    /// [`Error::Datastore`] when the change does not fit the labels; nothing is changed then. As
    /// [`retag`](TaggingWriter::retag) otherwise.
    pub fn change_labels(
        &self,
        change: &LabelChange,
        progress: impl FnMut(JobProgress),
    ) -> Result<RetagReport> {
        let _one = self.begin_job();
        source::check_stored(&self.schema)?;
        self.begin(|datastore| {
            let (id, name) = datastore.change_labels(|labels| change.apply(labels))?;
            Ok(Task::Relabel { label: id.0, name, change: Some(change.clone()) })
        })?;
        self.run_job(progress)
    }

    /// Returns the unfinished job, which waits for [`resume`](TaggingWriter::resume).
    pub fn unfinished_job(&self) -> Option<Job> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).job.clone()
    }

    /// Resumes the unfinished job, with the settings that it was begun with; does nothing where
    /// there is none.
    ///
    /// # Errors
    ///
    /// As [`retag`](TaggingWriter::retag).
    pub fn resume(&self, progress: impl FnMut(JobProgress)) -> Result<RetagReport> {
        let _one = self.begin_job();
        self.run_job(progress)
    }

    /// Interrupts a job that another thread runs: at its next document it commits, returns its
    /// report so far, and waits for [`resume`](TaggingWriter::resume). Does nothing where none runs.
    pub fn interrupt_job(&self) {
        self.interrupts_job.store(true, Ordering::Relaxed);
    }

    /// Waits until no other job runs. An interruption from here on is for this one.
    fn begin_job(&self) -> MutexGuard<'_, ()> {
        let one = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        self.interrupts_job.store(false, Ordering::Relaxed);
        one
    }

    fn begin(&self, task: impl FnOnce(&mut DatastoreWriter) -> Result<Task>) -> Result<()> {
        self.commit_with(|stores, payload| {
            if let Some(job) = &payload.job {
                return Err(Error::JobUnfinished { job: Box::new(job.clone()) });
            }
            payload.job = Some(Job { task: task(&mut stores.datastore)?, after: None });
            Ok(())
        })
    }

    fn run_job(&self, progress: impl FnMut(JobProgress)) -> Result<RetagReport> {
        let Some(job) = self.unfinished_job() else { return Ok(RetagReport::default()) };
        let worker = &self.pipeline.worker;
        let settings = match &job.task {
            Task::Retag { settings, .. } => settings.clone(),
            Task::Relabel { .. } => None,
        };
        // They stay until the next job: documents of an interrupted one may still be in the queue.
        worker.set_job_settings(settings);
        self.work_through(job, progress)
    }

    fn work_through(
        &self,
        Job { task, after }: Job,
        mut progress: impl FnMut(JobProgress),
    ) -> Result<RetagReport> {
        let queue = &self.pipeline.queue;
        queue.ledger(Ledger::take_retagged);
        let keys = self.keys(&task, &queue.snapshot()?)?;
        let total = keys.len();
        for (done, key) in (1..).zip(keys) {
            if after.as_ref().is_none_or(|after| key > *after) {
                self.work_on(&task, &key)?;
                let is_interrupted = self.interrupts_job.load(Ordering::Relaxed);
                if is_interrupted || done % self.options.job_documents == 0 {
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
        committed
    }

    /// Submits one document; one that was changed since the last commit is up to date anyway.
    fn work_on(&self, task: &Task, key: &str) -> Result<()> {
        loop {
            let Snapshot { generation, neighbors, searcher } = self.pipeline.queue.snapshot()?;
            let Worker { fields, checks, .. } = &self.pipeline.worker;
            let Some(stored) = source::read(&searcher, fields, key, checks)? else {
                return Ok(());
            };
            let Some(action) = action(task, key, stored, &neighbors)? else { return Ok(()) };
            drop((searcher, neighbors));
            let submitted = self.submit_made_from(generation, key.to_owned(), action)?;
            if submitted.is_some() || self.pipeline.queue.is_changed(key) {
                return Ok(());
            }
        }
    }

    /// Returns the keys of a job's documents, in their order.
    fn keys(&self, task: &Task, snapshot: &Snapshot) -> Result<BTreeSet<String>> {
        let query = self.query(task, snapshot)?;
        let fields = &self.pipeline.worker.fields;
        let mut keys = source::keys(&snapshot.searcher, fields, query.as_ref())?;
        if let Task::Relabel { label, .. } = task {
            let neighbors = &snapshot.neighbors;
            keys.extend(rejecting(LabelId(*label), neighbors)?);
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
        let fields = &self.pipeline.worker.fields;
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

/// Returns the keys of the documents of which people rejected a label: their evidence names it.
fn rejecting(label: LabelId, neighbors: &DatastoreReader) -> Result<Vec<String>> {
    const AT_ONCE: usize = 1024;
    let labels = neighbors.labels();
    let target = labels.resolve(label);
    let stands_for_it =
        |&id: &LabelId| id == label || (target.is_some() && labels.resolve(id) == target);
    let mut rejecting = Vec::new();
    for keys in neighbors.document_keys()?.chunks(AT_ONCE) {
        let borrowed: Vec<&str> = keys.iter().map(String::as_str).collect();
        for (key, record) in keys.iter().zip(neighbors.documents(&borrowed)?) {
            if record.is_some_and(|record| record.rejected.ids().iter().any(stands_for_it)) {
                rejecting.push(key.clone());
            }
        }
    }
    Ok(rejecting)
}

/// Returns the action of a task on a document; `None` where it has none.
fn action(
    task: &Task,
    key: &str,
    stored: StoredDocument,
    neighbors: &DatastoreReader,
) -> Result<Option<Action>> {
    let item = neighbors.get(key)?.filter(|item| item.source == Source::Human);
    if let Task::Retag { .. } = task {
        return Ok(retag(stored, item.is_some()));
    }
    let labels = neighbors.labels();
    let mut evidence = stored.evidence.relabeled(labels);
    if let Some(item) = item {
        evidence = evidence.with_given(&document::label_names(&item.labels, labels));
    }
    Ok(rewrite(stored, evidence))
}

/// Predicts the labels of a document that people did not decide; those that they decided stay.
fn retag(stored: StoredDocument, is_neighbor: bool) -> Option<Action> {
    let evidence = &stored.evidence;
    let has_undecided = evidence.review == Review::Partial;
    if evidence.not_voting || (is_neighbor && !has_undecided) {
        return None;
    }
    if is_neighbor || (evidence.given().is_empty() && evidence.review.is_none()) {
        return Some(Action::Index(stored.document, Labeling::Repredict(stored.evidence)));
    }
    // The encoder that the index was migrated to cannot encode it.
    let evidence = Evidence { not_voting: true, ..stored.evidence.clone() };
    Some(Action::Rewrite(stored, evidence))
}

fn rewrite(stored: StoredDocument, evidence: Evidence) -> Option<Action> {
    (evidence != stored.evidence).then_some(Action::Rewrite(stored, evidence))
}

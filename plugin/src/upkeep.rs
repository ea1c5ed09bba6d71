//! Work over many documents of an index: tagging them again, giving labels other names.
//!
//! A job goes through the documents in the order of their keys and commits now and then; each
//! commit's payload says how far it got. Searches and other writing go on meanwhile.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use autotag::{DatastoreReader, DatastoreWriter, Encoder, Fingerprint, LabelId, Source, failpoint};
use tantivy::Term;
use tantivy::query::{AllQuery, BooleanQuery, Query, TermQuery};
use tantivy::schema::IndexRecordOption;

use crate::job::{Job, JobProgress, LabelChange, TagSettings, Task};
use crate::ledger::Ledger;
use crate::operation::{Action, Snapshot, StoredDocument};
use crate::worker::Worker;
use crate::{
    Error, Evidence, Origin, Result, RetagReport, TaggingWriter, document, search, source,
};

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
    ) -> Result<RetagReport> {
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
    pub fn resume(&self, progress: impl FnMut(JobProgress)) -> Result<RetagReport> {
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

    fn run_job(&self, progress: impl FnMut(JobProgress)) -> Result<RetagReport> {
        let Some(job) = self.unfinished_job() else { return Ok(RetagReport::default()) };
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
    ) -> Result<RetagReport> {
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
    committed: StoredDocument,
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

//! The writer: documents in, tagged documents in the index.

pub(crate) mod opening;

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use autotag::{Datastore, Encoder, LabelSet, Tagger};
use tantivy::schema::Schema;
use tantivy::{Index, IndexReader, TantivyDocument};

use crate::budget::Budget;
use crate::commit::{self, CommitOutcome, Payload};
use crate::guard::{guard, open_reader};
use crate::operation::{Action, GivenLabels, LabelSource, Labeling, Operation, Snapshot};
use crate::pipeline::Pipeline;
use crate::queue::Queue;
use crate::segments::SegmentChecks;
use crate::stores::Stores;
use crate::worker::Worker;
use crate::{
    CommitSummary, Error, Result, TagFields, WriterOptions, WriterStats, WriterTimes, document,
};

use opening::{check_encoder, check_vocabulary, open_stores};

/// Tags documents while they are indexed.
///
/// All methods take `&self`: share the writer between threads, in an [`Arc`] where needed. A
/// thread's operations take effect in their order, and the last operation on a key wins. Nothing is
/// visible before [`commit`](TaggingWriter::commit), with one exception: an operation that follows a
/// correction or a job's change of the same key, or that corrects an uncommitted document, commits
/// everything before it. Dropping the writer loses uncommitted work.
///
/// `add`, `add_labeled` and `delete` block while more is in flight than [`WriterOptions`] allow,
/// `commit` until its work is done. In async code call them through
/// `tokio::task::spawn_blocking` or from a thread of your own that a channel feeds.
///
/// [`OnFailure`](crate::OnFailure) is the policy for documents that cannot be tagged. When a store
/// fails, as on a full disk, or the encoder panics, the writer stops: every call returns
/// [`Error::Stopped`] with the cause, and the index must be opened again, in the state of its last
/// commit.
pub struct TaggingWriter<E: Encoder + 'static> {
    pub(crate) pipeline: Arc<Pipeline<E>>,
    pub(crate) schema: Schema,
    datastore: Datastore,
    /// Tantivy's side of the last commit.
    reader: IndexReader,
    /// The last commit; locked while one is made.
    pub(crate) committed: Mutex<Payload>,
    /// Locked while a job runs: one at a time.
    pub(crate) job: Mutex<()>,
    /// The number of documents between two commits of a job.
    pub(crate) job_documents: NonZeroUsize,
    /// Set to stop the running job at its next document.
    pub(crate) interrupts_job: AtomicBool,
    threads: Vec<JoinHandle<()>>,
    opened: Instant,
}

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Opens an index for tagging. A commit that a killed process left unfinished is completed or
    /// dropped, in both stores alike, and unused files are removed.
    ///
    /// The index may have any schema that has the fields which `fields` names. The datastore holds
    /// the neighbors and changes with the index: give every index one of its own.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when another writer has the index or the datastore open,
    /// [`Error::EncoderMismatch`] when another encoder made the index, [`Error::LabelMismatch`]
    /// when the datastore was made for another model, [`Error::FieldType`] and its like when the
    /// fields do not fit, [`Error::Tantivy`] and [`Error::Datastore`] when a store fails.
    pub fn open(
        index: Index,
        datastore: Datastore,
        tagger: Tagger<E>,
        fields: TagFields,
        options: WriterOptions,
    ) -> Result<Self> {
        let schema = index.schema();
        fields.check(&schema)?;
        check_encoder(&tagger, datastore.encoder())?;
        let checks = SegmentChecks::new(index.clone());
        checks.check_small()?;
        let (stores, payload) = open_stores(&index, &datastore, &fields, &options)?;
        let neighbors = datastore.reader()?;
        check_vocabulary(tagger.encoder().labels(), neighbors.labels())?;
        let payload = payload.at_least(neighbors.generation());
        let reader = open_reader(&index)?;
        let (generation, searcher) = (payload.generation, reader.searcher());
        let snapshot = Snapshot { generation, neighbors, searcher };

        let n_threads = options.n_threads();
        let pipeline = Arc::new(Pipeline {
            queue: Queue::new(&options, snapshot),
            budget: Budget::new(&options),
            stores: Mutex::new(Some(stores)),
            worker: Worker::new(tagger, fields, checks, options.on_failure, options.clock),
        });
        let mut writer = TaggingWriter {
            pipeline,
            schema,
            datastore,
            reader,
            committed: Mutex::new(payload),
            job: Mutex::new(()),
            job_documents: options.job_documents,
            interrupts_job: AtomicBool::new(false),
            threads: vec![],
            opened: Instant::now(),
        };
        for number in 0..n_threads {
            let pipeline = writer.pipeline.clone();
            let thread = thread::Builder::new().name(format!("autotag-{number}"));
            let thread = thread.spawn(move || pipeline.work()).map_err(Error::Thread)?;
            writer.threads.push(thread);
        }
        Ok(writer)
    }

    /// Tags a document and indexes it, in the place of the one that has its key.
    ///
    /// It is no neighbor, and a neighbor of an earlier document under this key is removed. What a person said by [`correct`] stays until a
    /// person or a labeled document says otherwise: the labels given stay, with the new text as their
    /// neighbor, and the labels rejected stay rejected. An unchanged text is not encoded again.
    ///
    /// [`correct`]: TaggingWriter::correct
    ///
    /// # Errors
    ///
    /// When the document has no key or several, brings values in autotag's own fields, or values
    /// that do not fit the schema; then it is not taken. [`Error::Document`] reports an earlier
    /// document where the policy says so, [`Error::Stopped`] that the writer takes no more work.
    pub fn add(&self, document: TantivyDocument) -> Result<()> {
        let key = document::check(&document, &self.pipeline.worker.fields, &self.schema)?;
        self.submit(key, Action::Index(document, Labeling::Predict))
    }

    /// Indexes a document with the labels that a person gave it, in the place of the one that has
    /// its key, and makes it a neighbor from the next commit on.
    ///
    /// Labels may be new: documents like this one get them from then on, without training. No
    /// label at all says that the document has none. Of labels that were changed by
    /// [`change_labels`](TaggingWriter::change_labels) the document gets those that stand for them.
    ///
    /// # Errors
    ///
    /// As [`add`](TaggingWriter::add), and [`Error::Label`] when a label cannot become a facet.
    pub fn add_labeled(
        &self,
        document: TantivyDocument,
        labels: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<()> {
        let key = document::check(&document, &self.pipeline.worker.fields, &self.schema)?;
        let labels = document::check_labels(&key, labels)?;
        let (rejected, source) = (LabelSet::default(), LabelSource::Document);
        let given = GivenLabels { labels, rejected, source };
        self.submit(key, Action::Index(document, Labeling::Given(given)))
    }

    /// Deletes the document and the neighbor that have a key; it is no error when there are none.
    ///
    /// # Errors
    ///
    /// When the key is empty or too long, and as [`add`](TaggingWriter::add) for earlier documents.
    pub fn delete(&self, key: &str) -> Result<()> {
        document::check_key(key)?;
        self.submit(key.to_owned(), Action::Delete)
    }

    /// Makes all earlier operations visible and durable, in both stores.
    ///
    /// Operations that other threads submit meanwhile belong to the next commit. The new neighbors
    /// vote from here on.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] reports an earlier document where the policy says so; then nothing was
    /// committed, and the next call commits all others. [`Error::Stopped`] when a store failed.
    pub fn commit(&self) -> Result<CommitSummary> {
        let done = self.commit_with(|_, _| Ok(()))?;
        let indexing = self.pipeline.budget.indexing();
        let mut summary = self.pipeline.queue.ledger(|ledger| ledger.take_summary(indexing));
        summary.opstamp = done.opstamp;
        summary.generation = done.payload.generation;
        self.trace(&summary);
        Ok(summary)
    }

    /// Replaces the tagger: by other settings, or the same model run otherwise.
    ///
    /// Earlier documents keep their tags until [`retag`](TaggingWriter::retag).
    ///
    /// # Errors
    ///
    /// [`Error::EncoderMismatch`] when its encoder is another one, whose vectors cannot be compared
    /// with those of the index, and [`Error::LabelMismatch`]. The tagger in use stays in use then.
    pub fn replace_tagger(&self, tagger: Tagger<E>) -> Result<()> {
        check_encoder(&tagger, self.datastore.encoder())?;
        let snapshot = self.pipeline.queue.snapshot()?;
        check_vocabulary(tagger.encoder().labels(), snapshot.neighbors.labels())?;
        self.pipeline.worker.set_tagger(tagger);
        Ok(())
    }

    /// Returns the index's schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Returns the work done since the writer was opened.
    pub fn stats(&self) -> WriterStats {
        let Pipeline { queue, budget, .. } = &*self.pipeline;
        let indexing = budget.indexing();
        let mut stats = queue.ledger(|ledger| ledger.stats(indexing));
        stats.queue_depth = budget.operations();
        stats.wall = self.opened.elapsed();
        stats
    }

    /// Closes the writer: waits for Tantivy's merges and releases the index.
    ///
    /// Commit first: uncommitted work is lost. Dropping the writer does the same as this, but only
    /// warns of a failed merge.
    ///
    /// # Errors
    ///
    /// When a merge failed; the last commit is safe nevertheless.
    pub fn close(mut self) -> Result<()> {
        self.shut_down();
        match self.pipeline.lock_stores().take() {
            Some(stores) => {
                let merged = stores.tantivy.wait_merging_threads();
                merged.map_err(Error::tantivy("merged segments"))
            }
            None => Ok(()),
        }
    }

    /// Submits an operation; commits first what it depends on.
    fn submit(&self, mut key: String, mut action: Action) -> Result<()> {
        while let Some(refused) = self.try_submit(key, action, None)? {
            (key, action) = refused;
            // The next call of `commit` counts it in its summary.
            self.commit_with(|_, _| Ok(()))?;
        }
        Ok(())
    }

    /// Submits an operation; returns it where its key's changes must be committed first.
    pub(crate) fn try_submit(
        &self,
        key: String,
        action: Action,
        made_from: Option<u64>,
    ) -> Result<Option<(String, Action)>> {
        let Pipeline { queue, budget, .. } = &*self.pipeline;
        queue.check()?;
        let text = if action.has_text() { self.pipeline.worker.bytes_of_text() } else { 0 };
        let bytes = key.len() + action.bytes() + text;
        let Some(permit) = budget.acquire(bytes, || self.pipeline.probe()) else {
            // The budget is shut after the queue stopped: this returns the cause.
            return queue.check().map(|()| None);
        };
        let refused = queue.push(Operation { key, action, made_from, permit })?;
        Ok(refused.map(|operation| (operation.key, operation.action)))
    }

    /// Commits all earlier operations, and with them the effect of `change` on the stores and the
    /// payload.
    ///
    /// A `change` that fails must have no effect; nothing is committed then.
    pub(crate) fn commit_with(
        &self,
        change: impl FnOnce(&mut Stores, &mut Payload) -> Result<()>,
    ) -> Result<CommitOutcome> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &self.pipeline.queue;
        let outcome = queue.pause().and_then(|()| self.commit_paused(&mut committed, change));
        match outcome {
            Ok((done, snapshot)) => {
                queue.resume_committed(snapshot);
                Ok(done)
            }
            Err(error) => {
                queue.resume();
                Err(error)
            }
        }
    }

    fn commit_paused(
        &self,
        committed: &mut Payload,
        change: impl FnOnce(&mut Stores, &mut Payload) -> Result<()>,
    ) -> Result<(CommitOutcome, Snapshot)> {
        let queue = &self.pipeline.queue;
        queue.check()?;
        let mut payload = committed.clone();
        self.pipeline.with_stores(|stores| change(stores, &mut payload))?;
        queue.release_snapshot();
        let outcome = self.pipeline.with_stores(|stores| {
            let done = commit::commit(stores, &payload)?;
            Ok((done, self.snapshot_of_newest()?))
        });
        let (done, mut snapshot) = outcome.map_err(|cause| self.pipeline.stop(cause))?;
        snapshot.generation = done.payload.generation;
        *committed = done.payload.clone();
        queue.ledger(|ledger| {
            let (tantivy, datastore) = (done.tantivy, done.datastore);
            ledger.add_times(&WriterTimes { tantivy, datastore, ..WriterTimes::default() });
        });
        Ok((done, snapshot))
    }

    /// Traces a commit's summary and the queue's depth.
    fn trace(&self, summary: &CommitSummary) {
        let WriterStats { queue_depth, batches, encoded, reused, .. } = self.stats();
        let CommitSummary { tagged, labeled, deleted, failed, generation, times, .. } = summary;
        tracing::debug!(
            generation,
            tagged,
            labeled,
            deleted,
            failed,
            queue_depth,
            batches,
            encoded,
            reused,
            tokenize_ms = times.tokenize.as_millis() as u64,
            encode_ms = times.encode.as_millis() as u64,
            neighbors_ms = times.neighbors.as_millis() as u64,
            tantivy_ms = times.tantivy.as_millis() as u64,
            datastore_ms = times.datastore.as_millis() as u64,
            "committed"
        );
    }

    fn snapshot_of_newest(&self) -> Result<Snapshot> {
        let neighbors = self.datastore.reader()?;
        let reload = || self.reader.reload().map_err(Error::tantivy("read the newest commit"));
        guard("read the newest commit", reload)?;
        Ok(Snapshot { generation: 0, neighbors, searcher: self.reader.searcher() })
    }

    fn shut_down(&mut self) {
        if self.threads.is_empty() {
            return;
        }
        if self.pipeline.queue.has_uncommitted() {
            tracing::warn!("the writer is closed with uncommitted work, which is lost");
        }
        self.pipeline.queue.close();
        self.pipeline.budget.shut();
        for thread in self.threads.drain(..) {
            // A panic was caught and reported already.
            let _ = thread.join();
        }
    }
}

impl<E: Encoder + 'static> Drop for TaggingWriter<E> {
    /// Waits for Tantivy's merges.
    ///
    /// Why? A dropped `IndexWriter` releases its lock while a merge may be ending, which then writes
    /// the list of segments and removes files that the next writer has read about already.
    fn drop(&mut self) {
        self.shut_down();
        let stores = self.pipeline.lock_stores().take();
        if let Some(Err(error)) = stores.map(|stores| stores.tantivy.wait_merging_threads()) {
            tracing::warn!(%error, "a merge failed; the last commit is safe");
        }
    }
}

//! The writer: documents in, tagged documents in the index.

pub(crate) mod opening;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use autotag::{Datastore, Encoder, Tagger};
use tantivy::schema::Schema;
use tantivy::{Index, IndexReader, TantivyDocument};

use crate::budget::{Budget, Permit};
use crate::commit::{self, CommitOutcome, Payload};
use crate::guard::{guard, open_reader};
use crate::operation::{Action, Labeling, Operation, Snapshot};
use crate::pipeline::Pipeline;
use crate::queue::{Pushed, Queue};
use crate::segments::SegmentChecks;
use crate::stores::Stores;
use crate::worker::Worker;
use crate::{
    CommitSummary, Error, Health, LastCommit, OutsideChanges, Result, TagFields, Ticket,
    TicketStatus, WriterOptions, WriterStats, WriterTimes, document,
};

use opening::{Opened, check_encoder, check_index, check_vocabulary, open_stores};

/// Tags documents while they are indexed.
///
/// All methods take `&self`: share the writer between threads, in an [`Arc`] where needed. A
/// thread's operations take effect in their order, and the last operation on a key wins. Nothing is
/// visible or durable before a commit, and no other call commits than [`commit`](Self::commit),
/// [`close_within`](Self::close_within) and the jobs ([`retag`](Self::retag),
/// [`change_labels`](Self::change_labels), [`resume`](Self::resume)). An operation that depends on an
/// uncommitted one is refused with [`Error::NotCommitted`].
///
/// # Durability
///
/// Each operation has a [`Ticket`]. [`wait_for`](Self::wait_for) waits until a commit has covered it, and
/// tells whether its document was committed, failed, or was dropped by [`rollback`](Self::rollback).
///
/// Dropping the writer, and [`close`](Self::close), lose every operation since the last commit, in both
/// stores; both wait for the chunks that the tagging threads are at, so a call of the encoder that never
/// returns makes them hang. `close_within` commits first and waits for the encoder no longer than it was
/// told to.
///
/// # Failures
///
/// [`OnFailure`](crate::OnFailure) is the policy for documents that cannot be tagged, also those at
/// which the encoder panics. When a store fails, as on a full disk, or the encoder fails on 128 texts in
/// a row, the writer stops: every call returns [`Error::Stopped`] with the cause,
/// [`health`](Self::health) tells it, and the index must be opened again, in the state of its last commit.
///
/// # Async code
///
/// `add`, `add_labeled` and `delete` block while more is in flight than [`WriterOptions`] allow,
/// `commit` until its work is done. Give the writer a thread of its own (`std::thread`, not the
/// runtime's pool for blocking calls, of which it would hold a thread forever) and feed it through a
/// bounded channel, whose back-pressure then holds the handlers up and not the runtime. Commit there at
/// intervals, not by request, and answer those who wait for durability after each commit, by the
/// [`status`](Self::status) of their tickets. The example `async_service` does all of this. A handler
/// that may not wait at all calls [`try_add`](Self::try_add), which never blocks.
pub struct TaggingWriter<E: Encoder + 'static> {
    pub(crate) pipeline: Arc<Pipeline<E>>,
    pub(crate) schema: Schema,
    datastore: Datastore,
    /// Tantivy's side of the last commit.
    reader: IndexReader,
    /// The last commit; locked while one is made.
    pub(crate) committed: Mutex<Payload>,
    /// The changes of another program before the writer was opened.
    outside: Option<OutsideChanges>,
    /// Locked while a job runs: one at a time.
    pub(crate) job: Mutex<()>,
    pub(crate) options: WriterOptions,
    /// Set to stop the running job at its next document.
    pub(crate) interrupts_job: AtomicBool,
    /// Empty once the writer is closed.
    threads: Mutex<Vec<JoinHandle<()>>>,
    opened: Instant,
}

impl<E: Encoder + 'static> fmt::Debug for TaggingWriter<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = formatter.debug_struct("TaggingWriter");
        writer.field("health", &self.health()).field("committed", &self.committed());
        writer.finish_non_exhaustive()
    }
}

/// The outcome of a submission that does not wait.
#[derive(Debug)]
pub enum Submission {
    /// The document is taken.
    Accepted(Ticket),
    /// It would wait; the document comes back.
    Full(TantivyDocument),
}

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Opens an index for tagging. A commit that a killed process left unfinished is completed or
    /// dropped, in both stores alike, and unused files are removed.
    ///
    /// Where another program committed to the index since, neighbors of documents that it deleted or
    /// replaced are removed before anything is tagged, and
    /// [`outside_changes`](TaggingWriter::outside_changes) says what was found. That takes reading
    /// all documents.
    ///
    /// The index may have any schema that has the fields which `fields` names. The datastore holds
    /// the neighbors and changes with the index: give every index one of its own.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when another writer has the index or the datastore open,
    /// [`Error::EncoderMismatch`] when another encoder made the index, [`Error::LabelMismatch`]
    /// when the datastore was made for another model, [`Error::FieldType`] and its like when the
    /// fields do not fit, [`Error::TokenizerMissing`] when the schema names a tokenizer that is not
    /// registered, [`Error::NotStored`] when documents could not be corrected and
    /// [`WriterOptions::corrections`] requires it, [`Error::Tantivy`] and [`Error::Datastore`] when a store fails.
    pub fn open(
        index: Index,
        datastore: Datastore,
        tagger: Tagger<E>,
        fields: TagFields,
        options: WriterOptions,
    ) -> Result<Self> {
        let schema = index.schema();
        check_index(&index, &fields, &options)?;
        check_encoder(&tagger, datastore.encoder())?;
        let checks = SegmentChecks::new(index.clone());
        checks.check_small()?;
        let labels = tagger.encoder().labels();
        let opened = open_stores(&index, &datastore, labels, &fields, &checks, &options)?;
        let Opened { stores, last, neighbors, outside } = opened;
        let reader = open_reader(&index)?;
        let (generation, searcher) = (last.generation, reader.searcher());
        let snapshot = Snapshot { generation, neighbors, searcher };

        let n_threads = options.n_threads();
        let pipeline = Arc::new(Pipeline {
            queue: Queue::new(&options, snapshot),
            threads: options.shared_threads.clone(),
            budget: Budget::new(&options),
            stores: Mutex::new(Some(stores)),
            worker: Worker::new(tagger, fields, checks, &options),
        });
        let writer = TaggingWriter {
            pipeline,
            schema,
            datastore,
            reader,
            committed: Mutex::new(last),
            outside,
            job: Mutex::new(()),
            options,
            interrupts_job: AtomicBool::new(false),
            threads: Mutex::default(),
            opened: Instant::now(),
        };
        for number in 0..n_threads {
            let pipeline = writer.pipeline.clone();
            let thread = thread::Builder::new().name(format!("autotag-{number}"));
            let thread = thread.spawn(move || pipeline.work()).map_err(Error::Thread)?;
            writer.lock_threads().push(thread);
        }
        Ok(writer)
    }

    /// Tags a document and indexes it, in the place of the one that has its key.
    ///
    /// It is no neighbor, and a neighbor of an earlier document under this key is removed. What a person
    /// said by [`correct`] stays until a
    /// person or a labeled document says otherwise: the labels given stay, with the new text as their
    /// neighbor, and the labels rejected stay rejected. An unchanged text is not encoded again.
    ///
    /// [`correct`]: TaggingWriter::correct
    ///
    /// # Errors
    ///
    /// When the document has no key or several, brings values in autotag's own fields, or values
    /// that do not fit the schema; then it is not taken. [`Error::NotCommitted`], with the document, when
    /// it follows an uncommitted correction of its key, or another uncommitted change of a document with
    /// a correction. [`Error::Document`] reports an earlier document where the policy says so,
    /// [`Error::Stopped`] and [`Error::Closed`] that the writer takes no more work.
    pub fn add(&self, document: TantivyDocument) -> Result<Ticket> {
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
    ) -> Result<Ticket> {
        let (key, labeling) = self.labeled(&document, labels)?;
        self.submit(key, Action::Index(document, labeling))
    }

    /// Deletes the document and the neighbor that have a key; it is no error when there are none.
    ///
    /// # Errors
    ///
    /// When the key is empty or too long, [`Error::NotCommitted`] when the deletion follows an
    /// uncommitted correction of the key, and as [`add`](TaggingWriter::add) for earlier documents.
    pub fn delete(&self, key: &str) -> Result<Ticket> {
        document::check_key(key)?;
        self.submit(key.to_owned(), Action::Delete)
    }

    /// Tags a document and indexes it as [`add`](TaggingWriter::add) does, but gives it back where that
    /// would wait: for room, or for a commit in progress.
    ///
    /// # Errors
    ///
    /// As [`add`](TaggingWriter::add).
    pub fn try_add(&self, document: TantivyDocument) -> Result<Submission> {
        let key = document::check(&document, &self.pipeline.worker.fields, &self.schema)?;
        self.try_submit_document(key, document, Labeling::Predict)
    }

    /// Indexes a document with labels as [`add_labeled`](TaggingWriter::add_labeled) does, but gives it
    /// back where that would wait.
    ///
    /// # Errors
    ///
    /// As [`add_labeled`](TaggingWriter::add_labeled).
    pub fn try_add_labeled(
        &self,
        document: TantivyDocument,
        labels: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Submission> {
        let (key, labeling) = self.labeled(&document, labels)?;
        self.try_submit_document(key, document, labeling)
    }

    /// Deletes a document as [`delete`](TaggingWriter::delete) does, but returns `None` where that would
    /// wait.
    ///
    /// # Errors
    ///
    /// As [`delete`](TaggingWriter::delete).
    pub fn try_delete(&self, key: &str) -> Result<Option<Ticket>> {
        document::check_key(key)?;
        Ok(self.try_submit(key.to_owned(), Action::Delete)?.ok())
    }

    /// Waits until a commit has covered an operation, or until the time is over; it does not commit by
    /// itself. Returns [`TicketStatus::Pending`] when the time is over.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the writer stopped before a commit covered it: it is lost.
    pub fn wait_for(&self, ticket: Ticket, timeout: Duration) -> Result<TicketStatus> {
        self.pipeline.queue.wait_for(ticket, Instant::now().checked_add(timeout))
    }

    /// Returns what became of an operation so far.
    ///
    /// # Errors
    ///
    /// As [`wait_for`](TaggingWriter::wait_for).
    pub fn status(&self, ticket: Ticket) -> Result<TicketStatus> {
        self.wait_for(ticket, Duration::ZERO)
    }

    /// Returns the last commit of this writer, or that of the index when it was opened.
    pub fn committed(&self) -> LastCommit {
        self.pipeline.queue.committed()
    }

    /// Returns the writer's state: it runs, has stopped, or is closed.
    pub fn health(&self) -> Health {
        self.pipeline.queue.health()
    }

    /// Makes all earlier operations visible and durable, in both stores.
    ///
    /// Operations that other threads submit meanwhile belong to the next commit. The new neighbors
    /// vote from here on.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] reports an earlier document where the policy says so; then nothing was
    /// committed, and the next call commits all others. [`Error::Stopped`] when a store failed,
    /// [`Error::Closed`].
    pub fn commit(&self) -> Result<CommitSummary> {
        self.commit_reporting(|_, _| Ok(()), |done| self.summarize(done))
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

    /// Returns what another program changed between autotag's last commit and the opening of this
    /// writer; `None` where autotag made the last commit.
    pub fn outside_changes(&self) -> Option<&OutsideChanges> {
        self.outside.as_ref()
    }

    /// Returns the index.
    pub(crate) fn index(&self) -> Index {
        self.reader.searcher().index().clone()
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
        stats.health = queue.health();
        stats.queue_depth = budget.operations();
        stats.wall = self.opened.elapsed();
        stats
    }

    /// Returns the key and the labeling of a document that comes with labels.
    fn labeled(
        &self,
        document: &TantivyDocument,
        labels: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(String, Labeling)> {
        let key = document::check(document, &self.pipeline.worker.fields, &self.schema)?;
        let labels = document::check_labels(&key, labels)?;
        Ok((key, Labeling::Given(labels)))
    }

    /// Submits an operation that needs no committed document.
    fn submit(&self, key: String, action: Action) -> Result<Ticket> {
        let permit = self.permit(&key, &action, Room::Awaited)?.ok_or(Error::Closed)?;
        let mut operation = Operation::new(key, action, None, permit);
        loop {
            match self.try_push(operation)? {
                Ok(ticket) => return Ok(ticket),
                Err(early) => operation = *early,
            }
            self.pipeline.queue.await_commit()?;
        }
    }

    /// Submits an operation that needs no committed document, or returns its action where that would
    /// wait.
    fn try_submit(&self, key: String, action: Action) -> Result<Result<Ticket, Action>> {
        let Some(permit) = self.permit(&key, &action, Room::Now)? else { return Ok(Err(action)) };
        let pushed = self.try_push(Operation::new(key, action, None, permit))?;
        Ok(pushed.map_err(|early| early.action))
    }

    fn try_submit_document(
        &self,
        key: String,
        document: TantivyDocument,
        labeling: Labeling,
    ) -> Result<Submission> {
        let submitted = self.try_submit(key, Action::Index(document, labeling))?;
        Ok(match submitted.map_err(Action::into_document) {
            Ok(ticket) => Submission::Accepted(ticket),
            Err(document) => Submission::Full(document.expect("it was made of a document")),
        })
    }

    /// Hands an operation to the queue; gives it back where that would wait for a commit in progress.
    fn try_push(&self, operation: Operation) -> Result<Result<Ticket, Box<Operation>>> {
        match self.pipeline.queue.push(operation)? {
            Pushed::Accepted(ticket) => Ok(Ok(ticket)),
            Pushed::Early(operation) => Ok(Err(operation)),
            Pushed::Refused(operation) => Err(operation.not_committed()),
        }
    }

    /// Submits an operation that was made from the document of a commit; returns `None` where its key
    /// was changed since, or a commit is being made.
    pub(crate) fn submit_made_from(
        &self,
        generation: u64,
        key: String,
        action: Action,
    ) -> Result<Option<Ticket>> {
        let permit = self.permit(&key, &action, Room::Awaited)?.ok_or(Error::Closed)?;
        let operation = Operation::new(key, action, Some(generation), permit);
        match self.pipeline.queue.push(operation)? {
            Pushed::Accepted(ticket) => Ok(Some(ticket)),
            Pushed::Refused(_) | Pushed::Early(_) => Ok(None),
        }
    }

    /// Takes room for an operation; `None` where there is none now.
    fn permit(&self, key: &str, action: &Action, room: Room) -> Result<Option<Permit>> {
        let Pipeline { queue, budget, worker, .. } = &*self.pipeline;
        queue.check()?;
        let text = if action.has_text() { worker.bytes_of_text() } else { 0 };
        // The key is in the operation and in the list of its chunk's keys.
        let bytes = 2 * key.len() + action.bytes() + text;
        let probe = || self.pipeline.probe();
        let permit = match room {
            Room::Awaited => budget.acquire(bytes, probe),
            Room::Now => budget.try_acquire(bytes, probe),
        };
        // Without one the budget may be shut, since the queue stopped: this returns the cause.
        if permit.is_none() {
            queue.check_open()?;
        }
        Ok(permit)
    }

    /// Commits all earlier operations, and with them the effect of `change` on the stores and the
    /// payload.
    ///
    /// A `change` that fails must have no effect; nothing is committed then.
    pub(crate) fn commit_with(
        &self,
        change: impl FnOnce(&mut Stores, &mut Payload) -> Result<()>,
    ) -> Result<()> {
        self.commit_reporting(change, |_| ())
    }

    fn commit_reporting<T>(
        &self,
        change: impl FnOnce(&mut Stores, &mut Payload) -> Result<()>,
        report: impl FnOnce(&CommitOutcome) -> T,
    ) -> Result<T> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &self.pipeline.queue;
        let paused = queue.pause().and_then(|()| queue.check());
        let outcome = paused.and_then(|()| self.commit_paused(&mut committed, change));
        self.end_pause(outcome, report)
    }

    /// Ends a pause; `report` is called before later operations are worked on, which it must not count.
    pub(crate) fn end_pause<T>(
        &self,
        outcome: Result<(CommitOutcome, Snapshot)>,
        report: impl FnOnce(&CommitOutcome) -> T,
    ) -> Result<T> {
        let queue = &self.pipeline.queue;
        match outcome {
            Ok((done, snapshot)) => {
                let report = report(&done);
                queue.resume_committed(snapshot);
                Ok(report)
            }
            Err(error) => {
                queue.resume();
                Err(error)
            }
        }
    }

    pub(crate) fn commit_paused(
        &self,
        committed: &mut Payload,
        change: impl FnOnce(&mut Stores, &mut Payload) -> Result<()>,
    ) -> Result<(CommitOutcome, Snapshot)> {
        let queue = &self.pipeline.queue;
        let mut payload = committed.clone();
        self.pipeline.with_stores(|stores| change(stores, &mut payload))?;
        queue.release_snapshot();
        let outcome = self.pipeline.with_stores(|stores| {
            let done = commit::commit(stores, &payload)?;
            let snapshot = self.snapshot_of_newest(done.payload.generation)?;
            Ok((done, snapshot))
        });
        let (done, snapshot) = outcome.map_err(|cause| self.pipeline.stop(cause))?;
        *committed = done.payload.clone();
        queue.ledger(|ledger| {
            let (tantivy, datastore) = (done.tantivy, done.datastore);
            ledger.add_times(&WriterTimes { tantivy, datastore, ..WriterTimes::default() });
        });
        Ok((done, snapshot))
    }

    /// Returns the summary of the work since it was last taken, up to a commit.
    pub(crate) fn summarize(&self, done: &CommitOutcome) -> CommitSummary {
        let indexing = self.pipeline.budget.indexing();
        let mut summary = self.pipeline.queue.ledger(|ledger| ledger.take_summary(indexing));
        summary.opstamp = done.opstamp;
        summary.generation = done.payload.generation;
        self.trace(&summary);
        summary
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

    fn snapshot_of_newest(&self, generation: u64) -> Result<Snapshot> {
        let neighbors = self.datastore.reader()?;
        let reload = || self.reader.reload().map_err(Error::tantivy("read the newest commit"));
        guard("read the newest commit", reload)?;
        Ok(Snapshot { generation, neighbors, searcher: self.reader.searcher() })
    }

    pub(crate) fn lock_threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The policy for an operation that finds the queue full.
#[derive(Clone, Copy)]
enum Room {
    /// It is waited for.
    Awaited,
    /// Now or not at all.
    Now,
}

//! The writer: documents in, tagged documents in the index.

pub(crate) mod opening;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use autotag::{Datastore, Encoder, Tagger};
use tantivy::schema::Schema;
use tantivy::{Index, IndexReader, TantivyDocument};

use crate::budget::Budget;
use crate::commit::{self, CommitOutcome, Payload};
use crate::guard::{guard, open_reader};
use crate::operation::{Action, Chunk, Operation, Snapshot};
use crate::queue::{Pushed, Queue};
use crate::segments::SegmentChecks;
use crate::stores::Stores;
use crate::worker::Worker;
use crate::{
    CommitSummary, Error, Result, TagFields, WriterOptions, WriterStats, WriterTimes, document,
};

use opening::{check_labels, open_stores};

/// Tags documents while they are indexed.
///
/// All methods take `&self`: share the writer between threads, in an [`Arc`] where needed. What a
/// thread hands over takes effect in its own order, and so for every key: the last operation wins.
/// Nothing is visible before [`commit`](TaggingWriter::commit), and what was not committed when the
/// writer is dropped is lost.
///
/// `add`, `add_labeled`, `delete` and `commit` may block: the first three when more is under way
/// than [`WriterOptions`] allow, `commit` until its work is done. In async code call them through
/// `tokio::task::spawn_blocking` or from a thread of your own that a channel feeds.
///
/// A document that cannot be tagged is dealt with as [`OnFailure`](crate::OnFailure) says. When a
/// store fails, as on a full disk, or the encoder panics, the writer stops: every call returns
/// [`Error::Stopped`] with the cause, and the index must be opened again, in the state of its last
/// commit.
pub struct TaggingWriter<E: Encoder + 'static> {
    pub(crate) shared: Arc<Shared<E>>,
    pub(crate) schema: Schema,
    datastore: Datastore,
    /// Tantivy's side of the last commit.
    reader: IndexReader,
    /// The last commit; locked while one is made.
    pub(crate) committed: Mutex<Payload>,
    /// Locked while documents are tagged again: one such job at a time.
    pub(crate) job: Mutex<()>,
    /// The documents after which a job commits.
    pub(crate) job_documents: NonZeroUsize,
    /// Whether the job that is worked on shall stop.
    pub(crate) interrupts_job: AtomicBool,
    threads: Vec<JoinHandle<()>>,
    opened: Instant,
}

pub(crate) struct Shared<E> {
    pub(crate) worker: Worker<E>,
    pub(crate) queue: Queue,
    budget: Arc<Budget>,
    /// Absent once the writer was closed.
    stores: Mutex<Option<Stores>>,
}

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Opens an index for tagging. Where a process was killed while it wrote, its last commit is
    /// completed or dropped, in both stores alike, and its unused files are removed.
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
        let (found, expected) = (tagger.encoder().fingerprint(), datastore.encoder());
        if found != expected {
            return Err(Error::EncoderMismatch { index: expected, tagger: found });
        }
        let checks = SegmentChecks::new(index.clone());
        checks.check_small()?;
        let (stores, payload) = open_stores(&index, &datastore, &fields, &options)?;
        let neighbors = datastore.reader()?;
        check_labels(tagger.encoder().labels(), neighbors.labels())?;
        let payload = payload.at_least(neighbors.generation());
        let reader = open_reader(&index)?;
        let (generation, searcher) = (payload.generation, reader.searcher());
        let snapshot = Snapshot { generation, neighbors, searcher };

        let n_threads = options.n_threads();
        let shared = Arc::new(Shared {
            queue: Queue::new(&options, snapshot),
            budget: Budget::new(&options),
            stores: Mutex::new(Some(stores)),
            worker: Worker::new(tagger, fields, checks, options.on_failure),
        });
        let mut writer = TaggingWriter {
            shared,
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
            let shared = writer.shared.clone();
            let thread = thread::Builder::new().name(format!("autotag-{number}"));
            let thread = thread.spawn(move || shared.work()).map_err(Error::Thread)?;
            writer.threads.push(thread);
        }
        Ok(writer)
    }

    /// Tags a document and indexes it, in the place of the one that has its key.
    ///
    /// It is no neighbor: one that came with labels under this key is removed, since its text and
    /// labels are no longer those of a document. What a person said by [`correct`] stays until a
    /// person or a labelled document says otherwise: the labels given stay the document's, whose new
    /// text votes for them from then on, and the labels rejected stay rejected. A text that is the
    /// same as before is not encoded again.
    ///
    /// [`correct`]: TaggingWriter::correct
    ///
    /// # Errors
    ///
    /// When the document has no key or several, brings values in autotag's own fields, or values
    /// that do not fit the schema; then it is not taken. [`Error::Document`] reports an earlier
    /// document where the policy says so, [`Error::Stopped`] that the writer takes no more work.
    pub fn add(&self, document: TantivyDocument) -> Result<()> {
        let key = document::check(&document, &self.shared.worker.fields, &self.schema)?;
        self.submit(key, Action::Tag(document))
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
        let key = document::check(&document, &self.shared.worker.fields, &self.schema)?;
        let labels = document::check_labels(&key, labels)?;
        self.submit(key, Action::Label(document, labels))
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

    /// Makes everything that was handed over before visible and durable, in both stores.
    ///
    /// What other threads hand over meanwhile belongs to the next commit. The new neighbors vote
    /// from here on.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] reports an earlier document where the policy says so; then nothing was
    /// committed, and the next call commits all others. [`Error::Stopped`] when a store failed.
    pub fn commit(&self) -> Result<CommitSummary> {
        let done = self.commit_with(|_, _| Ok(()))?;
        let indexing = self.shared.budget.indexing();
        let mut summary = self.shared.queue.ledger(|ledger| ledger.take_summary(indexing));
        summary.opstamp = done.opstamp;
        summary.generation = done.payload.generation;
        self.trace(&summary);
        Ok(summary)
    }

    /// Uses another tagger from now on: other settings, or the same model run otherwise.
    ///
    /// Documents that were tagged before keep their tags; [`retag`](TaggingWriter::retag) tags them
    /// anew.
    ///
    /// # Errors
    ///
    /// [`Error::EncoderMismatch`] when its encoder is another one, whose vectors cannot be compared
    /// with those of the index, and [`Error::LabelMismatch`]. The tagger in use stays in use then.
    pub fn replace_tagger(&self, tagger: Tagger<E>) -> Result<()> {
        let (found, expected) = (tagger.encoder().fingerprint(), self.datastore.encoder());
        if found != expected {
            return Err(Error::EncoderMismatch { index: expected, tagger: found });
        }
        let snapshot = self.shared.queue.snapshot()?;
        check_labels(tagger.encoder().labels(), snapshot.neighbors.labels())?;
        self.shared.worker.set_tagger(tagger);
        Ok(())
    }

    /// Returns the index's schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Tells what was done since the writer was opened.
    pub fn stats(&self) -> WriterStats {
        let Shared { queue, budget, .. } = &*self.shared;
        let indexing = budget.indexing();
        let mut stats = queue.ledger(|ledger| ledger.stats(indexing));
        stats.queue_depth = budget.operations();
        stats.wall = self.opened.elapsed();
        stats
    }

    /// Closes the writer: waits for Tantivy's merges and releases the index.
    ///
    /// Commit first: what was not committed is lost, as when the writer is dropped. Dropping does the
    /// same as this, but only warns of a merge that failed.
    ///
    /// # Errors
    ///
    /// When a merge failed; the last commit is safe nevertheless.
    pub fn close(mut self) -> Result<()> {
        self.shut_down();
        match self.shared.lock_stores().take() {
            Some(stores) => {
                let merged = stores.tantivy.wait_merging_threads();
                merged.map_err(Error::tantivy("merged segments"))
            }
            None => Ok(()),
        }
    }

    /// Hands an operation over, committing what it must see the outcome of.
    fn submit(&self, key: String, mut action: Action) -> Result<()> {
        loop {
            match self.try_submit(&key, action)? {
                None => return Ok(()),
                Some(refused) => action = refused,
            }
            // What was done stands in the summary of the next call of `commit`.
            self.commit_with(|_, _| Ok(()))?;
        }
    }

    /// Hands an operation over; returns it where its key's changes must be committed first.
    pub(crate) fn try_submit(&self, key: &str, action: Action) -> Result<Option<Action>> {
        let Shared { queue, budget, .. } = &*self.shared;
        queue.check()?;
        let text = if action.has_text() { self.shared.worker.bytes_of_text() } else { 0 };
        let bytes = key.len() + action.bytes() + text;
        let Some(permit) = budget.acquire(bytes, || self.shared.probe()) else {
            // Shut after the queue stopped, so that this tells why.
            return queue.check().map(|()| None);
        };
        match queue.push(Operation { key: key.to_owned(), action, permit })? {
            Pushed::Taken => Ok(None),
            Pushed::AfterCommit(operation) => Ok(Some(operation.action)),
        }
    }

    /// Commits what was handed over before, and with it what `change` does to the stores and the
    /// payload.
    ///
    /// When `change` fails it must have done nothing; nothing is committed then.
    pub(crate) fn commit_with(
        &self,
        change: impl FnOnce(&mut Stores, &mut Payload) -> Result<()>,
    ) -> Result<CommitOutcome> {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &self.shared.queue;
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
        let queue = &self.shared.queue;
        queue.check()?;
        let mut payload = committed.clone();
        self.shared.with_stores(|stores| change(stores, &mut payload))?;
        queue.release_snapshot();
        let outcome = self.shared.with_stores(|stores| {
            let done = commit::commit(stores, &payload)?;
            Ok((done, self.snapshot_of_newest()?))
        });
        let (done, mut snapshot) = outcome.map_err(|cause| self.shared.stop(cause))?;
        snapshot.generation = done.payload.generation;
        *committed = done.payload.clone();
        queue.ledger(|ledger| {
            let (tantivy, datastore) = (done.tantivy, done.datastore);
            ledger.add_times(&WriterTimes { tantivy, datastore, ..WriterTimes::default() });
        });
        Ok((done, snapshot))
    }

    /// Tells whoever listens what a commit brought, and how full the queue is.
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
        if self.shared.queue.has_uncommitted() {
            tracing::warn!("the writer is closed with uncommitted work, which is lost");
        }
        self.shared.queue.close();
        self.shared.budget.shut();
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
        let stores = self.shared.lock_stores().take();
        if let Some(Err(error)) = stores.map(|stores| stores.tantivy.wait_merging_threads()) {
            tracing::warn!(%error, "a merge failed; the last commit is safe");
        }
    }
}

impl<E: Encoder> Shared<E> {
    /// Works on chunks until the queue is closed or something stops it.
    fn work(&self) {
        while let Some(chunk) = self.queue.take() {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work_on(chunk)));
            let outcome = outcome.unwrap_or_else(|panic| {
                Err(Error::Panicked { message: autotag::panic_message(panic.as_ref()) })
            });
            if let Err(cause) = outcome {
                self.stop(cause);
            }
        }
    }

    #[tracing::instrument(level = "debug", name = "chunk", skip_all, fields(n_operations = chunk.operations.len()))]
    fn work_on(&self, chunk: Chunk) -> Result<()> {
        let sequence = chunk.sequence;
        let processed = self.worker.process(chunk)?;
        self.queue.finish(sequence, processed, |processed| {
            self.with_stores(|stores| stores.apply(processed))
        })
    }

    fn with_stores<T>(&self, change: impl FnOnce(&mut Stores) -> Result<T>) -> Result<T> {
        match self.lock_stores().as_mut() {
            Some(stores) => change(stores),
            None => unreachable!("the stores are taken when all threads have ended"),
        }
    }

    fn lock_stores(&self) -> MutexGuard<'_, Option<Stores>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops when Tantivy's indexing thread has died, for instance on a full disk.
    ///
    /// What was on its way to that thread then stays where it is, and nobody would ever make room
    /// for those who wait.
    fn probe(&self) {
        // When the stores are busy, whoever changes them finds out.
        let outcome = match self.stores.try_lock() {
            Ok(mut stores) => stores.as_mut().map_or(Ok(()), Stores::probe),
            Err(_) => Ok(()),
        };
        if let Err(cause) = outcome {
            self.stop(cause);
        }
    }

    /// Takes no more work, and wakes whoever waits for it.
    fn stop(&self, cause: Error) -> Error {
        tracing::error!(%cause, "the writer stops");
        let cause = self.queue.stop(cause);
        self.budget.shut();
        Error::Stopped { cause }
    }
}

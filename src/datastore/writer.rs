//! Staging changes and committing them in one transaction.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use heed::RwTxn;

use super::apply::{Ids, apply_one};
use super::document::MAX_LABELS;
use super::files::io_error;
use super::format::{Journal, Operation, Record, encode_history};
use super::item::{DocumentRecord, Source};
use super::locks::write_error;
use super::seal::{SealState, break_seal, check_seal, seal};
use super::shared::Shared;
use super::snapshot::Changes;
use super::store::Store;
use crate::{Embedding, Error, LabelId, LabelSet, LabelVocabulary, Result, failpoint};

/// The longest key, in bytes: LMDB's limit.
pub const MAX_KEY_BYTES: usize = 511;

/// Collects changes; nothing is visible to readers before they are committed.
///
/// [`commit`](DatastoreWriter::commit) does so at once. Who commits another store together with this
/// one goes in two steps: [`prepare`](DatastoreWriter::prepare) makes the changes durable, and once
/// it is known whether the other store has committed, [`apply`](DatastoreWriter::apply) makes them
/// visible or [`discard`](DatastoreWriter::discard) drops them. Prepared changes outlive the process:
/// [`prepared`](DatastoreWriter::prepared) tells the next writer of them, which must decide first.
///
/// Dropping a writer loses what it has neither committed nor prepared, and so does the death of its
/// process.
#[derive(Debug)]
pub struct DatastoreWriter {
    shared: Arc<Shared>,
    /// The committed labels, and those of staged items behind them.
    vocabulary: LabelVocabulary,
    n_committed_labels: usize,
    /// The committed labels that were renamed, merged, retired or restored since.
    changed_labels: BTreeSet<LabelId>,
    /// The newest changes, in their order, as they are written: a score that is 0 takes no room. Those
    /// before them are in the database `staged`.
    buffer: Vec<Box<[u8]>>,
    buffer_bytes: usize,
    n_spilled: u64,
    /// The generation of the journal, where there is one: then all changes are in `staged`, and
    /// there may be no others.
    prepared: Option<u64>,
    /// The numbers in use, once they were read.
    ids: Option<Ids>,
    /// Locked as long as this writer lives.
    _lock: File,
}

impl DatastoreWriter {
    pub(super) fn begin(shared: &Arc<Shared>) -> Result<Self> {
        let store = &shared.store;
        let lock = store.lock_for_writing()?;
        refuse_broken_seal(store)?;
        let folder = store.folder();
        break_seal(folder).map_err(write_error(folder, folder, "begin to write in"))?;
        // Why not read? While other processes have the environment open, readers see the state before
        // a commit that killed its process at the very end; beginning to write mends that.
        let (committed, journal, n_staged) = store.write("began to write", |txn| {
            let n_staged = store.databases.staged.len(txn).map_err(store.lmdb("read it"))?;
            Ok((store.vocabulary(txn)?, store.journal(txn)?, n_staged))
        })?;
        let mut writer = DatastoreWriter {
            shared: shared.clone(),
            n_committed_labels: committed.len(),
            vocabulary: committed,
            changed_labels: BTreeSet::new(),
            buffer: Vec::new(),
            buffer_bytes: 0,
            n_spilled: 0,
            prepared: None,
            ids: None,
            _lock: lock,
        };
        match journal {
            Some(journal) => writer.take_over(&journal, n_staged)?,
            None if n_staged > 0 => {
                tracing::debug!(n_staged, "dropping changes that nobody committed");
                store.write("dropped staged changes", |txn| store.clear_staged(txn))?;
            }
            None => {}
        }
        Ok(writer)
    }

    /// Takes over what a writer prepared that neither applied nor discarded it.
    fn take_over(&mut self, journal: &Journal, n_staged: u64) -> Result<()> {
        let damaged = || self.shared.store.damaged("its journal");
        if journal.n_operations != n_staged {
            return Err(damaged());
        }
        for (id, history) in &journal.labels {
            self.vocabulary.put_history(*id, history.clone()).ok_or_else(damaged)?;
            if id.index() < self.n_committed_labels {
                self.changed_labels.insert(*id);
            }
        }
        self.vocabulary.has_all_targets().then_some(()).ok_or_else(damaged)?;
        self.n_spilled = n_staged;
        self.prepared = Some(journal.generation);
        Ok(())
    }

    /// Stores an item under its key, replacing the one that is there.
    ///
    /// A label that the datastore does not know joins its vocabulary with the commit.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] unless the key has 1 to 511 bytes, [`Error::Dimensions`] for an embedding of
    /// another length, [`Error::LabelName`] for a label that cannot become a facet path; nothing is
    /// staged then.
    pub fn put(
        &mut self,
        key: &str,
        embedding: &Embedding,
        labels: &[&str],
        source: Source,
    ) -> Result<()> {
        self.put_item(key, embedding, labels, &[], source)
    }

    /// Stores an item of which people decided some labels: `given` are those that it has, and it abstains
    /// from the vote on those in `undecided`.
    ///
    /// # Errors
    ///
    /// As [`put`](DatastoreWriter::put).
    pub fn put_partial(
        &mut self,
        key: &str,
        embedding: &Embedding,
        given: &[&str],
        undecided: &[&str],
    ) -> Result<()> {
        self.put_item(key, embedding, given, undecided, Source::Human)
    }

    fn put_item(
        &mut self,
        key: &str,
        embedding: &Embedding,
        labels: &[&str],
        undecided: &[&str],
        source: Source,
    ) -> Result<()> {
        self.refuse_prepared()?;
        check_key(key)?;
        check_dimensions(self.shared.store.dimensions, embedding)?;
        self.check_labels(labels)?;
        self.check_labels(undecided)?;
        let labels = self.label_ids(labels)?;
        let undecided = self.label_ids(undecided)?.without(&labels);
        let embedding = embedding.values().into();
        self.stage(&Operation::Put(Record {
            key: key.into(),
            labels,
            undecided,
            source,
            embedding,
        }))
    }

    /// Deletes an item; a key that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a key that cannot be there.
    pub fn delete(&mut self, key: &str) -> Result<()> {
        self.refuse_prepared()?;
        check_key(key)?;
        self.stage(&Operation::Delete(key.into()))
    }

    /// Keeps what is known of a document, in the place of what was kept under its key.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] unless the key has 1 to 511 bytes, [`Error::Dimensions`] for an embedding of
    /// another length, [`Error::Parameter`] for scores of more labels than can be read back; nothing is
    /// staged then.
    pub fn put_document(&mut self, key: &str, document: DocumentRecord) -> Result<()> {
        self.refuse_prepared()?;
        check_key(key)?;
        if let Some(embedding) = document.embedding() {
            check_dimensions(self.shared.store.dimensions, embedding)?;
        }
        check_scores(&document)?;
        self.stage(&Operation::PutDocument(key.into(), document))
    }

    /// Forgets what is kept of a document; a key that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a key that cannot be there.
    pub fn delete_document(&mut self, key: &str) -> Result<()> {
        self.refuse_prepared()?;
        check_key(key)?;
        self.stage(&Operation::DeleteDocument(key.into()))
    }

    /// Deletes all items that people labeled and forgets all documents, those included that are not
    /// committed yet. The training set and the labels stay.
    ///
    /// # Errors
    ///
    /// When LMDB or the disk fails; nothing is staged then.
    pub fn delete_all_documents(&mut self) -> Result<()> {
        self.refuse_prepared()?;
        self.stage(&Operation::DeleteAllDocuments)
    }

    /// Returns the labels as they are with all changes so far.
    pub fn labels(&self) -> &LabelVocabulary {
        &self.vocabulary
    }

    /// Renames, merges, retires or restores labels; items and model scores follow.
    ///
    /// # Errors
    ///
    /// The function's error; the labels stay as they were then.
    pub fn change_labels<T>(
        &mut self,
        change: impl FnOnce(&mut LabelVocabulary) -> Result<T>,
    ) -> Result<T> {
        self.refuse_prepared()?;
        let mut changed = self.vocabulary.clone();
        let value = change(&mut changed)?;
        let ids = (0..self.n_committed_labels as u32).map(LabelId);
        let is_other = |id: &LabelId| changed.history(*id) != self.vocabulary.history(*id);
        self.changed_labels.extend(ids.filter(is_other));
        self.vocabulary = changed;
        Ok(value)
    }

    /// Makes all changes visible at once, durably.
    ///
    /// # Errors
    ///
    /// When LMDB or the disk fails; nothing is committed then, the changes stay staged, and the
    /// commit can be tried again. [`Error::DatastorePrepared`] while prepared changes wait.
    pub fn commit(&mut self) -> Result<()> {
        self.refuse_prepared()?;
        self.make_visible()
    }

    /// Makes all changes durable but not visible, to be applied as the given generation.
    ///
    /// The generation must be larger than the datastore's, and becomes it once they are applied.
    /// Where nothing was changed, nothing is prepared.
    ///
    /// # Errors
    ///
    /// [`Error::DatastoreGeneration`] for a generation that is not larger,
    /// [`Error::DatastorePrepared`] while other changes wait, and when LMDB or the disk fails; the
    /// changes stay staged then.
    pub fn prepare(&mut self, generation: u64) -> Result<()> {
        self.refuse_prepared()?;
        if self.is_empty() {
            return Ok(());
        }
        let (store, n_operations) = (&self.shared.store, self.n_operations());
        let _span = tracing::debug_span!("prepare", n_operations, generation).entered();
        let labels = self.staged_labels().map(|id| (id, self.vocabulary.history(id))).collect();
        let journal = Journal { generation, n_operations, labels };
        store.write("prepared changes", |txn| {
            let current = store.header(txn)?.generation;
            if generation <= current {
                let path = store.folder().to_owned();
                return Err(Error::DatastoreGeneration { path, current, given: generation });
            }
            self.put_buffer(txn)?;
            store.put_journal(txn, &journal)?;
            failpoint::reach("datastore::preparing");
            Ok(())
        })?;
        failpoint::reach("datastore::prepared");
        self.n_spilled = n_operations;
        self.clear_buffer();
        self.prepared = Some(generation);
        Ok(())
    }

    /// Returns the generation of the prepared changes, by this writer or one whose process died;
    /// `None` where none wait.
    pub fn prepared(&self) -> Option<u64> {
        self.prepared
    }

    /// Makes the prepared changes visible at once, durably; where none wait, does nothing.
    ///
    /// # Errors
    ///
    /// When LMDB or the disk fails; the changes stay prepared then.
    pub fn apply(&mut self) -> Result<()> {
        if self.prepared.is_some() { self.make_visible() } else { Ok(()) }
    }

    /// Drops all changes that are not visible yet, staged or prepared.
    ///
    /// # Errors
    ///
    /// When LMDB or the disk fails; the changes stay as they were then.
    pub fn discard(&mut self) -> Result<()> {
        failpoint::reach("datastore::discard");
        if !self.is_empty() || self.prepared.is_some() {
            self.drop_changes()?;
        }
        failpoint::reach("datastore::discarded");
        Ok(())
    }

    fn drop_changes(&mut self) -> Result<()> {
        let store = &self.shared.store;
        let committed = store.read(|txn| store.vocabulary(txn))?;
        if self.n_spilled > 0 || self.prepared.is_some() {
            store.write("dropped staged changes", |txn| store.clear_staged(txn))?;
        }
        self.n_committed_labels = committed.len();
        self.vocabulary = committed;
        self.changed_labels.clear();
        self.n_spilled = 0;
        self.prepared = None;
        self.clear_buffer();
        Ok(())
    }

    fn make_visible(&mut self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let _span = tracing::debug_span!("commit", n_operations = self.n_operations()).entered();
        failpoint::reach("datastore::apply");
        let (ids, from, to) = self.shared.store.write("committed", |txn| self.apply_to(txn))?;
        failpoint::reach("datastore::applied");
        let touched = std::mem::take(&mut self.ids.insert(ids).touched);
        let changes = Changes { from, to, touched };
        self.shared.note(self.changed_labels.is_empty().then_some(changes));
        self.n_committed_labels = self.vocabulary.len();
        self.changed_labels.clear();
        self.n_spilled = 0;
        self.prepared = None;
        self.clear_buffer();
        Ok(())
    }

    fn refuse_prepared(&self) -> Result<()> {
        match self.prepared {
            None => Ok(()),
            Some(generation) => {
                let path = self.shared.store.folder().to_owned();
                Err(Error::DatastorePrepared { path, generation })
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.n_operations() == 0 && self.staged_labels().next().is_none()
    }

    fn n_operations(&self) -> u64 {
        self.n_spilled + self.buffer.len() as u64
    }

    /// Returns the labels that no commit has as they are.
    fn staged_labels(&self) -> impl Iterator<Item = LabelId> {
        let new = (self.n_committed_labels as u32..self.vocabulary.len() as u32).map(LabelId);
        self.changed_labels.iter().copied().chain(new)
    }

    /// Checks all labels of an item before one is added, so that a refused item leaves none behind.
    fn check_labels(&self, names: &[&str]) -> Result<()> {
        for name in names {
            if self.vocabulary.id(name).is_none() {
                LabelVocabulary::new([name])?;
            }
        }
        Ok(())
    }

    fn label_ids(&mut self, names: &[&str]) -> Result<LabelSet> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            ids.push(self.vocabulary.insert(name)?);
        }
        Ok(ids.into_iter().collect())
    }

    fn stage(&mut self, operation: &Operation) -> Result<()> {
        let operation = operation.encode().into_boxed_slice();
        let bytes = operation.len() + size_of::<Box<[u8]>>();
        if !self.buffer.is_empty()
            && self.buffer_bytes + bytes > self.shared.store.storage().staged_bytes
        {
            self.spill()?;
        }
        self.buffer_bytes += bytes;
        self.buffer.push(operation);
        Ok(())
    }

    /// Moves the buffer into the database `staged`, in a transaction of its own.
    fn spill(&mut self) -> Result<()> {
        self.shared.store.write("staged changes", |txn| self.put_buffer(txn))?;
        failpoint::reach("datastore::spilled");
        self.n_spilled += self.buffer.len() as u64;
        self.clear_buffer();
        Ok(())
    }

    fn put_buffer(&self, txn: &mut RwTxn) -> Result<()> {
        for (number, operation) in (self.n_spilled..).zip(&self.buffer) {
            let put = self.shared.store.databases.staged.put(txn, &number, operation);
            put.map_err(self.shared.store.lmdb("staged changes"))?;
        }
        Ok(())
    }

    fn clear_buffer(&mut self) {
        self.buffer.clear();
        self.buffer_bytes = 0;
    }

    /// Applies all changes in their order and tells the index of them; returns the numbers in use then, and the
    /// generations before and after.
    fn apply_to(&self, txn: &mut RwTxn) -> Result<(Ids, u64, u64)> {
        let store = &self.shared.store;
        let mut header = store.header(txn)?;
        let before = header.generation;
        let mut ids = match &self.ids {
            Some(ids) => ids.clone(),
            None => Ids::load(store, txn)?,
        };
        for number in 0..self.n_spilled {
            let operation = store.staged(txn, number)?;
            apply_one(store, txn, &mut ids, &operation)?;
        }
        for bytes in &self.buffer {
            let operation = Operation::decode(bytes, store.dimensions);
            let operation = operation.ok_or_else(|| store.damaged("a staged change"))?;
            apply_one(store, txn, &mut ids, &operation)?;
        }
        self.put_labels(txn)?;
        failpoint::reach("datastore::applying");
        store.clear_staged(txn)?;
        header.generation = self.prepared.unwrap_or(header.generation + 1);
        header.n_items = ids.used.len();
        store.put_header(txn, &header)?;
        self.shared.search.index.update(store, txn, &ids.touched)?;
        failpoint::reach("datastore::built");
        Ok((ids, before, header.generation))
    }

    fn put_labels(&self, txn: &mut RwTxn) -> Result<()> {
        for id in self.staged_labels() {
            let history = encode_history(&self.vocabulary.history(id));
            let put = self.shared.store.databases.labels.put(txn, &id.0, &history);
            put.map_err(self.shared.store.lmdb("wrote the labels"))?;
        }
        Ok(())
    }
}

impl Drop for DatastoreWriter {
    /// Seals the file, while the lock is still held; one that damage was met in is not vouched for.
    fn drop(&mut self) {
        if self.shared.store.is_damaged() {
            tracing::warn!("the datastore is damaged, and left unsealed");
        } else if let Err(error) = seal(self.shared.store.folder()) {
            tracing::warn!(%error, "the datastore is left unsealed");
        }
    }
}

/// Refuses a datastore that was changed since its last writer sealed it.
///
/// Whoever writes breaks the seal and makes a new one of whatever lies there then, so that this is the
/// last moment at which the damage can be told.
fn refuse_broken_seal(store: &Store) -> Result<()> {
    let folder = store.folder();
    match check_seal(folder).map_err(io_error(folder, "read the seal in"))? {
        SealState::Damaged => {
            Err(store.damaged("its file, which was changed after it was sealed,"))
        }
        SealState::Whole | SealState::Unsealed => Ok(()),
    }
}

fn check_key(key: &str) -> Result<()> {
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(()),
        length => Err(Error::Key { length, max: MAX_KEY_BYTES }),
    }
}

/// Refuses an embedding of another length than the datastore's.
fn check_dimensions(expected: usize, embedding: &Embedding) -> Result<()> {
    let found = embedding.values().len();
    if found == expected { Ok(()) } else { Err(Error::Dimensions { expected, found }) }
}

fn check_scores(document: &DocumentRecord) -> Result<()> {
    let scores = document.encoded.as_ref().and_then(|encoded| encoded.scores.as_ref());
    match scores.map_or(0, |scores| scores.values().len()) {
        0..=MAX_LABELS => Ok(()),
        n_labels => {
            let (value, expected) = (n_labels as f64, "at most 16777216 labels");
            Err(Error::Parameter { name: "scores", value, expected })
        }
    }
}

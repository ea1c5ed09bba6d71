//! Commits both stores as one: a two-phase commit (Gray, Notes on Data Base Operating Systems, 1978).
//!
//! Tantivy coordinates, since its own prepared state does not survive the process; the datastore is the
//! participant, whose prepared changes can still be applied or dropped by a later process.
//!
//! Tantivy's commit is the instant that counts: it publishes the segments and a [`Payload`] with the
//! commit's generation g, by renaming one file. The datastore's changes wait beside it in a journal
//! that bears g too. The next writer compares the two numbers and knows whether that
//! instant was reached.
//!
//! Once all earlier operations are applied to Tantivy's writer and staged in the datastore's, a commit
//! goes through these states. "Old" and "new" are the states before and after it, "Tantivy" is what a
//! search finds, "neighbors" what a reader of the datastore finds.
//!
//! | after | Tantivy | neighbors | on disk beside them | what the next writer does |
//! | --- | --- | --- | --- | --- |
//! | (before) | old | old | perhaps staged changes and unpublished segments | drops both |
//! | 1. Tantivy's `prepare_commit` writes the segments | old | old | the same | drops both |
//! | 2. the datastore's `prepare` makes the journal durable | old | old | journal g, payload older | drops journal and segments |
//! | 3. Tantivy's commit publishes segments and payload, durably once its folder is synced | new | old | journal g, payload g | applies the journal |
//! | 4. the datastore's `apply` makes the journal visible and removes it | new | new | payload g | nothing |
//!
//! Each of 2, 3 and 4 is atomic: LMDB's transaction, a rename, LMDB's transaction. A crash within
//! one leaves the state before or after it. The rename is made durable, by syncing the folder, before
//! 4 begins, so that the datastore is never ahead, even after a power cut. The next writer's own work
//! ([`recover`]) is one LMDB transaction as well and can be interrupted and begun again.
//! [`TaggingWriter::commit`] returns after 4, so that an acknowledged commit is never lost; an
//! unacknowledged one is there as a whole, when the process died after 3, or not at all.
//!
//! Where a commit has no new neighbors and removes none, there is no journal, and 2 and 4 do nothing.
//!
//! Readers see each store as of one commit. Between 3 and 4, and after a crash there until the index
//! is opened for writing, the datastore is one commit behind Tantivy: new labeled documents do not
//! vote yet.
//!
//! Generations count up through all commits of an index. The next is larger than Tantivy's payload
//! and the datastore's own number, so that a journal can never be taken for that of another commit.
//! A program that commits to the index without autotag takes the payload away: a journal that waits
//! then is dropped, and the next writer compares the neighbors with the documents.
//!
//! A [`Job`] goes through many commits. The payload of each holds its progress, so that it resumes
//! there after a crash.
//!
//! When a step fails, the writer stops: a later commit could not be told from the failed one.
//!
//! [`TaggingWriter::commit`]: crate::TaggingWriter::commit

use std::time::{Duration, Instant};

use autotag::{DatastoreWriter, Fingerprint, failpoint};
use serde::{Deserialize, Serialize};
use tantivy::{Directory, Index};

use crate::job::Job;
use crate::stores::Stores;
use crate::{Error, Result};

/// The newest version of the payload, which this program writes.
const VERSION: u32 = 3;

/// The payload of a Tantivy commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payload {
    version: u32,
    /// Grows with every commit that autotag makes.
    pub(crate) generation: u64,
    /// The encoder of the datastore that was committed with it.
    pub(crate) encoder: Fingerprint,
    /// The unfinished job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<Job>,
    /// The CRC-32 of the payload with 0 as its checksum.
    checksum: u32,
}

/// The written form, which leaves room for other programs' payloads.
#[derive(Serialize, Deserialize)]
struct Envelope<P> {
    autotag: P,
}

const ENCODES: &str = "numbers and text always encode";

/// The part that every version has.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Payload {
    /// Reads the last commit's payload, for an index whose datastore has this encoder now.
    ///
    /// An index that was never committed through autotag is at generation 0.
    pub(crate) fn of(index: &Index, encoder: Fingerprint) -> Result<Payload> {
        let metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
        let json = metas.payload.unwrap_or_default();
        let Ok(Envelope { autotag: VersionOnly { version } }) = serde_json::from_str(&json) else {
            return Ok(Payload {
                version: VERSION,
                generation: 0,
                encoder,
                job: None,
                checksum: 0,
            });
        };
        if version > VERSION {
            return Err(Error::CommitVersion { found: version, supported: VERSION });
        }
        match serde_json::from_str::<Envelope<Payload>>(&json) {
            Ok(Envelope { autotag: last }) if last.checksum == last.expected_checksum() => Ok(last),
            _ => Err(Error::CommitChanged),
        }
    }

    /// Returns the payload, its generation not smaller than the one given.
    pub(crate) fn at_least(self, generation: u64) -> Self {
        Payload { generation: self.generation.max(generation), ..self }
    }

    /// Returns the payload for a datastore that has this encoder now.
    ///
    /// After a change of the encoder a job starts over: its work was that encoder's.
    pub(crate) fn of_encoder(mut self, encoder: Fingerprint) -> Self {
        if self.encoder != encoder
            && let Some(job) = &mut self.job
        {
            job.after = None;
        }
        Payload { encoder, ..self }
    }

    fn next(&self) -> Payload {
        Payload { generation: self.generation + 1, ..self.clone() }
    }

    fn expected_checksum(&self) -> u32 {
        let unsealed = Payload { checksum: 0, ..self.clone() };
        crc32fast::hash(&serde_json::to_vec(&unsealed).expect(ENCODES))
    }

    fn to_json(&self) -> String {
        let sealed = Payload { checksum: self.expected_checksum(), ..self.clone() };
        serde_json::to_string(&Envelope { autotag: sealed }).expect(ENCODES)
    }
}

/// The outcome of a commit.
pub(crate) struct CommitOutcome {
    pub(crate) payload: Payload,
    pub(crate) opstamp: u64,
    /// The time spent in Tantivy.
    pub(crate) tantivy: Duration,
    /// The time spent in the datastore.
    pub(crate) datastore: Duration,
}

/// Recovers the datastore to Tantivy's last commit, wherever the last writer's process died.
///
/// Both stores must be locked, so that nobody commits meanwhile.
pub(crate) fn recover(datastore: &mut DatastoreWriter, last: &Payload) -> Result<()> {
    match datastore.prepared() {
        None => {}
        Some(generation) if generation == last.generation => {
            tracing::info!(generation, "completing a commit that was interrupted");
            datastore.apply()?;
        }
        Some(generation) => {
            tracing::info!(generation, "dropping a commit that was interrupted");
            datastore.discard()?;
        }
    }
    Ok(())
}

/// Makes Tantivy's last commit durable.
pub(crate) fn sync(index: &Index) -> Result<()> {
    let synced = index.directory().sync_directory();
    synced.map_err(|error| Error::tantivy("made its commit durable")(error.into()))
}

/// Commits both stores.
#[tracing::instrument(level = "debug", name = "commit", skip_all, fields(generation = last.generation + 1))]
pub(crate) fn commit(stores: &mut Stores, last: &Payload) -> Result<CommitOutcome> {
    let payload = last.next();
    failpoint::reach("commit::begun");
    let started = Instant::now();
    let prepared = stores.tantivy.prepare_commit();
    let mut prepared = prepared.map_err(Error::tantivy("prepared the commit"))?;
    prepared.set_payload(&payload.to_json());
    let mut tantivy = started.elapsed();
    failpoint::reach("commit::prepared");

    let started = Instant::now();
    stores.datastore.prepare(payload.generation)?;
    let mut datastore = started.elapsed();
    failpoint::reach("commit::journaled");

    let started = Instant::now();
    let opstamp = prepared.commit().map_err(Error::tantivy("committed"))?;
    failpoint::reach("commit::published");
    // Tantivy has renamed `meta.json` into its place. After a power cut the old one may be back, with
    // which the datastore must agree: not before the rename is durable may the journal be applied.
    sync(stores.tantivy.index())?;
    tantivy += started.elapsed();
    failpoint::reach("commit::synced");

    let started = Instant::now();
    stores.datastore.apply()?;
    datastore += started.elapsed();
    failpoint::reach("commit::applied");

    stores.committed();
    Ok(CommitOutcome { payload, opstamp, tantivy, datastore })
}

//! How both stores are committed, and what a commit says of itself.
//!
//! A commit goes in three steps, after everything handed over before was applied:
//!
//! 1. Tantivy's `prepare_commit` writes the segments; nobody sees them yet.
//! 2. The datastore commits its own transaction.
//! 3. Tantivy's commit publishes the segments, with a [`Payload`].
//!
//! What a process that dies leaves behind:
//!
//! - before or in step 1, or in step 2: the state of the last commit in both stores; segments that
//!   were written are orphans and deleted when the index is next opened for writing;
//! - between 2 and 3, or in 3: the datastore is one commit ahead. Its new neighbors vote already,
//!   though their documents are not in the index. Adding the same documents again, as a caller does
//!   whose commit did not return, makes both agree;
//! - after 3: the new state in both stores.
//!
//! When a step fails, the writer stops: nothing that follows could be told apart from what failed.

use std::time::{Duration, Instant};

use autotag::Fingerprint;
use serde::{Deserialize, Serialize};
use tantivy::Index;

use crate::stores::Stores;
use crate::{Error, Result};

/// The newest version of the payload, which this program writes.
const VERSION: u32 = 1;

/// What Tantivy keeps beside a commit: who made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payload {
    version: u32,
    /// Counts the commits that autotag made.
    pub(crate) generation: u64,
    encoder: Fingerprint,
}

/// The payload as it is written, among whatever else a program may keep there.
#[derive(Serialize, Deserialize)]
struct Envelope<P> {
    autotag: P,
}

/// What is read first, whatever the version.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Payload {
    /// Reads the last commit's payload and checks that the same encoder made it.
    ///
    /// An index that was never committed through autotag begins at generation 0.
    pub(crate) fn of(index: &Index, encoder: Fingerprint) -> Result<Payload> {
        let metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
        let json = metas.payload.unwrap_or_default();
        if let Ok(Envelope { autotag: VersionOnly { version } }) = serde_json::from_str(&json)
            && version > VERSION
        {
            return Err(Error::CommitVersion { found: version, supported: VERSION });
        }
        let first = Payload { version: VERSION, generation: 0, encoder };
        let Ok(Envelope { autotag: last }) = serde_json::from_str::<Envelope<Payload>>(&json)
        else {
            return Ok(first);
        };
        if last.encoder != encoder {
            return Err(Error::EncoderMismatch { index: last.encoder, tagger: encoder });
        }
        Ok(last)
    }

    fn next(&self) -> Payload {
        Payload { generation: self.generation + 1, ..self.clone() }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(&Envelope { autotag: self }).expect("numbers and text always encode")
    }
}

/// What a commit gives.
pub(crate) struct Committed {
    pub(crate) payload: Payload,
    pub(crate) opstamp: u64,
    /// The time spent in Tantivy.
    pub(crate) tantivy: Duration,
    /// The time spent in the datastore.
    pub(crate) datastore: Duration,
}

/// Commits both stores.
#[tracing::instrument(level = "debug", name = "commit", skip_all, fields(generation = last.generation + 1))]
pub(crate) fn commit(stores: &mut Stores, last: &Payload) -> Result<Committed> {
    let payload = last.next();
    let started = Instant::now();
    let prepared = stores.tantivy.prepare_commit();
    let mut prepared = prepared.map_err(Error::tantivy("prepared the commit"))?;
    prepared.set_payload(&payload.to_json());
    let preparing = started.elapsed();

    let started = Instant::now();
    stores.datastore.commit()?;
    let datastore = started.elapsed();

    let started = Instant::now();
    let opstamp = prepared.commit().map_err(Error::tantivy("committed"))?;
    stores.committed();
    Ok(Committed { payload, opstamp, tantivy: preparing + started.elapsed(), datastore })
}

//! Dropping both stores' changes since the last commit.

use std::sync::{PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use autotag::{Encoder, failpoint};
use tantivy::indexer::NoMergePolicy;
use tantivy::{Index, IndexWriter};

use crate::budget::Metered;
use crate::stores::Stores;
use crate::writer::opening::open_tantivy;
use crate::{Error, Result, TaggingWriter, WriterOptions};

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Drops all operations since the last commit, in both stores, and goes on from there.
    ///
    /// Their tickets are lost. Operations that no thread has begun are dropped at once; those that
    /// threads are at, and Tantivy's merges, are waited for. Operations that other threads submit
    /// meanwhile are kept.
    ///
    /// # Errors
    ///
    /// [`Error::JobRunning`] while a job runs, whose uncommitted part this would undo. [`Error::Closed`],
    /// and [`Error::Stopped`] when a store failed, now or before.
    pub fn rollback(&self) -> Result<()> {
        let _no_job = match self.job.try_lock() {
            Ok(none) => none,
            Err(TryLockError::Poisoned(none)) => none.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::JobRunning),
        };
        let _no_commit = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &self.pipeline.queue;
        let rolled_back = queue.pause_dropping().and_then(|last| {
            let rolled_back = roll_back(&mut self.pipeline.lock_stores(), &self.options);
            rolled_back.map_err(|cause| self.pipeline.stop(cause)).map(|()| last)
        });
        match rolled_back {
            Ok(last) => {
                queue.resume_rolled_back(last);
                Ok(())
            }
            Err(error) => {
                queue.resume();
                Err(error)
            }
        }
    }
}

/// The time that another opener of the index, which will find it in use, has to let go of it.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Drops all changes that no commit has; nothing may be prepared. The stores are left empty where
/// Tantivy's side cannot be opened again.
///
/// Why not Tantivy's own rollback? It stops a merge that is ending between two of its steps, after which
/// files are removed that the list of segments still names. Here merges end first, and the writer is
/// opened anew. Its lock is free in between: whoever takes it then finds the datastore in use, whose
/// changes are dropped already, and lets go.
fn roll_back(stores: &mut Option<Stores>, options: &WriterOptions) -> Result<()> {
    let changed = stores.as_mut().ok_or(Error::Closed)?;
    failpoint::reach("rollback::begun");
    changed.datastore.discard()?;
    failpoint::reach("rollback::datastore");
    let Some(Stores { tantivy, datastore, key, .. }) = stores.take() else {
        return Err(Error::Closed);
    };
    let index = tantivy.index().clone();
    // The merges that run are the last.
    tantivy.set_merge_policy(Box::new(NoMergePolicy));
    tantivy.wait_merging_threads().map_err(Error::tantivy("merged segments"))?;
    let before = last_opstamp(&index)?;
    failpoint::reach("rollback::tantivy");
    let tantivy = reopen(&index, options)?;
    if last_opstamp(&index)? != before {
        // Another writer has committed in between.
        return Err(Error::InUse);
    }
    let collected = tantivy.garbage_collect_files().wait();
    collected.map_err(Error::tantivy("removed unused files"))?;
    *stores = Some(Stores::new(tantivy, datastore, key));
    Ok(())
}

fn reopen(index: &Index, options: &WriterOptions) -> Result<IndexWriter<Metered>> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match open_tantivy(index, options) {
            Err(Error::InUse) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

fn last_opstamp(index: &Index) -> Result<u64> {
    let metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
    Ok(metas.opstamp)
}

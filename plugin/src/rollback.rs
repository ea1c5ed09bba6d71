//! Dropping both stores' changes since the last commit.

use std::sync::{Arc, PoisonError, TryLockError, mpsc};

use autotag::{Encoder, failpoint};
use tantivy::SegmentMeta;
use tantivy::indexer::{MergeCandidate, MergePolicy};

use crate::stores::Stores;
use crate::writer::opening::skip_last_number;
use crate::{Error, Result, TaggingWriter};

const ROLLED_BACK: &str = "rolled back";

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
            let rolled_back = self.pipeline.with_stores(roll_back);
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

/// Drops all changes that no commit has; nothing may be prepared.
///
/// A process that dies here leaves what one leaves that dies before a commit: the next writer drops
/// staged changes and unpublished segments.
fn roll_back(stores: &mut Stores) -> Result<()> {
    failpoint::reach("rollback::begun");
    roll_back_tantivy(stores)?;
    failpoint::reach("rollback::tantivy");
    stores.datastore.discard()?;
    stores.forget_keys();
    failpoint::reach("rollback::datastore");
    Ok(())
}

/// Rolls Tantivy's writer back, under its lock all the time.
///
/// Why twice? A rollback reads the list of segments while a merge may be ending, which then writes the
/// list and removes files that it names. The second one reads the list once all merges have ended.
fn roll_back_tantivy(stores: &mut Stores) -> Result<()> {
    let Stores { tantivy, merge_policy, .. } = stores;
    let policy = merge_policy.get_or_insert_with(|| tantivy.get_merge_policy()).clone();
    let (alive, ended) = mpsc::channel();
    tantivy.set_merge_policy(Box::new(NoMerges { _alive: alive }));
    tantivy.rollback().map_err(Error::tantivy(ROLLED_BACK))?;
    // An error says that the first writer is gone with its policy, and thus all its merges.
    let _ = ended.recv();
    tantivy.rollback().map_err(Error::tantivy(ROLLED_BACK))?;
    tantivy.set_merge_policy(Box::new(Same(policy)));
    skip_last_number(tantivy)?;
    let collected = tantivy.garbage_collect_files().wait();
    collected.map(drop).map_err(Error::tantivy("removed unused files"))
}

/// Begins no merge, and lives as long as the writer that it belongs to and its merges.
#[derive(Debug)]
struct NoMerges {
    _alive: mpsc::Sender<()>,
}

impl MergePolicy for NoMerges {
    fn compute_merge_candidates(&self, _segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        vec![]
    }
}

/// The policy of the writer before.
#[derive(Debug)]
struct Same(Arc<dyn MergePolicy>);

impl MergePolicy for Same {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        self.0.compute_merge_candidates(segments)
    }
}

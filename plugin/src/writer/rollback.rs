//! Dropping both stores' changes since the last commit.

use std::sync::{Arc, mpsc};

use autotag::failpoint;
use tantivy::SegmentMeta;
use tantivy::indexer::{MergeCandidate, MergePolicy};

use crate::stores::Stores;
use crate::{Error, Result};

const ROLLED_BACK: &str = "rolled back";

/// Drops all changes that no commit has; nothing may be prepared.
///
/// A process that dies here leaves what one leaves that dies before a commit: the next writer drops
/// staged changes and unpublished segments.
pub(super) fn roll_back(stores: &mut Stores) -> Result<()> {
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
    super::opening::skip_last_number(tantivy)?;
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

//! Merges segments and removes unused files when the caller says so.

use std::path::PathBuf;

use autotag::Encoder;
use tantivy::TantivyError;
use tantivy::index::SegmentId;

use crate::{Error, Result, TaggingWriter};

/// The number of times that [`TaggingWriter::merge_all`] begins again where Tantivy's own merges were faster.
const ATTEMPTS: usize = 10;

const MERGED: &str = "merged segments";

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Merges segments of the last commit into one, and waits for it; other work goes on meanwhile.
    ///
    /// Returns the new segment; `None` where all documents were deleted, or no segment is given.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentDamaged`] when a file of them is damaged; [`Error::Tantivy`] when a segment is
    /// not there, as after a merge by the merge policy. The segments stay as they are then.
    pub fn merge(&self, segments: &[SegmentId]) -> Result<Option<SegmentId>> {
        if segments.is_empty() {
            return Ok(None);
        }
        self.pipeline.worker.checks.check_whole(|segment| segments.contains(&segment.id()))?;
        let merged = self.pipeline.with_stores(|stores| Ok(stores.tantivy.merge(segments)))?;
        let merged = merged.wait().map_err(Error::tantivy(MERGED))?;
        Ok(merged.map(|segment| segment.id()))
    }

    /// Merges all segments of the last commit into one, and waits for it.
    ///
    /// # Errors
    ///
    /// As [`merge`](TaggingWriter::merge).
    pub fn merge_all(&self) -> Result<Option<SegmentId>> {
        let mut attempts = 1;
        loop {
            let index = self.index();
            let segments = index.searchable_segment_ids().map_err(Error::tantivy(MERGED))?;
            match self.merge(&segments) {
                // A merge by the policy took some of the segments away.
                Err(Error::Tantivy { source: TantivyError::InvalidArgument(_), .. })
                    if attempts < ATTEMPTS =>
                {
                    attempts += 1;
                }
                merged => return merged,
            }
        }
    }

    /// Removes the files of segments that no commit has and nobody reads; returns their names.
    ///
    /// Tantivy does this by itself after each merge and commit. Files that a searcher still had open
    /// then stay until the next time.
    ///
    /// # Errors
    ///
    /// [`Error::Tantivy`].
    pub fn garbage_collect(&self) -> Result<Vec<PathBuf>> {
        let collected =
            self.pipeline.with_stores(|stores| Ok(stores.tantivy.garbage_collect_files()))?;
        let collected = collected.wait().map_err(Error::tantivy("removed unused files"))?;
        Ok(collected.deleted_files)
    }
}

//! Segments' files are compared with their checksums before what they hold is written anew.
//!
//! Why? Tantivy compares none while it reads. A merge, or a document that is read back and indexed
//! again, would write damaged content under a checksum of its own, which nobody could tell then.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};
use tantivy::{Index, SegmentMeta, SegmentReader};

use crate::{Error, Result};

/// Compares files with their checksums, each once.
#[derive(Debug)]
pub(crate) struct SegmentChecks {
    index: Index,
    /// The files that are known to be whole; a segment's files never change.
    whole: Mutex<HashSet<PathBuf>>,
}

impl SegmentChecks {
    pub(crate) fn new(index: Index) -> Self {
        SegmentChecks { index, whole: Mutex::default() }
    }

    /// Checks the file with a segment's stored documents.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentDamaged`].
    pub(crate) fn check_stored(&self, segment: &SegmentReader) -> Result<()> {
        self.check(Path::new(&format!("{}.store", segment.segment_id().uuid_string())))
    }

    fn check(&self, file: &Path) -> Result<()> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if whole.contains(file) {
            return Ok(());
        }
        // What is too short to have a checksum is an error.
        if !self.index.directory().validate_checksum(file).unwrap_or(false) {
            return Err(Error::SegmentDamaged { file: file.to_owned() });
        }
        whole.insert(file.to_owned());
        Ok(())
    }

    fn is_whole(&self, segment: &SegmentMeta) -> bool {
        let mut files = files(segment).into_iter();
        let is_there = |file: &PathBuf| tantivy::Directory::exists(self.index.directory(), file);
        let damage = files.find_map(|file| match is_there(&file) {
            // Not every kind of file is there for every segment.
            Ok(false) => None,
            _ => self.check(&file).err(),
        });
        if let Some(error) = &damage {
            tracing::error!(%error, "a damaged segment is not merged");
        }
        damage.is_none()
    }

    /// Forgets the files of segments that are gone.
    fn retain(&self, segments: &[SegmentMeta]) {
        let files: HashSet<PathBuf> = segments.iter().flat_map(files).collect();
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        whole.retain(|file| files.contains(file));
    }
}

/// The files that every segment has.
pub(crate) const SEGMENT_FILES: [&str; 6] = ["idx", "pos", "term", "store", "fast", "fieldnorm"];

fn files(segment: &SegmentMeta) -> Vec<PathBuf> {
    let id = segment.id().uuid_string();
    let deletes = segment.delete_opstamp().map(|opstamp| format!("{id}.{opstamp}.del"));
    let always = SEGMENT_FILES.iter().map(|extension| format!("{id}.{extension}"));
    always.chain(deletes).map(PathBuf::from).collect()
}

/// Merges as Tantivy does, but no segment with a damaged file.
#[derive(Debug)]
pub(crate) struct WholeSegments {
    policy: LogMergePolicy,
    checks: SegmentChecks,
}

impl WholeSegments {
    pub(crate) fn new(policy: LogMergePolicy, index: Index) -> Self {
        WholeSegments { policy, checks: SegmentChecks::new(index) }
    }
}

impl MergePolicy for WholeSegments {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        self.checks.retain(segments);
        let is_whole = |candidate: &MergeCandidate| {
            let mut merged = segments.iter().filter(|s| candidate.0.contains(&s.id()));
            merged.all(|segment| self.checks.is_whole(segment))
        };
        let mut candidates = self.policy.compute_merge_candidates(segments);
        candidates.retain(is_whole);
        candidates
    }
}

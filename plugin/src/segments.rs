//! Verifies the checksums of segments' files: before they are read, as far as that is cheap, and
//! always before their content is written again.
//!
//! Why? Tantivy verifies none while it reads. A damaged length can make it allocate more memory than
//! there is, which ends the process. And a merge, or a document that is read back and indexed again,
//! would write damaged content under a valid checksum.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tantivy::directory::error::OpenReadError;
use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};
use tantivy::{Directory, Index, SegmentMeta, SegmentReader};

use crate::directory::{Checksums, recorded_checksums};
use crate::layout::segment_file_names;
use crate::{Error, Result};

/// The longest file that is verified when an index is opened, in bytes.
const SMALL: usize = 64 << 20;

/// The most bytes that are verified when an index is opened, the smallest files first.
const CHECKED_AT_OPENING: usize = 256 << 20;

/// Verifies files' checksums, each once.
#[derive(Debug)]
pub(crate) struct SegmentChecks {
    index: Index,
    /// The verified files; a segment's files never change.
    whole: Mutex<HashSet<PathBuf>>,
}

impl SegmentChecks {
    pub(crate) fn new(index: Index) -> Self {
        SegmentChecks { index, whole: Mutex::default() }
    }

    /// Verifies the new files of the last commit's segments, except for large ones.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentDamaged`], and [`Error::Tantivy`] when the last commit cannot be read.
    pub(crate) fn check_small(&self) -> Result<()> {
        let metas = self.index.load_metas().map_err(Error::tantivy("read the last commit"))?;
        let recorded = recorded_checksums(&self.index);
        self.retain(&metas.segments);
        let mut unknown = Vec::new();
        for file in metas.segments.iter().flat_map(files) {
            if self.lock().contains(&file) {
                continue;
            }
            match autotag::guarded(|| self.index.directory().get_file_handle(&file)) {
                Ok(Ok(handle)) => unknown.push((handle.len(), file)),
                // Its segment was merged meanwhile.
                Ok(Err(OpenReadError::FileDoesNotExist(_))) => {}
                Ok(Err(_)) | Err(_) => return Err(Error::SegmentDamaged { file }),
            }
        }
        unknown.sort();
        let mut left = CHECKED_AT_OPENING;
        for (length, file) in unknown {
            left = left.saturating_sub(length);
            if length > SMALL || left == 0 {
                break;
            }
            self.check(&file, &recorded)?;
        }
        Ok(())
    }

    /// Verifies a segment's store of documents.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentDamaged`].
    pub(crate) fn check_stored(&self, segment: &SegmentReader) -> Result<()> {
        self.check_file(segment, "store")
    }

    /// Verifies a segment's fast fields.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentDamaged`].
    pub(crate) fn check_fast(&self, segment: &SegmentReader) -> Result<()> {
        self.check_file(segment, "fast")
    }

    fn check_file(&self, segment: &SegmentReader, extension: &str) -> Result<()> {
        let id = segment.segment_id().uuid_string();
        let file = PathBuf::from(format!("{id}.{extension}"));
        if self.lock().contains(&file) {
            return Ok(());
        }
        self.check(&file, &recorded_checksums(&self.index))
    }

    /// Verifies all files of some of the last commit's segments.
    ///
    /// # Errors
    ///
    /// [`Error::SegmentDamaged`], and [`Error::Tantivy`] when the last commit cannot be read.
    pub(crate) fn check_whole(&self, is_asked: impl Fn(&SegmentMeta) -> bool) -> Result<()> {
        let metas = self.index.load_metas().map_err(Error::tantivy("read the last commit"))?;
        let recorded = recorded_checksums(&self.index);
        for segment in metas.segments.iter().filter(|segment| is_asked(segment)) {
            for file in files(segment) {
                self.check(&file, &recorded)?;
            }
        }
        Ok(())
    }

    fn check(&self, file: &Path, recorded: &Checksums) -> Result<()> {
        if self.lock().contains(file) {
            return Ok(());
        }
        match condition(&self.index, file, recorded) {
            Condition::Whole => drop(self.lock().insert(file.to_owned())),
            // Its segment was merged meanwhile; readers that have it open can still read it.
            Condition::Gone => {}
            Condition::Damaged => return Err(Error::SegmentDamaged { file: file.to_owned() }),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_whole(&self, segment: &SegmentMeta, recorded: &Checksums) -> bool {
        let mut files = files(segment).into_iter();
        let damage = files.find_map(|file| self.check(&file, recorded).err());
        if let Some(error) = &damage {
            tracing::error!(%error, "a damaged segment is not merged");
        }
        damage.is_none()
    }

    /// Forgets the files of segments that are gone.
    fn retain(&self, segments: &[SegmentMeta]) {
        let files: HashSet<PathBuf> = segments.iter().flat_map(files).collect();
        self.lock().retain(|file| files.contains(file));
    }
}

/// The condition of a file by its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Whole,
    Damaged,
    /// It is missing.
    Gone,
}

/// Verifies a file of an index by the checksum recorded under its name in `meta.json`, else by that
/// in its footer.
pub(crate) fn condition(index: &Index, file: &Path, recorded: &Checksums) -> Condition {
    let directory = index.directory();
    let compare = || match recorded.get(file) {
        Some(&recorded) => {
            let bytes = directory.open_read(file)?.read_bytes();
            Ok(bytes.is_ok_and(|bytes| crc32fast::hash(&bytes) == recorded))
        }
        None => directory.validate_checksum(file),
    };
    // Tantivy panics where a file is shorter than a footer.
    match autotag::guarded(compare) {
        Ok(Ok(true)) => Condition::Whole,
        Ok(Err(OpenReadError::FileDoesNotExist(_))) => Condition::Gone,
        Ok(Ok(false) | Err(_)) | Err(_) => Condition::Damaged,
    }
}

fn files(segment: &SegmentMeta) -> Vec<PathBuf> {
    let names = segment_file_names(&segment.id().uuid_string(), segment.delete_opstamp());
    names.into_iter().map(PathBuf::from).collect()
}

/// The share of deleted documents from which on a segment is merged to be rid of them.
const MERGED_DELETES_RATIO: f32 = 0.2;

/// Returns the merge policy of writers that were given none.
pub(crate) fn default_merge_policy() -> Arc<dyn MergePolicy> {
    let mut policy = LogMergePolicy::default();
    policy.set_del_docs_ratio_before_merge(MERGED_DELETES_RATIO);
    Arc::new(policy)
}

/// A merge policy, without segments that have a damaged file.
#[derive(Debug)]
pub(crate) struct WholeSegments {
    policy: Arc<dyn MergePolicy>,
    checks: SegmentChecks,
}

impl WholeSegments {
    pub(crate) fn new(policy: Arc<dyn MergePolicy>, index: Index) -> Self {
        WholeSegments { policy, checks: SegmentChecks::new(index) }
    }

    /// Asks the policy, which may be the caller's own: one that panics merges nothing.
    fn candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        let asked = autotag::guarded(|| self.policy.compute_merge_candidates(segments));
        let mut candidates = asked.unwrap_or_else(|message| {
            tracing::error!(message, "the merge policy panicked");
            vec![]
        });
        // Tantivy panics at an empty one.
        candidates.retain(|candidate| !candidate.0.is_empty());
        candidates
    }
}

impl MergePolicy for WholeSegments {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        self.checks.retain(segments);
        let mut candidates = self.candidates(segments);
        if candidates.is_empty() {
            return candidates;
        }
        let recorded = recorded_checksums(&self.checks.index);
        let is_whole = |candidate: &MergeCandidate| {
            let mut merged = segments.iter().filter(|s| candidate.0.contains(&s.id()));
            merged.all(|segment| self.checks.is_whole(segment, &recorded))
        };
        candidates.retain(is_whole);
        candidates
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tantivy::schema::{STORED, STRING, Schema};
    use tantivy::{IndexWriter, doc};

    use super::*;
    use crate::directory::FolderDirectory;

    #[test]
    fn stored_documents_are_compared_with_their_checksum_before_they_are_written_anew() {
        let mut schema = Schema::builder();
        let key = schema.add_text_field("key", STRING | STORED);
        let folder = tempfile::TempDir::new().unwrap();
        let directory = FolderDirectory::open(folder.path()).unwrap();
        let index = Index::create(directory, schema.build(), Default::default()).unwrap();
        let mut writer: IndexWriter = index.writer(15_000_000).unwrap();
        writer.add_document(doc!(key => "a")).unwrap();
        writer.commit().unwrap();
        let searcher = index.reader().unwrap().searcher();
        let segment = searcher.segment_reader(0);
        let check = || SegmentChecks::new(index.clone()).check_stored(segment);
        check().unwrap();
        let store = folder.path().join(format!("{}.store", segment.segment_id().uuid_string()));
        let mut bytes = fs::read(&store).unwrap();
        bytes[3] ^= 1;
        fs::write(&store, bytes).unwrap();
        assert!(matches!(check(), Err(Error::SegmentDamaged { .. })));
    }
}

//! The record of an integrity check, so that not every start digests a bundle anew.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use autotag::Fingerprint;
use serde::{Deserialize, Serialize};

use super::files::{self, STAMP};
use crate::Result;

/// The files of a bundle as they were when they were found to be those that its manifest lists.
///
/// It lies beside the manifest, which does not list it. A file is taken for unchanged while its state
/// ([`FileState`]) is the recorded one. Whoever copies or unpacks a bundle makes other files, which are
/// digested at every opening until the bundle is verified. A stamp protects nobody from a hostile
/// bundle, as a manifest does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The digest of the manifest.
    manifest: Option<Fingerprint>,
    files: BTreeMap<String, FileState>,
}

/// The state of a file, which changes with its content: a new file has another inode, a changed one another
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileState {
    bytes: u64,
    inode: u64,
    /// The time of the last change of content or metadata, in nanoseconds; no program can set it.
    changed: i64,
}

/// The resolution that a file system's clock has at least. A change within one step of it after
/// another cannot be seen.
const CLOCK: Duration = Duration::from_millis(20);

impl FileState {
    /// Returns a file's state; `None` where the system has no such times.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        FileState::of_metadata(&fs::symlink_metadata(path).ok()?)
    }

    /// Returns a file's state where a change from now on would show in it.
    pub(crate) fn settled(path: &Path) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos();
        FileState::of(path).filter(|state| !state.is_too_new(i64::try_from(now).unwrap_or(0)))
    }

    #[cfg(unix)]
    fn of_metadata(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let changed =
            metadata.ctime().checked_mul(1_000_000_000)?.checked_add(metadata.ctime_nsec())?;
        // A file system with whole seconds only cannot tell two changes apart.
        let is_fine = metadata.ctime_nsec() != 0;
        is_fine.then_some(FileState { bytes: metadata.len(), inode: metadata.ino(), changed })
    }

    #[cfg(not(unix))]
    fn of_metadata(_metadata: &Metadata) -> Option<Self> {
        None
    }

    /// Tells whether a change at a time, in nanoseconds, could not be seen.
    fn is_too_new(&self, time: i64) -> bool {
        time.saturating_sub(self.changed) < CLOCK.as_nanos() as i64
    }
}

impl Stamp {
    /// Records the state of files that are about to be checked.
    pub(super) fn of_files<'n>(bundle: &Path, names: impl Iterator<Item = &'n str>) -> Self {
        let state = |name: &str| Some((name.to_owned(), FileState::of(&bundle.join(name))?));
        Stamp { manifest: None, files: names.filter_map(state).collect() }
    }

    /// Reads a bundle's stamp; an empty one where there is none for this manifest.
    pub(super) fn read(bundle: &Path, manifest: &Fingerprint) -> Self {
        let path = bundle.join(STAMP);
        let read = || -> Option<Stamp> {
            let mut stamp: Stamp = serde_json::from_slice(&files::read(&path).ok()?).ok()?;
            let written = FileState::of(&path)?;
            stamp.files.retain(|_, state| !state.is_too_new(written.changed));
            (stamp.manifest == Some(*manifest)).then_some(stamp)
        };
        read().unwrap_or_default()
    }

    /// Writes the stamp of files that were found to be those of a manifest.
    pub(super) fn write(mut self, bundle: &Path, manifest: &Fingerprint) -> Result<()> {
        self.manifest = Some(*manifest);
        // So that the files are old enough for the stamp, whose own time may lag by a step.
        std::thread::sleep(2 * CLOCK);
        files::write_json(&bundle.join(STAMP), &self)
    }

    /// Tells whether another stamp says the same of the same files.
    pub(super) fn has_files_of(&self, other: &Stamp) -> bool {
        self.files == other.files
    }

    /// Tells whether a file is as it was when it was checked.
    pub(super) fn holds(&self, bundle: &Path, name: &str) -> bool {
        let recorded = self.files.get(name);
        recorded.is_some_and(|recorded| FileState::of(&bundle.join(name)) == Some(*recorded))
    }
}

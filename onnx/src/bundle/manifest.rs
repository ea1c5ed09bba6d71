//! The list of a bundle's files with their lengths and digests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use autotag::Fingerprint;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::{self, MANIFEST, STAMP};
use super::stamp::Stamp;
use crate::{OnnxError, Result};

/// The files that a writer leaves beside a datastore.
const LOCKS: [&str; 2] = ["datastore/lock.mdb", "datastore/writer.lock"];

/// The most files and folders that are listed; a bundle has fewer than ten.
const MAX_ENTRIES: usize = 1000;

/// A bundle's files by their paths inside it, which use `/` on every system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    files: BTreeMap<String, FileEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileEntry {
    bytes: u64,
    sha256: Fingerprint,
}

impl Manifest {
    /// Lists and digests the files in a folder, manifest and stamp left out.
    pub(super) fn of_folder(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in list(folder)? {
            let entry = digest_file(&folder.join(&name))?;
            files.insert(name, entry);
        }
        Ok(Manifest { files })
    }

    /// Reads a bundle's manifest and digests it: the bundle's fingerprint.
    pub(super) fn read(bundle: &Path) -> Result<(Self, Fingerprint)> {
        let path = bundle.join(MANIFEST);
        let bytes = files::read(&path)?;
        let manifest =
            serde_json::from_slice(&bytes).map_err(|source| OnnxError::Json { path, source })?;
        Ok((manifest, digest(&bytes)))
    }

    /// Writes the manifest into a bundle's folder.
    pub(super) fn write(&self, bundle: &Path) -> Result<()> {
        files::write_json(&bundle.join(MANIFEST), self)
    }

    /// Returns the digest of a file that every bundle has.
    pub(super) fn digest(&self, bundle: &Path, name: &str) -> Result<Fingerprint> {
        match self.files.get(name) {
            Some(entry) => Ok(entry.sha256),
            None => Err(OnnxError::FileMissing { path: bundle.join(name) }),
        }
    }

    /// Returns the listed files' paths inside the bundle.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Checks a folder that holds all listed files but one.
    pub(super) fn check_but(mut self, folder: &Path, left_out: &str) -> Result<()> {
        self.files.remove(left_out);
        self.check(folder, &Stamp::default())
    }

    /// Checks that a folder holds the listed files, unchanged, and no others; those that a stamp holds
    /// are not digested.
    pub(super) fn check(&self, bundle: &Path, stamp: &Stamp) -> Result<()> {
        if let Some(name) = self.files.keys().find(|name| !is_inside(name)) {
            return Err(OnnxError::PathOutside { path: bundle.to_path_buf(), name: name.clone() });
        }
        let found = list(bundle)?;
        if let Some(name) = found.iter().find(|name| !self.files.contains_key(*name)) {
            return Err(OnnxError::FileUnlisted { path: bundle.join(name) });
        }
        for (name, entry) in &self.files {
            let path = bundle.join(name);
            if !found.contains(name) {
                return Err(OnnxError::FileMissing { path });
            }
            check_length(&path, entry)?;
            if !stamp.holds(bundle, name) {
                check_digest(path, entry)?;
            }
        }
        Ok(())
    }
}

/// Tells whether a listed path stays inside the folder it is joined to.
fn is_inside(name: &str) -> bool {
    let components = || Path::new(name).components();
    !name.contains('\\')
        && components().count() > 0
        && components().all(|component| matches!(component, Component::Normal(_)))
}

fn check_length(path: &Path, entry: &FileEntry) -> Result<()> {
    let (_, found) = files::open_plain(path)?;
    if found != entry.bytes {
        let (path, expected) = (path.to_path_buf(), entry.bytes);
        return Err(OnnxError::FileLength { path, expected, found });
    }
    Ok(())
}

fn check_digest(path: PathBuf, entry: &FileEntry) -> Result<()> {
    if digest_file(&path)?.sha256 != entry.sha256 {
        return Err(OnnxError::FileChanged { path });
    }
    Ok(())
}

/// Lists the files below a folder by their paths inside it, the manifest, the stamp and locks left out.
///
/// # Errors
///
/// [`OnnxError::NotPlain`] for a link or anything else that is neither file nor folder,
/// [`OnnxError::FileUnlisted`] for names that are not Unicode and for more than [`MAX_ENTRIES`].
pub(super) fn list(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        let path = folder.join(&prefix);
        for entry in fs::read_dir(&path).map_err(OnnxError::io(&path, "list"))? {
            let entry = entry.map_err(OnnxError::io(&path, "list"))?;
            if names.len() + folders.len() > MAX_ENTRIES {
                return Err(OnnxError::FileUnlisted { path: entry.path() });
            }
            let kind = entry.file_type().map_err(OnnxError::io(&path, "list"))?;
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}"))
            else {
                return Err(OnnxError::FileUnlisted { path: entry.path() });
            };
            if kind.is_dir() {
                folders.push(name + "/");
            } else if !kind.is_file() {
                return Err(OnnxError::NotPlain { path: entry.path() });
            } else if ![MANIFEST, STAMP].contains(&name.as_str()) && !LOCKS.contains(&name.as_str())
            {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Digests bytes in memory.
pub(super) fn digest(bytes: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(bytes).into())
}

fn digest_file(path: &Path) -> Result<FileEntry> {
    let (mut file, _) = files::open_plain(path)?;
    let mut block = vec![0; 1 << 20];
    let (mut sha256, mut bytes) = (Sha256::new(), 0);
    loop {
        let n_read = file.read(&mut block).map_err(OnnxError::io(path, "read"))?;
        if n_read == 0 {
            return Ok(FileEntry { bytes, sha256: Fingerprint(sha256.finalize().into()) });
        }
        sha256.update(&block[..n_read]);
        bytes += n_read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_folder_are_recognized() {
        for name in ["config.json", "datastore/data.mdb"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", "../x", "a/../../x", "/etc/passwd", "a\\..\\x", "."] {
            assert!(!is_inside(name), "{name}");
        }
    }
}

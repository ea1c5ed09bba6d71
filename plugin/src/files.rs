//! Steps on files, and the unused files of an index's folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tantivy::Index;

use crate::layout::{PARTIAL_COPY, is_of_a_segment, is_temporary, own_folder};
use crate::{Error, Result};

/// Lists the files of Tantivy and autotag that do not belong to the last commit.
///
/// While a writer is open, they include the files of its next commit.
pub(crate) fn unused(folder: &Path, index: &Index) -> Result<Vec<PathBuf>> {
    let metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
    let used = metas.list_segment_files();
    let listed = list(folder, &used);
    listed.map_err(|source| Error::Io { path: folder.to_owned(), action: "list", source })
}

/// Removes unused files; the index must be locked for writing, and nothing written yet.
pub(crate) fn remove_unused(folder: &Path, index: &Index) -> Result<()> {
    for name in unused(folder, index)? {
        let path = folder.join(name);
        tracing::debug!(path = %path.display(), "removing a file that a killed process left");
        // A merge of an `IndexWriter` that was just dropped may remove its own file.
        let removed = allow_missing(fs::remove_file(&path));
        removed.map_err(|source| Error::Io { path, action: "remove", source })?;
    }
    Ok(())
}

fn list(folder: &Path, used: &HashSet<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut unused = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = PathBuf::from(entry.file_name());
        let is_ours = name.to_str().is_some_and(|n| is_of_a_segment(n) || is_temporary(n));
        if is_ours && !used.contains(&name) && entry.file_type()?.is_file() {
            unused.push(name);
        }
    }
    if folder.join(PARTIAL_COPY).is_file() {
        unused.push(PARTIAL_COPY.into());
    }
    for file in half_written(folder)? {
        unused.extend(file.strip_prefix(folder).map(Path::to_path_buf));
    }
    unused.sort();
    Ok(unused)
}

/// Lists the partial files of interrupted writes in autotag's folder.
pub(crate) fn half_written(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let own = own_folder(folder);
    let mut files = Vec::new();
    if !own.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(own)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            ["index.", "meta.copy."].iter().any(|start| name.starts_with(start))
                && name.ends_with(".new")
        });
        if is_ours && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Lists the files of segments in a folder, by their names.
pub(crate) fn segment_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_of_a_segment) {
            files.push(name.into());
        }
    }
    Ok(files)
}

pub(crate) fn allow_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        result => result,
    }
}

pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Replaces a file atomically, but not durably: a power cut may bring the old one back.
pub(crate) fn replace_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

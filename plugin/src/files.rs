//! Files in an index's folder that belong to nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tantivy::Index;

use crate::folder::own_folder;
use crate::{Error, Result};

/// What is written beside a datastore's file before it is whole.
const PARTIAL_COPY: &str = "autotag/datastore/data.mdb.partial";

/// Lists the files of Tantivy's and autotag's that the last commit does not know.
///
/// While somebody writes, these are also what they are about to commit.
pub(crate) fn unused(folder: &Path, index: &Index) -> Result<Vec<PathBuf>> {
    let metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
    let used = metas.list_segment_files();
    let listed = list(folder, &used);
    listed.map_err(|source| Error::Io { path: folder.to_owned(), action: "list", source })
}

/// Removes such files; the index must be locked for writing, and nothing written yet.
pub(crate) fn remove_unused(folder: &Path, index: &Index) -> Result<()> {
    for name in unused(folder, index)? {
        let path = folder.join(name);
        tracing::debug!(path = %path.display(), "removing a file that a killed process left");
        let removed = fs::remove_file(&path);
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

/// Lists what writing descriptions and copies in autotag's folder left when it was interrupted.
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

/// Segments' files begin with a UUID of 32 digits.
fn is_of_a_segment(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Tantivy writes small files under such a name first.
fn is_temporary(name: &str) -> bool {
    let suffix = name.strip_prefix(".tmp").unwrap_or_default();
    suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_tantivy_gives_are_its_own() {
        assert!(is_of_a_segment("0123456789abcdef0123456789abcdef.store"));
        assert!(is_of_a_segment("0123456789abcdef0123456789abcdef.12.del"));
        for other in ["meta.json", "notes.txt", "0123456789abcdef.store", ".managed.json"] {
            assert!(!is_of_a_segment(other) && !is_temporary(other), "{other}");
        }
        assert!(is_temporary(".tmpAb3xYz"));
        assert!(!is_temporary(".tmp") && !is_temporary(".tmp-notes"));
    }
}

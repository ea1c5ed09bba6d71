//! Checks of output places, made before any work is done for them.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use tantivy_autotag::Error;

/// Checks that a new index can be made in a folder: a new one, or one without files.
pub(super) fn check_index(path: &Path) -> anyhow::Result<()> {
    if metadata(path)?.is_some_and(|found| found.is_dir()) {
        check_no_files(path)?;
    }
    check_folder(path)
}

/// Checks that a file can be written, a new one or in the place of an older one.
pub(super) fn check_file(path: &Path) -> anyhow::Result<()> {
    match metadata(path)? {
        Some(found) if found.is_dir() => {
            bail!("{} is a folder: name a file to write to", path.display())
        }
        Some(found) if found.is_file() => {
            let opened = File::options().append(true).open(path);
            opened.with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(())
        }
        // Such as a terminal.
        Some(_) => Ok(()),
        None if metadata(parent(path))?.is_none() => {
            let (path, folder) = (path.display(), parent(path).display());
            bail!("{path} cannot be written: there is no folder {folder}, make it first")
        }
        None => check_folder(parent(path)),
    }
}

fn check_no_files(path: &Path) -> anyhow::Result<()> {
    let unreadable = || format!("the folder {} cannot be read", path.display());
    let mut other = None;
    for entry in fs::read_dir(path).with_context(unreadable)? {
        let name = entry.with_context(unreadable)?.file_name().to_string_lossy().into_owned();
        if name == "autotag" {
            // What an interrupted creation left, which another one removes.
            return Ok(());
        }
        // Locks are no files of anyone's.
        if !name.starts_with('.') {
            other = Some(name);
        }
    }
    match other {
        Some(found) => Err(Error::FolderNotEmpty { path: path.to_path_buf(), found }.into()),
        None => Ok(()),
    }
}

/// Checks that files can be written to a folder, or that it can be made in the nearest one above it.
pub(super) fn check_folder(path: &Path) -> anyhow::Result<()> {
    match metadata(path)? {
        None => check_folder(parent(path)),
        Some(found) if !found.is_dir() => {
            bail!("{} is a file: nothing can be written below it", path.display())
        }
        Some(_) => {
            let made = tempfile::Builder::new().prefix(".autotag-").tempdir_in(path);
            made.with_context(|| format!("nothing can be written to {}", path.display()))?;
            Ok(())
        }
    }
}

fn metadata(path: &Path) -> anyhow::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        // What lies below a file is not there either; whoever looks further finds the file.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be looked at", path.display())),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(checked: anyhow::Result<()>) -> String {
        format!("{:#}", checked.unwrap_err())
    }

    #[test]
    fn new_places_are_fine_and_nothing_is_left_there() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("a/b/c");
        check_index(&new).unwrap();
        check_folder(&new).unwrap();
        check_file(&folder.path().join("file")).unwrap();
        check_index(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_lies_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let file = path.join("notes.txt");
        fs::write(&file, "x").unwrap();
        assert!(refused(check_index(path)).contains("other files, such as \"notes.txt\""));
        for checked in [check_index(&file), check_index(&file.join("a/b")), check_folder(&file)] {
            assert!(refused(checked).contains("notes.txt is a file"));
        }
        assert!(refused(check_file(path)).contains("is a folder"));
        assert!(refused(check_file(&path.join("a/b"))).contains("there is no folder"));
        assert!(refused(check_file(&file.join("b"))).contains("notes.txt is a file"));
        check_file(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    }

    #[test]
    fn an_unfinished_index_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("autotag")).unwrap();
        check_index(folder.path()).unwrap();
    }
}

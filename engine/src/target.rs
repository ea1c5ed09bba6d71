//! Checks of output places, made before any work is done for them.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

use tantivy_autotag::Error;

use crate::error::{EngineError, Result};

/// Checks that a new index can be made in a folder: a new one, or one without files.
///
/// # Errors
///
/// Names what lies in the way.
pub fn check_index(path: &Path) -> Result<()> {
    if metadata(path)?.is_some_and(|found| found.is_dir()) {
        check_no_files(path)?;
    }
    check_folder(path)
}

/// Checks that a file can be written, a new one or in the place of an older one.
///
/// # Errors
///
/// Names what lies in the way.
pub fn check_file(path: &Path) -> Result<()> {
    match metadata(path)? {
        Some(found) if found.is_dir() => Err(EngineError::IsFolder { path: path.to_path_buf() }),
        Some(found) if found.is_file() => {
            let opened = File::options().append(true).open(path);
            opened.map_err(|source| EngineError::WriteFile { path: path.to_path_buf(), source })?;
            Ok(())
        }
        // Such as a terminal.
        Some(_) => Ok(()),
        None if metadata(parent(path))?.is_none() => {
            let (path, folder) = (path.to_path_buf(), parent(path).to_path_buf());
            Err(EngineError::NoFolder { path, folder })
        }
        None => check_folder(parent(path)),
    }
}

fn check_no_files(path: &Path) -> Result<()> {
    let unreadable = |source| EngineError::ReadFolder { path: path.to_path_buf(), source };
    let mut other = None;
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if name == "autotag" {
            // Left by an interrupted creation; the next one removes it.
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
///
/// # Errors
///
/// Names what lies in the way.
pub fn check_folder(path: &Path) -> Result<()> {
    match metadata(path)? {
        None => check_folder(parent(path)),
        Some(found) if !found.is_dir() => Err(EngineError::IsFile { path: path.to_path_buf() }),
        Some(_) => {
            let made = tempfile::Builder::new().prefix(".autotag-").tempdir_in(path);
            made.map_err(|source| EngineError::WriteFolder { path: path.to_path_buf(), source })?;
            Ok(())
        }
    }
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        // A path below a file is absent too; the check of its parent finds the file.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(source) => Err(EngineError::Inspect { path: path.to_path_buf(), source }),
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

    fn refused(checked: Result<()>) -> String {
        checked.unwrap_err().to_string()
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

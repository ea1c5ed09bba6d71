//! Errors as messages for users.

use std::error::Error;

use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};

/// Writes an error without its causes, for users.
///
/// Why not its own message? Tantivy's show their values in Rust's `Debug` form.
pub fn plainly(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(error) => of_tantivy(error),
        None => error.to_string(),
    }
}

/// Writes an error and its causes as one line, for users.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = plainly(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = plainly(error);
        // Some libraries repeat their cause in their own message.
        if !text.contains(&more) {
            text += &format!(": {more}");
        }
        cause = error.source();
    }
    text
}

fn of_tantivy(error: &TantivyError) -> String {
    match error {
        TantivyError::OpenDirectoryError(error) => of_directory(error),
        TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(path)) => {
            format!("{} is missing", path.display())
        }
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, filepath }) => {
            format!("{} cannot be read: {io_error}", filepath.display())
        }
        TantivyError::OpenWriteError(OpenWriteError::FileAlreadyExists(path)) => {
            format!("{} is there already", path.display())
        }
        TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, filepath }) => {
            format!("{} cannot be written: {io_error}", filepath.display())
        }
        TantivyError::LockFailure(LockError::IoError(error), _) => {
            format!("the index's lock file cannot be used: {error}")
        }
        TantivyError::LockFailure(LockError::LockBusy, _) => {
            "another process holds the index's lock".to_owned()
        }
        // Its `Debug` form is a sentence.
        TantivyError::DataCorruption(damage) => format!("{damage:?}"),
        error => error.to_string(),
    }
}

fn of_directory(error: &OpenDirectoryError) -> String {
    match error {
        OpenDirectoryError::DoesNotExist(path) => format!("{} is missing", path.display()),
        OpenDirectoryError::NotADirectory(path) => format!("{} is no folder", path.display()),
        OpenDirectoryError::FailedToCreateTempDir(error) => {
            format!("no temporary folder can be made: {error}")
        }
        OpenDirectoryError::IoError { io_error, directory_path } => {
            format!("{} cannot be opened: {io_error}", directory_path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn no_error_of_the_file_system_is_told_as_programmers_see_it() {
        let denied = || Arc::new(io::Error::from_raw_os_error(13));
        let path = || PathBuf::from("index/meta.json");
        let errors: [TantivyError; 8] = [
            OpenReadError::IoError { io_error: denied(), filepath: path() }.into(),
            OpenReadError::FileDoesNotExist(path()).into(),
            OpenWriteError::IoError { io_error: denied(), filepath: path() }.into(),
            OpenWriteError::FileAlreadyExists(path()).into(),
            OpenDirectoryError::IoError { io_error: denied(), directory_path: path() }.into(),
            TantivyError::LockFailure(LockError::IoError(denied()), Some("why".to_owned())),
            TantivyError::LockFailure(LockError::LockBusy, None),
            TantivyError::IoError(denied()),
        ];
        for error in &errors {
            let told = plainly(error);
            assert!(!told.contains("Os {") && !told.contains("IoError"), "{told}");
            assert!(!told.contains("Some(") && !told.contains('"'), "{told}");
        }
    }
}

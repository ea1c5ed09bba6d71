//! Files that others may have put where the trainer reads.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens a regular file; anything else in its place, as a pipe or a device, might never end.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] when it is no regular file, and what opening brings.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened, since opening a pipe waits for whoever writes to it.
    check_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
///
/// Those of [`open_regular`], and [`ErrorKind::FileTooLarge`] for a longer file.
pub(crate) fn read_regular(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let length = file.metadata()?.len();
    if length > max_bytes {
        return Err(too_large(length, max_bytes));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length as usize).map_err(|_| ErrorKind::OutOfMemory)?;
    // It may have grown meanwhile.
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(bytes.len() as u64, max_bytes));
    }
    Ok(bytes)
}

/// Refuses what is no regular file.
pub(crate) fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {what}: give a regular file")))
}

fn too_large(length: u64, max_bytes: u64) -> io::Error {
    let reason = format!("it has {length} bytes, more than {max_bytes}");
    io::Error::new(ErrorKind::FileTooLarge, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_length_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        let error = read_regular(&path, 4).unwrap_err();
        assert_eq!(error.to_string(), "it has 5 bytes, more than 4");
        assert_eq!(read_regular(folder.path(), 4).unwrap_err().kind(), ErrorKind::InvalidInput);
        let missing = read_regular(&folder.path().join("none"), 4).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_or_a_device_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            if made.as_ref().is_ok_and(|status| status.success()) || path != pipe {
                let error = read_regular(path, 1 << 20).unwrap_err();
                assert!(error.to_string().contains("a pipe or a device"), "{error}");
            }
        }
    }
}

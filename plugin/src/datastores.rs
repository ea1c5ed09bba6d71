//! The datastores in an index's folder: the current one, replaced ones, unfinished ones, and unknown
//! ones.

use std::fs;
use std::path::{Path, PathBuf};

use autotag::datastore::sync_folder;

use crate::Result;
use crate::description::Description;
use crate::error::io_error;
use crate::files::allow_missing;
use crate::layout::{BEGUN, SET_ASIDE, is_datastore_name, unfinished_path};

/// Removes replaced and unfinished datastores, and sets unknown ones aside.
///
/// The index must be locked for writing.
pub(crate) fn tidy(own: &Path, description: &Description) -> Result<()> {
    for folder in others(own, &description.datastore)? {
        remove_or_set_aside(own, &folder, description)?;
    }
    // Left by a crash at the very end of an index's creation.
    let mark = unfinished_path(own.parent().unwrap_or(own));
    allow_missing(fs::remove_file(&mark)).map_err(io_error("remove", &mark))
}

/// Frees a name: removes a replaced or unfinished datastore, and sets an unknown one aside.
pub(crate) fn remove_or_set_aside(
    own: &Path,
    folder: &Path,
    description: &Description,
) -> Result<()> {
    let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    if description.replaced.iter().any(|replaced| replaced == name) || folder.join(BEGUN).is_file()
    {
        tracing::info!(path = %folder.display(), "removing a datastore that is not in use");
        return fs::remove_dir_all(folder).map_err(io_error("remove", folder));
    }
    let aside = own.join(SET_ASIDE);
    fs::create_dir_all(&aside).map_err(io_error("create", &aside))?;
    let names = [name.to_owned()].into_iter().chain((2..).map(|n: u32| format!("{name}-{n}")));
    let target = names.map(|name| aside.join(name)).find(|target| !target.exists());
    let target = target.expect("there are more numbers than folders");
    tracing::warn!(from = %folder.display(), to = %target.display(), "setting an unknown datastore aside");
    fs::rename(folder, &target).map_err(io_error("set aside", folder))?;
    sync_folder(&aside).and_then(|()| sync_folder(own)).map_err(io_error("set aside", folder))
}

/// Returns the folders of all datastores but the current one, including those set aside.
pub(crate) fn all_others(own: &Path, current: &str) -> Result<Vec<PathBuf>> {
    let mut folders = others(own, current)?;
    let aside = own.join(SET_ASIDE);
    if aside.is_dir() {
        folders.extend(others(&aside, "")?);
    }
    Ok(folders)
}

fn others(own: &Path, current: &str) -> Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    for entry in fs::read_dir(own).map_err(io_error("list", own))? {
        let entry = entry.map_err(io_error("list", own))?;
        let name = entry.file_name();
        let is_other = name.to_str().is_some_and(|name| is_datastore_name(name) && name != current);
        if is_other && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            others.push(entry.path());
        }
    }
    others.sort();
    Ok(others)
}

/// Tells whether a datastore is being made, from the sources named.
pub(crate) fn is_begun_as(folder: &Path, what: &str) -> bool {
    fs::read_to_string(folder.join(BEGUN)).is_ok_and(|begun| begun == what)
}

/// Tells whether a datastore is being made.
pub(crate) fn is_begun(folder: &Path) -> bool {
    folder.join(BEGUN).is_file()
}

/// Records the sources of a datastore that will be made in a new folder.
pub(crate) fn begin(folder: &Path, what: &str) -> Result<()> {
    fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let mark = folder.join(BEGUN);
    fs::write(&mark, what).map_err(io_error("write", &mark))
}

/// Records that a datastore is finished.
pub(crate) fn finish(folder: &Path) -> Result<()> {
    let mark = folder.join(BEGUN);
    allow_missing(fs::remove_file(&mark)).map_err(io_error("remove", &mark))
}

/// Makes the entries of a new datastore's folder durable.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    let own = folder.parent().unwrap_or(folder);
    sync_folder(folder).and_then(|()| sync_folder(own)).map_err(io_error("write", folder))
}

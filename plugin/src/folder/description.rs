//! What an index's folder says of itself.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use autotag::Fingerprint;
use autotag::datastore::sync_folder;
use serde::{Deserialize, Serialize};

use super::{io_error, is_missing, own_folder, unfinished_path};
use crate::directory::replace_unsynced;
use crate::{Error, FieldNames, Result};

/// The version that is written.
pub(crate) const VERSION: u32 = 3;

/// The oldest version that is read.
const OLDEST: u32 = 2;

/// What `index.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) version: u32,
    pub(crate) fields: FieldNames,
    pub(crate) encoder: Fingerprint,
    pub(crate) bundle: BundlePath,
    /// Absent in version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bundle_fingerprint: Option<Fingerprint>,
    /// The name of the datastore's folder.
    pub(crate) datastore: String,
    /// The names of datastores that others took the place of, and that may not be removed yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaced: Vec<String>,
    /// The CRC-32 of the schema, which never changes.
    pub(crate) schema: u32,
    /// The CRC-32 of all of this with a 0 in its place.
    pub(crate) checksum: u32,
}

/// A path, as text where it is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum BundlePath {
    Text(String),
    /// Not in UTF-8.
    Raw(OsString),
}

impl BundlePath {
    pub(crate) fn new(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => BundlePath::Text(text.to_owned()),
            None => BundlePath::Raw(path.as_os_str().to_owned()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            BundlePath::Text(text) => Path::new(text),
            BundlePath::Raw(path) => Path::new(path),
        }
    }
}

impl Description {
    /// Reads `index.json`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = description_path(path);
        match fs::read(&file) {
            Ok(json) => Description::decode(path, &file, &json),
            Err(error) if is_missing(&error) && unfinished_path(path).is_file() => {
                Err(Error::IndexUnfinished { path: path.to_owned() })
            }
            Err(error) if is_missing(&error) => Err(Error::NoIndex { path: path.to_owned() }),
            Err(error) => Err(io_error("read", &file)(error)),
        }
    }

    /// Reads the copy of `index.json`; `None` where it cannot be used either.
    pub(crate) fn read_copy(path: &Path) -> Option<Self> {
        let file = copy_path(path);
        Description::decode(path, &file, &fs::read(&file).ok()?).ok()
    }

    fn decode(path: &Path, file: &Path, json: &[u8]) -> Result<Self> {
        let damaged = |source| Error::DescriptionDamaged { path: file.to_owned(), source };
        let VersionOnly { version: found } = serde_json::from_slice(json).map_err(damaged)?;
        if !(OLDEST..=VERSION).contains(&found) {
            let path = path.to_owned();
            return Err(Error::IndexVersion { path, found, supported: VERSION });
        }
        let description: Description = serde_json::from_slice(json).map_err(damaged)?;
        let names = description.replaced.iter().chain([&description.datastore]);
        let is_whole = description.checksum == description.expected_checksum();
        if !is_whole || !names.into_iter().all(|name| is_datastore_name(name)) {
            return Err(Error::DescriptionChanged { path: file.to_owned() });
        }
        Ok(description)
    }

    /// Returns the description in the newest version, under its checksum.
    pub(crate) fn sealed(mut self) -> Self {
        self.version = VERSION;
        self.checksum = self.expected_checksum();
        self
    }

    fn expected_checksum(&self) -> u32 {
        crc32fast::hash(&to_json(&Description { checksum: 0, ..self.clone() }))
    }
}

/// What a datastore's folder is called: nothing that leads out of autotag's folder.
pub(crate) fn is_datastore_name(name: &str) -> bool {
    let rest = name.strip_prefix("datastore");
    rest.is_some_and(|rest| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        rest.len() <= 64 && (rest.is_empty() || rest.starts_with('-')) && rest.bytes().all(is_plain)
    })
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("text and numbers always encode")
}

/// What is read first, whatever the version.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

pub(crate) fn description_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.json")
}

/// A copy for repairs.
pub(super) fn copy_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.copy.json")
}

/// The file that a description is written to first, by this process.
fn temporary_path(path: &Path) -> PathBuf {
    own_folder(path).join(format!("index.{}.new", std::process::id()))
}

/// Writes `index.json` so that it is there as a whole or not at all, durably.
pub(crate) fn publish(path: &Path, description: &Description) -> Result<()> {
    let (file, temporary) = (description_path(path), temporary_path(path));
    let json = to_json(description);
    let write = || -> io::Result<()> {
        let mut output = File::create(&temporary)?;
        output.write_all(&json)?;
        output.sync_all()?;
        fs::rename(&temporary, &file)?;
        // Also the entries themselves: the file's in `autotag`, and `autotag`'s in the folder.
        sync_folder(&own_folder(path))?;
        sync_folder(path)
    };
    write().map_err(io_error("write", &file))?;
    if let Err(error) = replace_unsynced(&copy_path(path), &json) {
        tracing::debug!(%error, "no copy of index.json is kept");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datastore_is_a_plain_folder_inside_autotags() {
        for name in ["datastore", "datastore-0f3a", "datastore-repaired-12"] {
            assert!(is_datastore_name(name), "{name}");
        }
        let long = format!("datastore-{}", "a".repeat(64));
        let others = ["", "data", "datastores", "datastore/..", "datastore-../x", "../datastore"];
        for name in others.into_iter().chain(["datastore-\0", "datastore-ä", "/datastore", &long])
        {
            assert!(!is_datastore_name(name), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_is_found_again_whatever_its_bytes() {
        use std::os::unix::ffi::OsStringExt;
        let paths = ["plain".into(), "ümlaut".into(), OsString::from_vec(vec![b'a', 0xff, b'"'])];
        for path in paths.map(PathBuf::from) {
            let json = to_json(&BundlePath::new(&path));
            let read: BundlePath = serde_json::from_slice(&json).unwrap();
            assert_eq!(read.path(), path);
        }
    }
}

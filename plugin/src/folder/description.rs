//! What an index's folder says of itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use autotag::Fingerprint;
use serde::{Deserialize, Serialize};

use super::{io_error, is_missing, own_folder, unfinished_path};
use crate::{Error, FieldNames, Result};

/// The only format version that this program reads and writes.
pub(super) const VERSION: u32 = 2;

/// What `index.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) version: u32,
    pub(super) fields: FieldNames,
    pub(super) encoder: Fingerprint,
    pub(super) bundle: String,
    /// The name of the datastore's folder.
    pub(super) datastore: String,
    /// The CRC-32 of the schema, which never changes.
    pub(super) schema: u32,
    /// The CRC-32 of all of this with a 0 in its place.
    pub(super) checksum: u32,
}

impl Description {
    /// Reads `index.json`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = description_path(path);
        let json = match fs::read(&file) {
            Ok(json) => json,
            Err(error) if is_missing(&error) && unfinished_path(path).is_file() => {
                return Err(Error::IndexUnfinished { path: path.to_owned() });
            }
            Err(error) if is_missing(&error) => {
                return Err(Error::NoIndex { path: path.to_owned() });
            }
            Err(error) => return Err(io_error("read", &file)(error)),
        };
        let damaged = |source| Error::DescriptionDamaged { path: file.clone(), source };
        let VersionOnly { version: found } = serde_json::from_slice(&json).map_err(damaged)?;
        if found != VERSION {
            let path = path.to_owned();
            return Err(Error::IndexVersion { path, found, supported: VERSION });
        }
        let description: Description = serde_json::from_slice(&json).map_err(damaged)?;
        if description.checksum != description.expected_checksum() {
            return Err(Error::DescriptionChanged { path: file });
        }
        Ok(description)
    }

    pub(super) fn sealed(mut self) -> Self {
        self.checksum = self.expected_checksum();
        self
    }

    fn expected_checksum(&self) -> u32 {
        crc32fast::hash(&to_json(&Description { checksum: 0, ..self.clone() }))
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("text and numbers always encode")
}

/// What is read first, whatever the version.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

pub(super) fn description_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.json")
}

pub(super) fn temporary_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.json.new")
}

/// Writes `index.json` so that it is there as a whole or not at all.
pub(super) fn publish(path: &Path, description: &Description) -> Result<()> {
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
    write().map_err(io_error("write", &file))
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

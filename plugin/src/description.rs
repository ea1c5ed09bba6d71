//! `index.json`: the description of an index.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use autotag::datastore::sync_folder;
use autotag::{Datastore, DatastoreOptions, Fingerprint};
use serde::{Deserialize, Serialize};
use tantivy::schema::Schema;

use crate::error::io_error;
use crate::files::{is_missing, replace_unsynced};
use crate::layout::{
    copy_path, description_path, is_datastore_name, own_folder, temporary_path, unfinished_path,
};
use crate::{Error, FieldNames, Result};

/// The version that is written.
pub(crate) const VERSION: u32 = 4;

/// The oldest version that is read.
const OLDEST: u32 = 2;

/// The content of `index.json`.
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
    /// The names of replaced datastores that may not be removed yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaced: Vec<String>,
    /// The CRC-32 of the schema, which never changes.
    pub(crate) schema: u32,
    /// The CRC-32 of the description with 0 as its checksum.
    pub(crate) checksum: u32,
}

/// A bundle, as the source of an index.
#[derive(Clone, Copy, Debug)]
pub struct BundleSource<'b> {
    /// Its path, recorded as it is for later openings; empty where there is no bundle.
    pub path: &'b Path,
    /// Identifies the bundle, its training set and settings included: two that differ in any of these
    /// have different ones.
    pub fingerprint: Fingerprint,
    /// The first neighbors. Their encoder is the index's.
    pub neighbors: InitialNeighbors<'b>,
}

impl<'b> BundleSource<'b> {
    /// Describes an encoder without a bundle, by the options of its datastore
    /// ([`DatastoreOptions::of`]): the index begins without neighbors.
    pub fn without_bundle(options: &'b DatastoreOptions) -> Self {
        let (path, fingerprint) = (Path::new(""), options.encoder);
        BundleSource { path, fingerprint, neighbors: InitialNeighbors::None(options) }
    }
}

/// The neighbors that an index begins with.
#[derive(Clone, Copy, Debug)]
pub enum InitialNeighbors<'b> {
    /// A copy of a bundle's training set.
    TrainingSet(&'b Datastore),
    /// None: a new datastore with these options.
    None(&'b DatastoreOptions),
}

impl InitialNeighbors<'_> {
    /// Returns the fingerprint of their encoder.
    pub(crate) fn encoder(&self) -> Fingerprint {
        match self {
            InitialNeighbors::TrainingSet(datastore) => datastore.encoder(),
            InitialNeighbors::None(options) => options.encoder,
        }
    }

    /// Fills a folder that has no datastore, durably.
    pub(crate) fn write_to(&self, folder: &Path) -> autotag::Result<()> {
        match self {
            InitialNeighbors::TrainingSet(datastore) => datastore.copy_to(folder),
            InitialNeighbors::None(options) => Datastore::create(folder, options).map(drop),
        }
    }
}

/// A path, as text where it is valid UTF-8.
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
        let damaged = |source: serde_json::Error| Error::DescriptionDamaged {
            path: file.to_owned(),
            source: source.into(),
        };
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

    /// Tells whether the index is a bundle's: its encoder, training set and settings.
    pub(crate) fn is_of(&self, bundle: &BundleSource<'_>) -> bool {
        self.bundle_fingerprint == Some(bundle.fingerprint)
            && self.encoder == bundle.neighbors.encoder()
    }

    /// Returns the description with another datastore.
    pub(crate) fn with_datastore(&self, name: &str) -> Description {
        let mut replaced = self.replaced.clone();
        replaced.retain(|replaced| replaced != name);
        Description { datastore: name.to_owned(), replaced, ..self.clone() }
    }

    /// Returns the description with the current datastore among the replaced ones.
    pub(crate) fn with_replaced(&self) -> Description {
        let mut replaced = self.replaced.clone();
        if !replaced.contains(&self.datastore) {
            replaced.push(self.datastore.clone());
        }
        Description { replaced, ..self.clone() }
    }

    /// Returns the description of a new index of a bundle.
    pub(crate) fn derived(
        fields: FieldNames,
        schema: &Schema,
        bundle: &BundleSource<'_>,
        datastore: &str,
    ) -> Description {
        let description = Description {
            version: VERSION,
            fields,
            encoder: bundle.neighbors.encoder(),
            bundle: BundlePath::new(bundle.path),
            bundle_fingerprint: Some(bundle.fingerprint),
            datastore: datastore.to_owned(),
            replaced: vec![],
            schema: crc32fast::hash(&to_json(schema)),
            checksum: 0,
        };
        description.sealed()
    }

    /// Returns the description with another bundle.
    pub(crate) fn with_bundle(&self, bundle: &BundleSource<'_>) -> Description {
        Description {
            encoder: bundle.neighbors.encoder(),
            bundle: BundlePath::new(bundle.path),
            bundle_fingerprint: Some(bundle.fingerprint),
            ..self.clone()
        }
    }

    /// Returns the description in the newest version, with its checksum.
    pub(crate) fn sealed(mut self) -> Self {
        self.version = VERSION;
        self.checksum = self.expected_checksum();
        self
    }

    fn expected_checksum(&self) -> u32 {
        crc32fast::hash(&to_json(&Description { checksum: 0, ..self.clone() }))
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("text and numbers always encode")
}

/// The part that every version has.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// Writes `index.json` atomically and durably, and its copy.
pub(crate) fn publish(path: &Path, description: &Description) -> Result<()> {
    let (file, temporary) = (description_path(path), temporary_path(path));
    let json = to_json(description);
    let write = || -> io::Result<()> {
        let mut output = File::create(&temporary)?;
        output.write_all(&json)?;
        output.sync_all()?;
        fs::rename(&temporary, &file)?;
        // The directory entries too: the file's in `autotag`, and `autotag`'s in the folder.
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

    #[cfg(unix)]
    #[test]
    fn a_path_is_found_again_whatever_its_bytes() {
        use std::os::unix::ffi::OsStringExt;
        use std::path::PathBuf;

        let paths = ["plain".into(), "ümlaut".into(), OsString::from_vec(vec![b'a', 0xff, b'"'])];
        for path in paths.map(PathBuf::from) {
            let json = to_json(&BundlePath::new(&path));
            let read: BundlePath = serde_json::from_slice(&json).unwrap();
            assert_eq!(read.path(), path);
        }
    }
}

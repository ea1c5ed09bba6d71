//! The names of files and folders in an index's folder.
//!
//! ```text
//! DIR/                          Tantivy's files
//! DIR/autotag/index.json        format version, field names, encoder, bundle, datastore; written last
//! DIR/autotag/datastore*/       the index's own neighbors, and its documents' records
//! DIR/autotag/index.copy.json, meta.copy.json   copies for repairs
//! DIR/autotag/adopting.json     while another index is adopted: the SHA-256 of its meta.json
//! DIR/autotag/set-aside/        unknown datastores; only a person removes them
//! DIR/autotag/damaged/          damaged segments that a repair set aside
//! ```

use std::path::{Path, PathBuf};

/// The file with the list of segments.
pub(crate) const META: &str = "meta.json";

/// The file with the list of all files that Tantivy made.
pub(crate) const MANAGED: &str = ".managed.json";

/// The copy of `meta.json` in autotag's folder.
pub(crate) const META_COPY: &str = "meta.copy.json";

/// The name of the first datastore's folder; migrating makes others.
pub(crate) const DATASTORE: &str = "datastore";

/// The file that names the sources of a datastore that is being made; it stays until the index uses
/// the datastore.
///
/// Why? A finished datastore that the index has left again looks like an unfinished one under the
/// same name, but lacks everything that came since.
pub(crate) const BEGUN: &str = "begun";

/// The folder of unknown datastores, inside autotag's own.
pub(crate) const SET_ASIDE: &str = "set-aside";

/// The folder of damaged files that were set aside, inside autotag's own.
pub(crate) const DAMAGED: &str = "damaged";

/// A partial copy of a datastore.
pub(crate) const PARTIAL_COPY: &str = "autotag/datastore/data.mdb.partial";

/// The extensions of the files that every segment has.
pub(crate) const SEGMENT_EXTENSIONS: [&str; 6] =
    ["idx", "pos", "term", "store", "fast", "fieldnorm"];

/// Returns autotag's folder inside an index's.
pub(crate) fn own_folder(path: &Path) -> PathBuf {
    path.join("autotag")
}

/// Returns the file that marks an index as being made.
pub(crate) fn unfinished_path(path: &Path) -> PathBuf {
    own_folder(path).join("unfinished")
}

/// Returns the file that marks an index as being made of another one's documents.
pub(crate) fn adopting_path(path: &Path) -> PathBuf {
    own_folder(path).join("adopting.json")
}

/// Returns the file with the index's description.
pub(crate) fn description_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.json")
}

/// Returns the copy of the description, for repairs.
pub(crate) fn copy_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.copy.json")
}

/// Returns the file that this process writes a description to first.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    own_folder(path).join(format!("index.{}.new", std::process::id()))
}

/// Tells whether a name is that of a datastore's folder, which stays inside autotag's folder.
pub(crate) fn is_datastore_name(name: &str) -> bool {
    let rest = name.strip_prefix("datastore");
    rest.is_some_and(|rest| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        rest.len() <= 64 && (rest.is_empty() || rest.starts_with('-')) && rest.bytes().all(is_plain)
    })
}

/// Returns the possible names of a segment's files.
pub(crate) fn segment_file_names(id: &str, delete_opstamp: Option<u64>) -> Vec<String> {
    let deletes = delete_opstamp.map(|opstamp| format!("{id}.{opstamp}.del"));
    let always = SEGMENT_EXTENSIONS.iter().map(|extension| format!("{id}.{extension}"));
    always.chain(deletes).collect()
}

/// Tells whether a file is a segment's: its name begins with a UUID of 32 digits.
pub(crate) fn is_of_a_segment(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Tells whether a file is a temporary one of Tantivy's, which small files are written to first.
pub(crate) fn is_temporary(name: &str) -> bool {
    let suffix = name.strip_prefix(".tmp").unwrap_or_default();
    suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
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

    #[test]
    fn only_names_that_tantivy_gives_are_its_own() {
        assert!(is_of_a_segment("0123456789abcdef0123456789abcdef.store"));
        assert!(is_of_a_segment("0123456789abcdef0123456789abcdef.12.del"));
        for other in ["meta.json", "notes.txt", "0123456789abcdef.store", ".managed.json"] {
            assert!(!is_of_a_segment(other) && !is_temporary(other), "{other}");
        }
        assert!(is_temporary(".tmpAb3xYz"));
        assert!(!is_temporary(".tmp") && !is_temporary(".tmp-notes"));
    }
}

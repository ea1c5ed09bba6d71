//! The names of files and folders in an index's folder.
//!
//! ```text
//! DIR/                          Tantivy's files
//! DIR/autotag/index.json        format version, field names, encoder, bundle, datastore; written last
//! DIR/autotag/datastore*/       the index's own neighbors, and what is kept of its documents
//! DIR/autotag/index.copy.json, meta.copy.json   copies for repairs
//! DIR/autotag/set-aside/        datastores that nobody knows; only a person removes them
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

/// The file that says what a datastore is being made from; it is there until the index uses it.
///
/// Why? A datastore that was finished, and left when the index went on to another one, looks like
/// the beginning of the next that is made under its name, but knows nothing of what came since.
pub(crate) const BEGUN: &str = "begun";

/// Where datastores lie that nobody knows.
pub(crate) const SET_ASIDE: &str = "set-aside";

/// The folder that damaged files are moved to, inside autotag's own.
pub(crate) const DAMAGED: &str = "damaged";

/// What is written beside a datastore's file before it is whole.
pub(crate) const PARTIAL_COPY: &str = "autotag/datastore/data.mdb.partial";

/// The files that every segment has.
pub(crate) const SEGMENT_EXTENSIONS: [&str; 6] =
    ["idx", "pos", "term", "store", "fast", "fieldnorm"];

pub(crate) fn own_folder(path: &Path) -> PathBuf {
    path.join("autotag")
}

/// The file that is there while an index is being made.
pub(crate) fn unfinished_path(path: &Path) -> PathBuf {
    own_folder(path).join("unfinished")
}

pub(crate) fn description_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.json")
}

/// A copy for repairs.
pub(crate) fn copy_path(path: &Path) -> PathBuf {
    own_folder(path).join("index.copy.json")
}

/// The file that a description is written to first, by this process.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    own_folder(path).join(format!("index.{}.new", std::process::id()))
}

/// What a datastore's folder is called: nothing that leads out of autotag's folder.
pub(crate) fn is_datastore_name(name: &str) -> bool {
    let rest = name.strip_prefix("datastore");
    rest.is_some_and(|rest| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        rest.len() <= 64 && (rest.is_empty() || rest.starts_with('-')) && rest.bytes().all(is_plain)
    })
}

/// Returns the names that a segment's files have, if it has them.
pub(crate) fn segment_file_names(id: &str, delete_opstamp: Option<u64>) -> Vec<String> {
    let deletes = delete_opstamp.map(|opstamp| format!("{id}.{opstamp}.del"));
    let always = SEGMENT_EXTENSIONS.iter().map(|extension| format!("{id}.{extension}"));
    always.chain(deletes).collect()
}

/// Segments' files begin with a UUID of 32 digits.
pub(crate) fn is_of_a_segment(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Tantivy writes small files under such a name first.
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

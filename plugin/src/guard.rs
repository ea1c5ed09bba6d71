//! Guards reads of Tantivy's files, which panic at some damage.

use tantivy::{Index, IndexReader, ReloadPolicy};

use crate::{Error, Result};

/// Runs a read of an index; a panic, most likely caused by damage, becomes an error.
pub(crate) fn guard<T>(action: &'static str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = autotag::guarded(read);
    outcome.unwrap_or_else(|message| Err(Error::IndexPanicked { action, message }))
}

/// Opens an index for reading.
pub(crate) fn open_reader(index: &Index) -> Result<IndexReader> {
    const OPENED: &str = "opened the index for reading";
    guard(OPENED, || {
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        reader.map_err(Error::tantivy(OPENED))
    })
}

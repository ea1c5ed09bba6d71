//! Reading Tantivy's files, which panics at some damage.

use crate::{Error, Result};

/// Runs what reads an index; a panic becomes an error, since damage is most likely its cause.
pub(crate) fn guard<T>(action: &'static str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = autotag::guarded(read);
    outcome.unwrap_or_else(|message| Err(Error::IndexPanicked { action, message }))
}

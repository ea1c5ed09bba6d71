//! The evidence that is stored beside a document's tags.

use autotag::Evidence;
use tantivy::TantivyDocument;
use tantivy::schema::Value;

use crate::{Error, Result, TagFields};

impl TagFields {
    /// Reads the evidence that is stored in a document; `None` where the document has none, as one
    /// indexed untagged has.
    ///
    /// # Errors
    ///
    /// [`Error::Evidence`] when the field holds something else.
    pub fn evidence_of(&self, document: &TantivyDocument) -> Result<Option<Evidence>> {
        let Some(value) = document.get_first(self.evidence) else {
            return Ok(None);
        };
        let damaged = |source| Error::Evidence { field: self.evidence.field_id(), source };
        let json = value.as_str().ok_or_else(|| damaged(None))?;
        serde_json::from_str(json).map(Some).map_err(|error| damaged(Some(error.into())))
    }
}

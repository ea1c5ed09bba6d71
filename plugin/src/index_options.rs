//! The parts of a Tantivy index that its files do not hold.

use std::fmt;

use tantivy::schema::{FieldType, Schema, TextFieldIndexing};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, IndexSettings};

use crate::{Error, Result};

/// The tokenizer of fast fields that Tantivy never looks up: it leaves values as they are.
const RAW: &str = "raw";

/// The settings of a new index, and the tokenizers of any.
///
/// Tantivy keeps only the names of tokenizers on disk: register the tokenizers that the schema names
/// whenever the index is opened.
///
/// ```
/// use tantivy::tokenizer::{TextAnalyzer, TokenizerManager, WhitespaceTokenizer};
/// use tantivy_autotag::IndexOptions;
///
/// let tokenizers = TokenizerManager::default();
/// tokenizers.register("words", TextAnalyzer::from(WhitespaceTokenizer::default()));
/// let options = IndexOptions::default().tokenizers(tokenizers);
/// # let _ = options;
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct IndexOptions {
    /// The settings of a new index, such as the compression of its stored documents. Where absent,
    /// they are Tantivy's defaults, or those of the index that is adopted. An index that is opened
    /// keeps its own.
    pub settings: Option<IndexSettings>,
    /// The tokenizers of indexed text, by name; Tantivy's own are there by default.
    pub tokenizers: TokenizerManager,
    /// The tokenizers of fast text fields, by name; Tantivy's own are there by default.
    pub fast_field_tokenizers: TokenizerManager,
}

impl IndexOptions {
    /// Sets the settings of a new index.
    pub fn settings(mut self, settings: IndexSettings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Sets the tokenizers of indexed text.
    pub fn tokenizers(mut self, tokenizers: TokenizerManager) -> Self {
        self.tokenizers = tokenizers;
        self
    }

    /// Sets the tokenizers of fast text fields.
    pub fn fast_field_tokenizers(mut self, tokenizers: TokenizerManager) -> Self {
        self.fast_field_tokenizers = tokenizers;
        self
    }

    /// Gives an index the tokenizers.
    pub(crate) fn put_into(&self, index: &mut Index) {
        index.set_tokenizers(self.tokenizers.clone());
        index.set_fast_field_tokenizers(self.fast_field_tokenizers.clone());
    }

    /// Checks that every tokenizer that a schema names is registered.
    pub(crate) fn check(&self, schema: &Schema) -> Result<()> {
        check(schema, &self.tokenizers, &self.fast_field_tokenizers)
    }
}

impl fmt::Debug for IndexOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tantivy's managers of tokenizers do not list them.
        let settings = &self.settings;
        formatter.debug_struct("IndexOptions").field("settings", settings).finish_non_exhaustive()
    }
}

/// Checks that every tokenizer that an index's schema names is registered with the index.
///
/// Why? Tantivy looks for it when it writes the first segment, and its indexing thread dies there.
///
/// # Errors
///
/// [`Error::TokenizerMissing`].
pub(crate) fn check_tokenizers(index: &Index) -> Result<()> {
    check(&index.schema(), index.tokenizers(), index.fast_field_tokenizer())
}

fn check(schema: &Schema, indexed: &TokenizerManager, fast: &TokenizerManager) -> Result<()> {
    for (_, entry) in schema.fields() {
        let (of_index, of_fast_field) = match entry.field_type() {
            FieldType::Str(options) => {
                (options.get_indexing_options(), options.get_fast_field_tokenizer_name())
            }
            FieldType::JsonObject(options) => {
                (options.get_text_indexing_options(), options.get_fast_field_tokenizer_name())
            }
            _ => continue,
        };
        let of_index = of_index.map(TextFieldIndexing::tokenizer);
        let missing = of_index
            .filter(|name| indexed.get(name).is_none())
            .or_else(|| of_fast_field.filter(|&name| name != RAW && fast.get(name).is_none()));
        if let Some(tokenizer) = missing {
            let (field, tokenizer) = (entry.name().to_owned(), tokenizer.to_owned());
            return Err(Error::TokenizerMissing { field, tokenizer });
        }
    }
    Ok(())
}

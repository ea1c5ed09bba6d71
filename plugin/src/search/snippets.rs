//! Passages of documents that match a query.

use tantivy::query::Query;
use tantivy::schema::Field;
use tantivy::snippet::{SnippetGenerator, collapse_overlapped_ranges};
use tantivy::{Searcher, TantivyDocument};

use super::request::SnippetOptions;
use super::results::Snippet;
use crate::{Error, Result, document};

/// The longest snippet, in bytes.
const MAX_BYTES: usize = 1 << 16;

/// Finds the passages of documents that match a query, in each of some text fields.
pub(super) struct Snippets {
    generators: Vec<(Field, String, SnippetGenerator)>,
}

impl Snippets {
    /// Prepares the search for the passages of text fields.
    pub(super) fn new(
        searcher: &Searcher,
        query: &dyn Query,
        fields: &[Field],
        options: SnippetOptions,
    ) -> Result<Self> {
        let mut generators = Vec::with_capacity(fields.len());
        for &field in fields {
            let generator = SnippetGenerator::create(searcher, query, field);
            let mut generator = generator.map_err(Error::tantivy("prepared snippets"))?;
            generator.set_max_num_chars(options.max_bytes.clamp(1, MAX_BYTES));
            let name = searcher.schema().get_field_name(field).to_owned();
            generators.push((field, name, generator));
        }
        Ok(Snippets { generators })
    }

    /// Returns the best passage of each text field of a document that matches.
    pub(super) fn of(&self, document: &TantivyDocument) -> Vec<Snippet> {
        let snippet = |(field, name, generator): &(Field, String, SnippetGenerator)| {
            let values: Vec<_> = document::text_values(document, *field).collect();
            let found = generator.snippet(&values.join("\n"));
            (!found.is_empty()).then(|| Snippet {
                field: name.clone(),
                text: found.fragment().to_owned(),
                highlighted: collapse_overlapped_ranges(found.highlighted()),
            })
        };
        self.generators.iter().filter_map(snippet).collect()
    }
}

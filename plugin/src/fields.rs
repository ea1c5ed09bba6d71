//! The fields of the caller's schema that autotag uses.

use serde::{Deserialize, Serialize};
use tantivy::schema::{
    FacetOptions, Field, FieldType, STORED, STRING, Schema, SchemaBuilder, TEXT, TextOptions,
};

use crate::{Error, Result};

/// The names of the fields that autotag uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldNames {
    /// The document's key.
    pub key: String,
    /// The texts that are tagged together, in this order.
    pub texts: Vec<String>,
    /// The tags.
    pub tags: String,
    /// The tags' evidence.
    pub evidence: String,
    /// The suggestions: labels below the threshold, for a person's review. Without the field they are
    /// in the evidence only, and cannot be searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestions: Option<String>,
}

impl Default for FieldNames {
    /// Returns `id`, `text`, `tags` and `evidence`, and no field for suggestions.
    fn default() -> Self {
        FieldNames {
            key: "id".to_owned(),
            texts: vec!["text".to_owned()],
            tags: "tags".to_owned(),
            evidence: "evidence".to_owned(),
            suggestions: None,
        }
    }
}

/// The fields of the caller's own schema that autotag uses; it leaves all others alone.
///
/// ```
/// use tantivy::schema::{FAST, Schema};
/// use tantivy_autotag::{FieldNames, TagFields};
///
/// let mut schema = Schema::builder();
/// schema.add_u64_field("year", FAST);
/// let names = FieldNames { texts: vec!["title".into(), "body".into()], ..FieldNames::default() };
/// let fields = TagFields::add_to(&mut schema, &names)?;
/// assert_eq!(TagFields::from_schema(&schema.build(), &names)?, fields);
/// # Ok::<(), tantivy_autotag::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFields {
    /// The document's key: a string field, indexed raw and stored.
    pub key: Field,
    /// The texts that are tagged: their values, joined by line ends.
    pub texts: Vec<Field>,
    /// The tags: a facet field, stored.
    pub tags: Field,
    /// The tags' evidence: a stored text field that is not indexed.
    pub evidence: Field,
    /// The suggestions, where the schema has a field for them: a facet field, stored.
    pub suggestions: Option<Field>,
}

impl TagFields {
    /// Adds fresh fields of the right types to a schema that is being built.
    ///
    /// # Errors
    ///
    /// [`Error::FieldTwice`] when two of the names are the same, [`Error::NoTextField`] when no
    /// text field is named.
    ///
    /// # Panics
    ///
    /// When the schema has a field of that name already, as Tantivy's builder does; look fields
    /// that are there up with [`TagFields::from_schema`].
    pub fn add_to(schema: &mut SchemaBuilder, names: &FieldNames) -> Result<TagFields> {
        check_names(names)?;
        let facets = FacetOptions::default().set_stored();
        Ok(TagFields {
            key: schema.add_text_field(&names.key, STRING | STORED),
            texts: names
                .texts
                .iter()
                .map(|name| schema.add_text_field(name, TEXT | STORED))
                .collect(),
            tags: schema.add_facet_field(&names.tags, facets.clone()),
            evidence: schema.add_text_field(&names.evidence, STORED),
            suggestions: names
                .suggestions
                .as_ref()
                .map(|name| schema.add_facet_field(name, facets)),
        })
    }

    /// Looks the fields up in a schema and checks their types.
    ///
    /// # Errors
    ///
    /// [`Error::FieldMissing`], [`Error::FieldType`], [`Error::FieldTwice`] or
    /// [`Error::NoTextField`].
    pub fn from_schema(schema: &Schema, names: &FieldNames) -> Result<TagFields> {
        check_names(names)?;
        let find = |role, name: &str| {
            schema.get_field(name).map_err(|_| Error::FieldMissing { role, name: name.to_owned() })
        };
        let mut texts = Vec::with_capacity(names.texts.len());
        for name in &names.texts {
            texts.push(find(TEXT_ROLE, name)?);
        }
        let fields = TagFields {
            key: find(KEY_ROLE, &names.key)?,
            texts,
            tags: find(TAGS_ROLE, &names.tags)?,
            evidence: find(EVIDENCE_ROLE, &names.evidence)?,
            suggestions: names
                .suggestions
                .as_ref()
                .map(|name| find(SUGGESTIONS_ROLE, name))
                .transpose()?,
        };
        fields.check(schema)?;
        Ok(fields)
    }

    /// Returns the fields' names.
    ///
    /// # Errors
    ///
    /// As [`TagFields::from_schema`].
    pub fn names(&self, schema: &Schema) -> Result<FieldNames> {
        self.check(schema)?;
        let name = |field: Field| schema.get_field_name(field).to_owned();
        Ok(FieldNames {
            key: name(self.key),
            texts: self.texts.iter().map(|&field| name(field)).collect(),
            tags: name(self.tags),
            evidence: name(self.evidence),
            suggestions: self.suggestions.map(name),
        })
    }

    /// Tells whether autotag fills a field.
    pub(crate) fn is_reserved(&self, field: Field) -> bool {
        [Some(self.tags), Some(self.evidence), self.suggestions].contains(&Some(field))
    }

    /// Checks that every field is in the schema and has the type that its use needs.
    pub(crate) fn check(&self, schema: &Schema) -> Result<()> {
        if self.texts.is_empty() {
            return Err(Error::NoTextField);
        }
        let is_key = |field: &FieldType| match field {
            FieldType::Str(options) => options.is_stored() && is_indexed_raw(options),
            _ => false,
        };
        check_type(schema, self.key, KEY_ROLE, "a stored string field, indexed raw", is_key)?;
        for &text in &self.texts {
            check_type(schema, text, TEXT_ROLE, "a text field", FieldType::is_str)?;
        }
        let is_tags =
            |field: &FieldType| matches!(field, FieldType::Facet(options) if options.is_stored());
        check_type(schema, self.tags, TAGS_ROLE, "a stored facet field", is_tags)?;
        if let Some(suggestions) = self.suggestions {
            check_type(schema, suggestions, SUGGESTIONS_ROLE, "a stored facet field", is_tags)?;
        }
        let is_evidence = |field: &FieldType| match field {
            FieldType::Str(options) => {
                options.is_stored() && options.get_indexing_options().is_none()
            }
            _ => false,
        };
        let expected = "a stored text field that is not indexed";
        check_type(schema, self.evidence, EVIDENCE_ROLE, expected, is_evidence)
    }
}

const KEY_ROLE: &str = "key";
const TEXT_ROLE: &str = "text";
const TAGS_ROLE: &str = "tags";
const EVIDENCE_ROLE: &str = "evidence";
const SUGGESTIONS_ROLE: &str = "suggestions";

fn check_names(names: &FieldNames) -> Result<()> {
    if names.texts.is_empty() {
        return Err(Error::NoTextField);
    }
    let mut all = vec![&names.key, &names.tags, &names.evidence];
    all.extend(&names.texts);
    all.extend(&names.suggestions);
    all.sort_unstable();
    match all.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::FieldTwice { name: pair[0].clone() }),
        None => Ok(()),
    }
}

fn check_type(
    schema: &Schema,
    field: Field,
    role: &'static str,
    expected: &'static str,
    fits: impl Fn(&FieldType) -> bool,
) -> Result<()> {
    if field.field_id() as usize >= schema.num_fields() {
        return Err(Error::FieldMissing { role, name: format!("number {}", field.field_id()) });
    }
    let entry = schema.get_field_entry(field);
    if fits(entry.field_type()) {
        return Ok(());
    }
    Err(Error::FieldType { role, name: entry.name().to_owned(), expected })
}

/// Tells whether a term of the field is a whole value, as replacing by key needs.
fn is_indexed_raw(options: &TextOptions) -> bool {
    options.get_indexing_options().is_some_and(|indexing| indexing.tokenizer() == "raw")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(build: impl FnOnce(&mut SchemaBuilder), expect: &str) {
        let mut schema = Schema::builder();
        build(&mut schema);
        let error = TagFields::from_schema(&schema.build(), &FieldNames::default()).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }

    #[test]
    fn fields_of_the_wrong_type_are_refused_by_name() {
        check(|_| {}, "no field \"text\"");
        check(
            |schema| {
                schema.add_text_field("text", TEXT);
                schema.add_text_field("tags", TEXT);
                schema.add_text_field("evidence", STORED);
                schema.add_text_field("id", TEXT | STORED);
            },
            "field \"id\" cannot hold the key: it must be a stored string field, indexed raw",
        );
        check(
            |schema| {
                schema.add_text_field("text", TEXT);
                schema.add_facet_field("tags", FacetOptions::default());
                schema.add_text_field("evidence", STORED);
                schema.add_text_field("id", STRING | STORED);
            },
            "field \"tags\" cannot hold the tags: it must be a stored facet field",
        );
        check(
            |schema| {
                schema.add_text_field("text", TEXT);
                schema.add_facet_field("tags", FacetOptions::default().set_stored());
                schema.add_text_field("evidence", TEXT | STORED);
                schema.add_text_field("id", STRING | STORED);
            },
            "field \"evidence\" cannot hold the evidence",
        );
    }

    #[test]
    fn one_field_serves_one_use() {
        let names = FieldNames { tags: "id".to_owned(), ..FieldNames::default() };
        let error = TagFields::add_to(&mut Schema::builder(), &names).unwrap_err();
        assert!(matches!(error, Error::FieldTwice { name } if name == "id"));
        let suggestions = Some("tags".to_owned());
        let names = FieldNames { suggestions, ..FieldNames::default() };
        let error = TagFields::add_to(&mut Schema::builder(), &names).unwrap_err();
        assert!(matches!(error, Error::FieldTwice { name } if name == "tags"));
        let names = FieldNames { texts: vec![], ..FieldNames::default() };
        let error = TagFields::add_to(&mut Schema::builder(), &names).unwrap_err();
        assert!(matches!(error, Error::NoTextField));
    }

    #[test]
    fn a_field_for_suggestions_may_be_there_or_not() {
        let names =
            FieldNames { suggestions: Some("suggestions".to_owned()), ..FieldNames::default() };
        let mut schema = Schema::builder();
        let fields = TagFields::add_to(&mut schema, &names).unwrap();
        let schema = schema.build();
        assert_eq!(fields.names(&schema).unwrap(), names);
        let without = TagFields::from_schema(&schema, &FieldNames::default()).unwrap();
        assert_eq!(without.suggestions, None);
        // Names that were written before there were suggestions.
        let json = r#"{"key": "id", "texts": ["text"], "tags": "tags", "evidence": "evidence"}"#;
        assert_eq!(serde_json::from_str::<FieldNames>(json).unwrap(), FieldNames::default());
        let names = FieldNames {
            suggestions: Some("text".to_owned()),
            texts: vec!["id".to_owned()],
            key: "id".to_owned(),
            ..FieldNames::default()
        };
        assert!(TagFields::from_schema(&schema, &names).is_err());
    }

    #[test]
    fn fields_of_another_schema_are_refused() {
        let mut schema = Schema::builder();
        let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
        assert_eq!(fields.names(&schema.build()).unwrap(), FieldNames::default());
        assert!(matches!(
            fields.check(&Schema::builder().build()),
            Err(Error::FieldMissing { .. })
        ));
    }
}

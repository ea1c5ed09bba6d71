//! The fields of the caller's schema that autotag uses.

use serde::{Deserialize, Serialize};
use tantivy::schema::{
    DateOptions, DateTimePrecision, FAST, FacetOptions, Field, FieldType, INDEXED, STORED, STRING,
    Schema, SchemaBuilder, TEXT, TextOptions,
};

use crate::{Error, Result};

/// The names of the fields that autotag uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// The fields that a review sorts and filters by. Without them a document is as it would be
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewNames>,
}

/// The names of the fields that a review sorts and filters by; see [`ReviewFields`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReviewNames {
    /// The margin of the least certain label.
    pub margin: String,
    /// The best score.
    pub score: String,
    /// The origin of the tags.
    pub origin: String,
    /// The time of the last change.
    pub changed: String,
}

impl Default for ReviewNames {
    /// Returns `tag_margin`, `tag_score`, `tag_origin` and `tagged_at`.
    fn default() -> Self {
        ReviewNames {
            margin: "tag_margin".to_owned(),
            score: "tag_score".to_owned(),
            origin: "tag_origin".to_owned(),
            changed: "tagged_at".to_owned(),
        }
    }
}

impl ReviewNames {
    /// Returns the default names.
    pub fn new() -> Self {
        ReviewNames::default()
    }

    /// Sets the name of the field for the margin.
    pub fn margin(mut self, name: impl Into<String>) -> Self {
        self.margin = name.into();
        self
    }

    /// Sets the name of the field for the best score.
    pub fn score(mut self, name: impl Into<String>) -> Self {
        self.score = name.into();
        self
    }

    /// Sets the name of the field for the origin.
    pub fn origin(mut self, name: impl Into<String>) -> Self {
        self.origin = name.into();
        self
    }

    /// Sets the name of the field for the time of the last change.
    pub fn changed(mut self, name: impl Into<String>) -> Self {
        self.changed = name.into();
        self
    }

    fn all(&self) -> [&String; 4] {
        [&self.margin, &self.score, &self.origin, &self.changed]
    }
}

impl Default for FieldNames {
    /// Returns `id`, `text`, `tags` and `evidence`, the default fields for reviews, and no field for
    /// suggestions.
    fn default() -> Self {
        FieldNames {
            key: "id".to_owned(),
            texts: vec!["text".to_owned()],
            tags: "tags".to_owned(),
            evidence: "evidence".to_owned(),
            suggestions: None,
            review: Some(ReviewNames::default()),
        }
    }
}

impl FieldNames {
    /// Returns the default names.
    pub fn new() -> Self {
        FieldNames::default()
    }

    /// Sets the name of the key's field.
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key = name.into();
        self
    }

    /// Sets the names of the text fields, whose texts are tagged together in this order.
    pub fn texts(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.texts = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the name of the field for tags.
    pub fn tags(mut self, name: impl Into<String>) -> Self {
        self.tags = name.into();
        self
    }

    /// Sets the name of the field for evidence.
    pub fn evidence(mut self, name: impl Into<String>) -> Self {
        self.evidence = name.into();
        self
    }

    /// Sets the name of the field for suggestions; `None` for no such field.
    pub fn suggestions<'n>(mut self, name: impl Into<Option<&'n str>>) -> Self {
        self.suggestions = name.into().map(str::to_owned);
        self
    }

    /// Sets the names of the fields for reviews; `None` for no such fields.
    pub fn review(mut self, names: impl Into<Option<ReviewNames>>) -> Self {
        self.review = names.into();
        self
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
/// let names = FieldNames::new().texts(["title", "body"]);
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
    /// The fields that a review sorts and filters by, where the schema has them.
    pub review: Option<ReviewFields>,
}

/// The fast fields that a review sorts and filters by.
///
/// autotag writes them with every document: by `add`, a correction, or a job that changes its
/// evidence. The query language knows them too, as in `tag_margin:[0 TO 0.1]` and
/// `tagged_at:[2025-01-01T00:00:00Z TO *]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewFields {
    /// The margin of the label that the tagger was least certain of: the distance of its score to its
    /// threshold, within 0..=1 (see [`Evidence::margin`](autotag::Evidence::margin)). The smallest
    /// margins are the most uncertain documents. A document has none where no label is left to the
    /// tagger. A floating-point field, fast and stored.
    pub margin: Field,
    /// The highest score among the tags and suggestions, within 0..=1; that of a label that a person
    /// gave is 1. A document without either has none. A floating-point field, fast and stored.
    pub score: Field,
    /// The origin of the tags, as [`DocumentOrigin::code`](crate::DocumentOrigin::code): a field of
    /// unsigned integers, fast, indexed and stored.
    pub origin: Field,
    /// The time at which autotag wrote the document last, UTC, in seconds: a date field, fast and
    /// stored.
    pub changed: Field,
}

impl ReviewFields {
    fn add_to(schema: &mut SchemaBuilder, names: &ReviewNames) -> Self {
        let seconds = DateOptions::from(FAST | STORED).set_precision(DateTimePrecision::Seconds);
        ReviewFields {
            margin: schema.add_f64_field(&names.margin, FAST | STORED),
            score: schema.add_f64_field(&names.score, FAST | STORED),
            origin: schema.add_u64_field(&names.origin, FAST | INDEXED | STORED),
            changed: schema.add_date_field(&names.changed, seconds),
        }
    }

    fn all(&self) -> [Field; 4] {
        [self.margin, self.score, self.origin, self.changed]
    }

    fn names(&self, name: impl Fn(Field) -> String) -> ReviewNames {
        ReviewNames {
            margin: name(self.margin),
            score: name(self.score),
            origin: name(self.origin),
            changed: name(self.changed),
        }
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        let number = "a fast field of floating-point numbers";
        let is_number = |field: &FieldType| matches!(field, FieldType::F64(_)) && field.is_fast();
        check_type(schema, self.margin, MARGIN_ROLE, number, is_number)?;
        check_type(schema, self.score, SCORE_ROLE, number, is_number)?;
        let is_origin = |field: &FieldType| {
            matches!(field, FieldType::U64(_)) && field.is_fast() && field.is_indexed()
        };
        let expected = "a fast and indexed field of unsigned integers";
        check_type(schema, self.origin, ORIGIN_ROLE, expected, is_origin)?;
        let is_date = |field: &FieldType| matches!(field, FieldType::Date(_)) && field.is_fast();
        check_type(schema, self.changed, CHANGED_ROLE, "a fast date field", is_date)
    }
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
            review: names.review.as_ref().map(|names| ReviewFields::add_to(schema, names)),
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
        let review = match &names.review {
            Some(names) => Some(ReviewFields {
                margin: find(MARGIN_ROLE, &names.margin)?,
                score: find(SCORE_ROLE, &names.score)?,
                origin: find(ORIGIN_ROLE, &names.origin)?,
                changed: find(CHANGED_ROLE, &names.changed)?,
            }),
            None => None,
        };
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
            review,
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
            review: self.review.map(|fields| fields.names(name)),
        })
    }

    /// Tells whether autotag fills a field.
    pub(crate) fn is_reserved(&self, field: Field) -> bool {
        [Some(self.tags), Some(self.evidence), self.suggestions].contains(&Some(field))
            || self.review.is_some_and(|review| review.all().contains(&field))
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
        if let Some(review) = &self.review {
            review.check(schema)?;
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
const MARGIN_ROLE: &str = "margin";
const SCORE_ROLE: &str = "best score";
const ORIGIN_ROLE: &str = "origin";
const CHANGED_ROLE: &str = "time of the last change";

fn check_names(names: &FieldNames) -> Result<()> {
    if names.texts.is_empty() {
        return Err(Error::NoTextField);
    }
    let mut all = vec![&names.key, &names.tags, &names.evidence];
    all.extend(&names.texts);
    all.extend(&names.suggestions);
    all.extend(names.review.iter().flat_map(ReviewNames::all));
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
        let names = FieldNames::new().review(None);
        let error = TagFields::from_schema(&schema.build(), &names).unwrap_err();
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
        let names = FieldNames::new().tags("id");
        let error = TagFields::add_to(&mut Schema::builder(), &names).unwrap_err();
        assert!(matches!(error, Error::FieldTwice { name } if name == "id"));
        let names = FieldNames::new().suggestions("tags");
        let error = TagFields::add_to(&mut Schema::builder(), &names).unwrap_err();
        assert!(matches!(error, Error::FieldTwice { name } if name == "tags"));
        let names = FieldNames::new().review(ReviewNames::new().score("tag_margin"));
        let error = TagFields::add_to(&mut Schema::builder(), &names).unwrap_err();
        assert!(matches!(error, Error::FieldTwice { name } if name == "tag_margin"));
        let names = FieldNames::new().texts([""; 0]);
        let error = TagFields::add_to(&mut Schema::builder(), &names).unwrap_err();
        assert!(matches!(error, Error::NoTextField));
    }

    #[test]
    fn a_field_for_suggestions_may_be_there_or_not() {
        let names = FieldNames::new().suggestions("suggestions").review(None);
        let mut schema = Schema::builder();
        let fields = TagFields::add_to(&mut schema, &names).unwrap();
        let schema = schema.build();
        assert_eq!(fields.names(&schema).unwrap(), names);
        let none = FieldNames::new().review(None);
        let without = TagFields::from_schema(&schema, &none).unwrap();
        assert_eq!(without.suggestions, None);
        // Names that were written before there were suggestions.
        let json = r#"{"key": "id", "texts": ["text"], "tags": "tags", "evidence": "evidence"}"#;
        assert_eq!(serde_json::from_str::<FieldNames>(json).unwrap(), none);
        let names = none.suggestions("text").texts(["id"]);
        assert!(TagFields::from_schema(&schema, &names).is_err());
    }

    #[test]
    fn fields_for_reviews_are_fast_ones_of_their_types() {
        let mut schema = Schema::builder();
        let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
        let schema = schema.build();
        assert_eq!(fields.names(&schema).unwrap(), FieldNames::default());
        let review = fields.review.unwrap();
        assert!(review.all().into_iter().all(|field| fields.is_reserved(field)));
        let mut slow = Schema::builder();
        TagFields::add_to(&mut slow, &FieldNames::new().review(None)).unwrap();
        slow.add_f64_field("tag_margin", STORED);
        slow.add_f64_field("tag_score", FAST);
        slow.add_u64_field("tag_origin", FAST | INDEXED);
        slow.add_date_field("tagged_at", FAST);
        let error = TagFields::from_schema(&slow.build(), &FieldNames::default()).unwrap_err();
        let expect = "field \"tag_margin\" cannot hold the margin: it must be a fast field";
        assert!(error.to_string().contains(expect), "{error}");
        let swapped = ReviewNames::new().margin("tagged_at").changed("tag_margin");
        let error = TagFields::from_schema(&schema, &FieldNames::new().review(swapped));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("a fast field of floating-point numbers"), "{error}");
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

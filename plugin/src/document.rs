//! The caller's documents: checked on arrival, and completed by tags and evidence.

use std::borrow::Cow;
use std::collections::BTreeSet;

use autotag::datastore::MAX_KEY_BYTES;
use autotag::label::facet_segments;
use autotag::{Evidence, LabelId, LabelSet, LabelVocabulary, StoredItem, TagEvidence};
use tantivy::TantivyDocument;
use tantivy::schema::document::{CompactDocValue, ReferenceValue, ReferenceValueLeaf};
use tantivy::schema::{Facet, Field, FieldType, Schema, Value};

use crate::{Clock, DocumentOrigin, Error, Result, ReviewFields, TagFields, review};

/// The overhead of a value beside its own bytes: its place in the document and in the queues.
const VALUE_BYTES: usize = 32;

/// Checks a document and returns its key.
///
/// A value that its field cannot take would kill Tantivy's indexing thread, and with it everything
/// that was not committed; so it is refused here.
pub(crate) fn check(
    document: &TantivyDocument,
    fields: &TagFields,
    schema: &Schema,
) -> Result<String> {
    let key = key(document, fields, schema)?;
    for (field, value) in document.field_values() {
        if field.field_id() as usize >= schema.num_fields() {
            return Err(Error::UnknownField { key, field: field.field_id() });
        }
        let entry = schema.get_field_entry(field);
        if fields.is_reserved(field) {
            return Err(Error::ReservedField { key, field: entry.name().to_owned() });
        }
        if !fits(value, entry.field_type()) {
            let expected = entry.field_type().value_type().name();
            return Err(Error::ValueType { key, field: entry.name().to_owned(), expected });
        }
    }
    Ok(key)
}

/// Checks that a key can be stored in both stores.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    Err(Error::KeyLength { length: key.len(), max: MAX_KEY_BYTES })
}

/// Checks a document's labels; one given twice counts once.
pub(crate) fn check_labels(
    key: &str,
    labels: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<String>> {
    let mut vocabulary = LabelVocabulary::default();
    for label in labels {
        let inserted = vocabulary.insert(label.as_ref());
        inserted.map_err(|source| Error::Label { key: key.to_owned(), source })?;
    }
    Ok(vocabulary.names().map(str::to_owned).collect())
}

fn key(document: &TantivyDocument, fields: &TagFields, schema: &Schema) -> Result<String> {
    let field = || schema.get_field_name(fields.key).to_owned();
    let count = document.get_all(fields.key).count();
    if count > 1 {
        return Err(Error::KeyRepeated { field: field(), count });
    }
    let value = document.get_first(fields.key);
    let key = value.as_ref().and_then(Value::as_str);
    let key = key.ok_or_else(|| Error::KeyMissing { field: field() })?;
    check_key(key)?;
    Ok(key.to_owned())
}

fn fits(value: CompactDocValue<'_>, field: &FieldType) -> bool {
    if field.is_json() {
        return true;
    }
    let ReferenceValue::Leaf(leaf) = value.as_value() else {
        return false;
    };
    match leaf {
        ReferenceValueLeaf::Null => false,
        ReferenceValueLeaf::Str(_) | ReferenceValueLeaf::PreTokStr(_) => field.is_str(),
        ReferenceValueLeaf::U64(_) => matches!(field, FieldType::U64(_)),
        ReferenceValueLeaf::I64(_) => matches!(field, FieldType::I64(_)),
        ReferenceValueLeaf::F64(_) => matches!(field, FieldType::F64(_)),
        ReferenceValueLeaf::Date(_) => matches!(field, FieldType::Date(_)),
        ReferenceValueLeaf::Facet(_) => matches!(field, FieldType::Facet(_)),
        ReferenceValueLeaf::Bytes(_) => field.is_bytes(),
        ReferenceValueLeaf::IpAddr(_) => field.is_ip_addr(),
        ReferenceValueLeaf::Bool(_) => matches!(field, FieldType::Bool(_)),
        ReferenceValueLeaf::Custom(_) => field.is_custom(),
    }
}

/// Estimates a document's size in memory, in bytes.
pub(crate) fn size(document: &TantivyDocument) -> usize {
    document.field_values().map(|(_, value)| value_size(value)).sum()
}

fn value_size(value: CompactDocValue<'_>) -> usize {
    let payload = match value.as_value() {
        ReferenceValue::Leaf(leaf) => match leaf {
            ReferenceValueLeaf::Str(text) | ReferenceValueLeaf::Facet(text) => text.len(),
            ReferenceValueLeaf::Bytes(bytes) | ReferenceValueLeaf::Custom(bytes) => bytes.len(),
            ReferenceValueLeaf::PreTokStr(text) => {
                text.text.len() + VALUE_BYTES * text.tokens.len()
            }
            _ => 0,
        },
        ReferenceValue::Array(values) => values.map(value_size).sum(),
        ReferenceValue::Object(entries) => {
            entries.map(|(name, value)| name.len() + value_size(value)).sum()
        }
    };
    payload + VALUE_BYTES
}

/// Returns the text to tag: the values of the text fields, joined by line ends.
pub(crate) fn text<'d>(document: &'d TantivyDocument, fields: &TagFields) -> Cow<'d, str> {
    let mut joined = Cow::Borrowed("");
    for &field in &fields.texts {
        for part in text_values(document, field) {
            if joined.is_empty() {
                joined = part;
            } else if !part.is_empty() {
                let joined = joined.to_mut();
                joined.push('\n');
                joined.push_str(&part);
            }
        }
    }
    joined
}

/// Returns a text field's values.
pub(crate) fn text_values(
    document: &TantivyDocument,
    field: Field,
) -> impl Iterator<Item = Cow<'_, str>> {
    document.get_all(field).filter_map(|value| match value.as_str() {
        Some(text) => Some(Cow::Borrowed(text)),
        None => value.as_pre_tokenized_text().map(|text| Cow::Owned(text.text)),
    })
}

/// Attaches what autotag says of a document: tags and suggestions as facets, the evidence itself, and
/// the values that a review sorts by. One that is indexed untagged has no evidence.
pub(crate) fn attach(
    document: &mut TantivyDocument,
    fields: &TagFields,
    evidence: Option<&Evidence>,
    clock: &Clock,
) {
    if let Some(review) = &fields.review {
        attach_review(document, review, evidence, clock);
    }
    let Some(evidence) = evidence else { return };
    attach_facets(document, fields.tags, &evidence.tags);
    if let Some(field) = fields.suggestions {
        attach_facets(document, field, &evidence.suggestions);
    }
    document.add_text(fields.evidence, evidence.to_json());
}

fn attach_review(
    document: &mut TantivyDocument,
    fields: &ReviewFields,
    evidence: Option<&Evidence>,
    clock: &Clock,
) {
    if let Some(margin) = evidence.and_then(Evidence::margin) {
        document.add_f64(fields.margin, rounded(margin));
    }
    if let Some(score) = evidence.and_then(review::best_score) {
        document.add_f64(fields.score, rounded(score));
    }
    document.add_u64(fields.origin, DocumentOrigin::of(evidence).code());
    document.add_date(fields.changed, clock.now());
}

/// Returns the number with 6 decimals: 0.1 as it is written in a query, and not the `f32` next to it.
fn rounded(number: f32) -> f64 {
    (f64::from(number) * 1e6).round() / 1e6
}

fn attach_facets(document: &mut TantivyDocument, field: Field, tags: &[TagEvidence]) {
    // Labels such as `a::b` and `/a/b` are one facet.
    let facets: BTreeSet<Facet> = tags.iter().map(|tag| facet(&tag.label)).collect();
    for facet in &facets {
        document.add_leaf_field_value(field, ReferenceValueLeaf::Facet(facet.encoded_str()));
    }
}

/// Returns the names of labels.
pub(crate) fn label_names(labels: &LabelSet, vocabulary: &LabelVocabulary) -> Vec<String> {
    labels.ids().iter().map(|&label| vocabulary.name(label).to_owned()).collect()
}

/// Returns the names of the labels that stand for those given; retired ones are left out.
pub(crate) fn resolved(labels: Vec<String>, vocabulary: &LabelVocabulary) -> Vec<String> {
    if !vocabulary.is_changed() {
        return labels;
    }
    let mut names: Vec<String> = Vec::with_capacity(labels.len());
    for label in &labels {
        let name = vocabulary.resolve_name(label);
        if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Returns the labels that people gave a document, as those that stand for them now: its neighbor's, where
/// it has one.
pub(crate) fn given(
    before: &Evidence,
    neighbor: Option<&StoredItem>,
    vocabulary: &LabelVocabulary,
) -> Vec<String> {
    match neighbor {
        Some(item) => label_names(&item.labels, vocabulary),
        None => resolved(before.given(), vocabulary),
    }
}

/// Returns the rejected labels that were not given, nor the labels that stand for them now.
pub(crate) fn not_given(
    rejected: impl Iterator<Item = LabelId>,
    given: &[String],
    vocabulary: &LabelVocabulary,
) -> LabelSet {
    let given: LabelSet = given.iter().filter_map(|name| vocabulary.id(name)).collect();
    let is_given = |&label: &LabelId| {
        given.contains(label)
            || vocabulary.resolve(label).is_some_and(|label| given.contains(label))
    };
    rejected.filter(|label| !is_given(label)).collect()
}

/// Returns a label's facet.
pub(crate) fn facet(label: &str) -> Facet {
    Facet::from_path(facet_segments(label))
}

#[cfg(test)]
mod tests {
    use tantivy::schema::{OwnedValue, SchemaBuilder, TEXT};

    use super::*;
    use crate::FieldNames;

    fn schema() -> (Schema, TagFields, Field) {
        let mut schema = SchemaBuilder::new();
        let names = FieldNames::new().texts(["title", "body"]);
        let fields = TagFields::add_to(&mut schema, &names).unwrap();
        let other = schema.add_u64_field("other", tantivy::schema::INDEXED);
        (schema.build(), fields, other)
    }

    fn refused(build: impl FnOnce(&mut TantivyDocument, &TagFields, Field)) -> String {
        let (schema, fields, other) = schema();
        let mut document = TantivyDocument::new();
        build(&mut document, &fields, other);
        check(&document, &fields, &schema).unwrap_err().to_string()
    }

    #[test]
    fn keys_stand_once_and_are_not_empty() {
        assert!(refused(|_, _, _| {}).contains("no key"));
        assert!(refused(|d, f, _| d.add_text(f.key, "")).contains("0 bytes"));
        assert!(refused(|d, f, _| d.add_text(f.key, "x".repeat(512))).contains("512 bytes"));
        let twice = |d: &mut TantivyDocument, f: &TagFields, _| {
            d.add_text(f.key, "a");
            d.add_text(f.key, "a");
        };
        assert!(refused(twice).contains("2 values"));
    }

    #[test]
    fn values_that_would_kill_the_writer_are_refused() {
        let wrong = |d: &mut TantivyDocument, f: &TagFields, other| {
            d.add_text(f.key, "a");
            d.add_text(other, "not a number");
        };
        assert!(refused(wrong).contains("field \"other\" that is not of the field's type U64"));
        let null = |d: &mut TantivyDocument, f: &TagFields, other| {
            d.add_text(f.key, "a");
            d.add_field_value(other, &OwnedValue::Null);
        };
        assert!(refused(null).contains("other"));
        let unknown = |d: &mut TantivyDocument, f: &TagFields, _| {
            d.add_text(f.key, "a");
            d.add_text(Field::from_field_id(99), "a");
        };
        assert!(refused(unknown).contains("field number 99"));
    }

    #[test]
    fn autotag_fills_its_fields_itself() {
        let own = |d: &mut TantivyDocument, f: &TagFields, _| {
            d.add_text(f.key, "a");
            d.add_facet(f.tags, "/mine");
        };
        assert!(refused(own).contains("field \"tags\", which autotag fills"));
    }

    #[test]
    fn texts_are_joined_in_the_order_of_the_fields() {
        let (_, fields, _) = schema();
        let mut document = TantivyDocument::new();
        assert_eq!(text(&document, &fields), "");
        document.add_text(fields.texts[1], "body");
        assert!(matches!(text(&document, &fields), Cow::Borrowed("body")));
        document.add_text(fields.texts[0], "title");
        document.add_text(fields.texts[1], "more");
        assert_eq!(text(&document, &fields), "title\nbody\nmore");
        assert!(size(&document) >= "titlebodymore".len());
    }

    #[test]
    fn pre_tokenized_text_is_tagged_too() {
        let mut schema = Schema::builder();
        let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
        schema.add_text_field("x", TEXT);
        let mut document = TantivyDocument::new();
        let text = "whole".to_owned();
        let tokenized = tantivy::tokenizer::PreTokenizedString { text, tokens: vec![] };
        document.add_pre_tokenized_text(fields.texts[0], tokenized);
        assert_eq!(super::text(&document, &fields), "whole");
    }
}

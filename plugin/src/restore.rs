//! The values of a document that are not stored, restored from fast fields.
//!
//! A document that is written again needs all of its values. Most are stored. The others can be
//! restored where a fast field holds them unchanged; a text that is only indexed cannot.

use std::net::Ipv6Addr;

use tantivy::columnar::{BytesColumn, Column, StrColumn};
use tantivy::schema::document::ReferenceValueLeaf;
use tantivy::schema::{Field, FieldEntry, FieldType, Schema, TextOptions};
use tantivy::{DateTime, DocId, SegmentReader, TantivyDocument};

use crate::{Error, Result, TagFields};

/// Checks that documents can be written again without losing a value: every field is stored, or
/// fast with its values unchanged, or holds nothing that could be lost.
///
/// # Errors
///
/// [`Error::NotStored`] with all other fields.
pub(crate) fn check_all(schema: &Schema) -> Result<()> {
    refuse(lost(schema, |_| true))
}

/// Checks that texts can be read again.
///
/// # Errors
///
/// [`Error::NotStored`].
pub(crate) fn check_texts(schema: &Schema, fields: &TagFields) -> Result<()> {
    refuse(lost(schema, |field| fields.texts.contains(&field)))
}

fn refuse(fields: Vec<String>) -> Result<()> {
    if fields.is_empty() { Ok(()) } else { Err(Error::NotStored { fields }) }
}

/// Returns the names of fields whose values cannot be read back.
fn lost(schema: &Schema, is_needed: impl Fn(Field) -> bool) -> Vec<String> {
    let lost = schema.fields().filter(|(field, entry)| {
        let holds_nothing = !entry.is_indexed() && !entry.is_fast() && !is_custom(entry);
        is_needed(*field) && !entry.is_stored() && !holds_nothing && !is_restorable(entry)
    });
    lost.map(|(_, entry)| entry.name().to_owned()).collect()
}

fn is_custom(entry: &FieldEntry) -> bool {
    entry.field_type().is_custom()
}

/// Tells whether a fast field holds the values of a field unchanged, as far as they matter.
///
/// Dates count too: Tantivy indexes them by the second, whatever the fast field's precision.
fn is_restorable(entry: &FieldEntry) -> bool {
    match entry.field_type() {
        FieldType::Str(options) => is_plain(options),
        FieldType::JsonObject(_) | FieldType::Custom(_) => false,
        _ => entry.is_fast(),
    }
}

/// Tells whether a fast text field holds whole values, from which the same terms come again.
fn is_plain(options: &TextOptions) -> bool {
    let is_raw = |name: &str| name == "raw";
    let indexing = options.get_indexing_options();
    options.get_fast_field_tokenizer_name().is_some_and(is_raw)
        && indexing.is_none_or(|indexing| is_raw(indexing.tokenizer()))
}

/// The fast fields of a segment that hold what is not stored.
pub(crate) struct FastValues {
    columns: Vec<(Field, Values)>,
}

/// A column of one type.
enum Values {
    U64(Column<u64>),
    I64(Column<i64>),
    F64(Column<f64>),
    Bool(Column<bool>),
    Date(Column<DateTime>),
    IpAddr(Column<Ipv6Addr>),
    Str(StrColumn),
    Facet(StrColumn),
    Bytes(BytesColumn),
}

impl FastValues {
    /// Opens the columns of a segment; fields that autotag fills itself are left out.
    pub(crate) fn open(segment: &SegmentReader, fields: &TagFields) -> tantivy::Result<Self> {
        let mut columns = Vec::new();
        for (field, entry) in segment.schema().fields() {
            if needs_fast_values(field, entry, fields)
                && let Some(values) = open(segment, entry)?
            {
                columns.push((field, values));
            }
        }
        Ok(FastValues { columns })
    }

    /// Tells whether documents of a schema need their segment's fast fields.
    pub(crate) fn are_needed(schema: &Schema, fields: &TagFields) -> bool {
        schema.fields().any(|(field, entry)| needs_fast_values(field, entry, fields))
    }

    /// Adds a document's values, in the order in which it had them.
    pub(crate) fn add_to(&self, document: &mut TantivyDocument, id: DocId) -> tantivy::Result<()> {
        for (field, values) in &self.columns {
            values.add_to(document, *field, id)?;
        }
        Ok(())
    }
}

fn needs_fast_values(field: Field, entry: &FieldEntry, fields: &TagFields) -> bool {
    !entry.is_stored() && !fields.is_reserved(field) && is_restorable(entry)
}

fn open(segment: &SegmentReader, entry: &FieldEntry) -> tantivy::Result<Option<Values>> {
    let (fast, name) = (segment.fast_fields(), entry.name());
    Ok(match entry.field_type() {
        FieldType::U64(_) => fast.column_opt(name)?.map(Values::U64),
        FieldType::I64(_) => fast.column_opt(name)?.map(Values::I64),
        FieldType::F64(_) => fast.column_opt(name)?.map(Values::F64),
        FieldType::Bool(_) => fast.column_opt(name)?.map(Values::Bool),
        FieldType::Date(_) => fast.column_opt(name)?.map(Values::Date),
        FieldType::IpAddr(_) => fast.column_opt(name)?.map(Values::IpAddr),
        FieldType::Str(_) => fast.str(name)?.map(Values::Str),
        FieldType::Facet(_) => fast.str(name)?.map(Values::Facet),
        FieldType::Bytes(_) => fast.bytes(name)?.map(Values::Bytes),
        // Tantivy makes the values of a tie-breaker itself.
        FieldType::TieBreaker | FieldType::JsonObject(_) | FieldType::Custom(_) => None,
    })
}

impl Values {
    fn add_to(
        &self,
        document: &mut TantivyDocument,
        field: Field,
        id: DocId,
    ) -> tantivy::Result<()> {
        match self {
            Values::U64(column) => {
                column.values_for_doc(id).for_each(|value| document.add_u64(field, value));
            }
            Values::I64(column) => {
                column.values_for_doc(id).for_each(|value| document.add_i64(field, value));
            }
            Values::F64(column) => {
                column.values_for_doc(id).for_each(|value| document.add_f64(field, value));
            }
            Values::Bool(column) => {
                column.values_for_doc(id).for_each(|value| document.add_bool(field, value));
            }
            Values::Date(column) => {
                column.values_for_doc(id).for_each(|value| document.add_date(field, value));
            }
            Values::IpAddr(column) => {
                column.values_for_doc(id).for_each(|value| document.add_ip_addr(field, value));
            }
            Values::Str(column) => {
                for text in texts(column, id)? {
                    document.add_text(field, text);
                }
            }
            Values::Facet(column) => {
                for path in texts(column, id)? {
                    document.add_leaf_field_value(field, ReferenceValueLeaf::Facet(&path));
                }
            }
            Values::Bytes(column) => {
                for ordinal in column.term_ords(id) {
                    let mut bytes = Vec::new();
                    column.ord_to_bytes(ordinal, &mut bytes)?;
                    document.add_bytes(field, &bytes);
                }
            }
        }
        Ok(())
    }
}

fn texts(column: &StrColumn, id: DocId) -> tantivy::Result<Vec<String>> {
    let mut texts = Vec::new();
    for ordinal in column.ords().values_for_doc(id) {
        let mut text = String::new();
        column.ord_to_str(ordinal, &mut text)?;
        texts.push(text);
    }
    Ok(texts)
}

//! The order of documents: a collector of the first ones behind a cursor, by relevance or by a fast
//! field.
//!
//! Every sort value is mapped to a `u64` of the same order, as Tantivy itself does.

use std::cmp::Ordering;

use tantivy::collector::sort_key::{Comparator, ComparatorEnum};
use tantivy::collector::{Collector, SegmentCollector, TopNComputer};
use tantivy::columnar::{
    Column, DynamicColumn, HasAssociatedColumnType, MonotonicallyMappableToU64,
};
use tantivy::schema::{FieldType, Schema};
use tantivy::{DateTime, DocAddress, DocId, Order, Score, SegmentOrdinal, SegmentReader};

use super::request::SortBy;
use super::results::SortValue;
use crate::{Error, Result};

/// A document's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The sort value; `None` where the document has none.
    pub(super) value: Option<u64>,
    pub(super) address: DocAddress,
}

/// An order by values of a known type.
#[derive(Clone, Debug)]
pub(super) struct Sorting {
    values: Values,
    /// By which the greater of two values comes first.
    comparator: ComparatorEnum,
}

#[derive(Clone, Debug)]
enum Values {
    Scores,
    Field(String, ValueType),
}

#[derive(Clone, Copy, Debug)]
enum ValueType {
    U64,
    I64,
    F64,
    Date,
    Bool,
}

impl Sorting {
    /// Looks up the field to sort by.
    pub(super) fn new(sort: &SortBy, schema: &Schema) -> Result<Self> {
        let (values, order) = match sort {
            SortBy::Relevance => (Values::Scores, Order::Desc),
            SortBy::Field { name, order } => {
                (Values::Field(name.clone(), value_type(name, schema)?), *order)
            }
        };
        Ok(Sorting { values, comparator: order.into() })
    }

    /// Returns the relevance that a place was given for.
    pub(super) fn score(&self, place: &Place) -> Option<Score> {
        match self.values {
            Values::Scores => place.value.map(|value| f64::from_u64(value) as Score),
            Values::Field(..) => None,
        }
    }

    /// Returns the field's value that a place was given for.
    pub(super) fn value(&self, place: &Place) -> Option<SortValue> {
        let Values::Field(_, value_type) = &self.values else { return None };
        let value = place.value?;
        Some(match value_type {
            ValueType::U64 => SortValue::U64(value),
            ValueType::I64 => SortValue::I64(i64::from_u64(value)),
            ValueType::F64 => SortValue::F64(f64::from_u64(value)),
            ValueType::Date => SortValue::Date(DateTime::from_u64(value)),
            ValueType::Bool => SortValue::Bool(bool::from_u64(value)),
        })
    }

    fn reader(&self, segment: &SegmentReader) -> tantivy::Result<ReadValue> {
        Ok(match &self.values {
            Values::Scores => Box::new(|_, score| Some(f64::from(score).to_u64())),
            Values::Field(name, value_type) => match value_type {
                ValueType::U64 => column_reader::<u64>(segment, name)?,
                ValueType::I64 => column_reader::<i64>(segment, name)?,
                ValueType::F64 => column_reader::<f64>(segment, name)?,
                ValueType::Date => column_reader::<DateTime>(segment, name)?,
                ValueType::Bool => column_reader::<bool>(segment, name)?,
            },
        })
    }

    fn is_behind(&self, place: &Place, cursor: &Place) -> bool {
        match self.comparator.compare(&place.value, &cursor.value) {
            Ordering::Less => true,
            Ordering::Equal => place.address > cursor.address,
            Ordering::Greater => false,
        }
    }
}

fn value_type(name: &str, schema: &Schema) -> Result<ValueType> {
    let wrong = |problem| Error::SortField { name: name.to_owned(), problem };
    let field = schema.get_field(name).map_err(|_| wrong("the schema has no such field"))?;
    let field_type = schema.get_field_entry(field).field_type();
    let value_type = match field_type {
        FieldType::U64(_) => ValueType::U64,
        FieldType::I64(_) => ValueType::I64,
        FieldType::F64(_) => ValueType::F64,
        FieldType::Date(_) => ValueType::Date,
        FieldType::Bool(_) => ValueType::Bool,
        _ => return Err(wrong("it holds neither numbers nor dates nor truth values")),
    };
    if !field_type.is_fast() {
        return Err(wrong("it is not a fast field"));
    }
    Ok(value_type)
}

/// Reads a document's value, by its number in the segment and its relevance.
type ReadValue = Box<dyn Fn(DocId, Score) -> Option<u64>>;

fn column_reader<T>(segment: &SegmentReader, name: &str) -> tantivy::Result<ReadValue>
where
    T: HasAssociatedColumnType + MonotonicallyMappableToU64,
    DynamicColumn: Into<Option<Column<T>>>,
{
    // A segment in which no document has a value has no column.
    Ok(match segment.fast_fields().column_opt::<T>(name)? {
        Some(column) => Box::new(move |doc, _| column.first(doc).map(T::to_u64)),
        None => Box::new(|_, _| None),
    })
}

/// Collects the first documents behind a cursor.
pub(super) struct First<'s> {
    pub(super) sorting: &'s Sorting,
    pub(super) cursor: Option<Place>,
    /// The number of documents, at least 1.
    pub(super) n: usize,
}

/// Collects the first documents of a segment.
pub(super) struct FirstOfSegment {
    sorting: Sorting,
    cursor: Option<Place>,
    read: ReadValue,
    segment: SegmentOrdinal,
    first: TopNComputer<Option<u64>, DocAddress, ComparatorEnum>,
}

impl Collector for First<'_> {
    type Fruit = Vec<Place>;
    type Child = FirstOfSegment;

    fn for_segment(
        &self,
        number: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<FirstOfSegment> {
        let n = self.n.min(segment.max_doc() as usize).max(1);
        Ok(FirstOfSegment {
            sorting: self.sorting.clone(),
            cursor: self.cursor,
            read: self.sorting.reader(segment)?,
            segment: number,
            first: TopNComputer::new_with_comparator(n, self.sorting.comparator),
        })
    }

    fn requires_scoring(&self) -> bool {
        matches!(self.sorting.values, Values::Scores)
    }

    fn merge_fruits(&self, segments: Vec<Vec<Place>>) -> tantivy::Result<Vec<Place>> {
        let mut places: Vec<Place> = segments.into_iter().flatten().collect();
        let before = |a: &Place, b: &Place| {
            let order = self.sorting.comparator.compare(&b.value, &a.value);
            order.then(a.address.cmp(&b.address))
        };
        places.sort_unstable_by(before);
        places.truncate(self.n);
        Ok(places)
    }
}

impl SegmentCollector for FirstOfSegment {
    type Fruit = Vec<Place>;

    fn collect(&mut self, doc: DocId, score: Score) {
        let address = DocAddress::new(self.segment, doc);
        let place = Place { value: (self.read)(doc, score), address };
        if self.cursor.is_none_or(|cursor| self.sorting.is_behind(&place, &cursor)) {
            self.first.push(place.value, address);
        }
    }

    fn harvest(self) -> Vec<Place> {
        let first = self.first.into_vec().into_iter();
        first.map(|first| Place { value: first.sort_key, address: first.doc }).collect()
    }
}

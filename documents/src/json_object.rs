//! The fields of a JSON object that are asked for; the others are read past and kept nowhere.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::Problem;
use crate::labels::Labels;
use crate::options::ReadOptions;

/// Which fields of an object are asked for.
#[derive(Clone, Debug)]
pub(crate) struct WantedFields {
    /// Each name once.
    names: Vec<String>,
    key: usize,
    text: Vec<usize>,
    labels: usize,
}

/// The values of the fields that are asked for.
///
/// Where a field stands twice in an object, the last one counts.
pub(crate) struct FoundFields<'a> {
    wanted: &'a WantedFields,
    values: Vec<FieldValue>,
}

/// A field's value, as far as any use of it is known.
#[derive(Debug, Default)]
enum FieldValue {
    /// It is not there, or null.
    #[default]
    Nothing,
    Text(String),
    /// A whole number.
    Whole(String),
    /// An array of strings.
    Labels(Vec<String>),
    /// The same with more than a document may have.
    TooManyLabels,
    Other,
}

impl WantedFields {
    pub(crate) fn new(options: &ReadOptions) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut number = |name: &String| {
            names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.clone());
                names.len() - 1
            })
        };
        let (key, labels) = (number(&options.key), number(&options.labels));
        let mut text: Vec<usize> = Vec::new();
        for name in &options.text {
            let number = number(name);
            if !text.contains(&number) {
                text.push(number);
            }
        }
        WantedFields { names, key, text, labels }
    }

    /// Reads an object, the whole of the text.
    pub(crate) fn read(&self, json: &str) -> serde_json::Result<FoundFields<'_>> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let values = (&mut deserializer).deserialize_map(ObjectVisitor(self))?;
        deserializer.end()?;
        Ok(FoundFields { wanted: self, values })
    }
}

impl FoundFields<'_> {
    /// Takes the key.
    pub(crate) fn key(&self) -> Result<String, Problem> {
        let field = || self.name(self.wanted.key);
        match &self.values[self.wanted.key] {
            FieldValue::Nothing => Err(Problem::KeyMissing { field: field() }),
            FieldValue::Text(key) if !key.is_empty() => Ok(key.clone()),
            FieldValue::Whole(key) => Ok(key.clone()),
            _ => Err(Problem::KeyType { field: field() }),
        }
    }

    /// Joins the texts that are there; one of them must be.
    pub(crate) fn text(&self) -> Result<String, Problem> {
        let mut parts: Vec<&str> = Vec::with_capacity(self.wanted.text.len());
        for &number in &self.wanted.text {
            match &self.values[number] {
                FieldValue::Nothing => {}
                FieldValue::Text(part) => parts.push(part),
                _ => return Err(Problem::TextType { field: self.name(number) }),
            }
        }
        if parts.is_empty() {
            let names: Vec<String> = self.wanted.text.iter().map(|&n| self.name(n)).collect();
            return Err(Problem::TextMissing { field: names.join(",") });
        }
        Ok(parts.join("\n"))
    }

    /// Returns the labels, none where the field is missing.
    pub(crate) fn labels(mut self) -> Result<Vec<String>, Problem> {
        let number = self.wanted.labels;
        match std::mem::take(&mut self.values[number]) {
            FieldValue::Nothing => Ok(Vec::new()),
            FieldValue::Labels(labels) => Ok(labels),
            FieldValue::TooManyLabels => Err(Problem::too_many_labels(&self.name(number))),
            _ => Err(Problem::LabelsType { field: self.name(number) }),
        }
    }

    fn name(&self, number: usize) -> String {
        self.wanted.names[number].clone()
    }
}

struct ObjectVisitor<'a>(&'a WantedFields);

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Vec<FieldValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values: Vec<FieldValue> = Vec::new();
        values.resize_with(self.0.names.len(), FieldValue::default);
        while let Some(number) = map.next_key_seed(NameSeed(self.0))? {
            match number {
                Some(number) => {
                    // Before the next is read: only one of two shall be kept.
                    values[number] = FieldValue::Nothing;
                    let may_be_labels = number == self.0.labels;
                    values[number] = map.next_value_seed(ValueSeed { may_be_labels })?;
                }
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(values)
    }
}

/// Finds a field's number among those that are asked for.
struct NameSeed<'a>(&'a WantedFields);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.names.iter().position(|wanted| wanted == name))
    }
}

/// Reads any value, and keeps it where it can be of use.
#[derive(Clone, Copy)]
struct ValueSeed {
    may_be_labels: bool,
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = FieldValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<FieldValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = FieldValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<FieldValue, E> {
        Ok(FieldValue::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<FieldValue, E> {
        Ok(FieldValue::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<FieldValue, E> {
        Ok(FieldValue::Whole(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<FieldValue, E> {
        Ok(FieldValue::Whole(number.to_string()))
    }

    // A number that is not whole was rounded when it was read: two keys could become one.
    fn visit_f64<E>(self, _: f64) -> Result<FieldValue, E> {
        Ok(FieldValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<FieldValue, A::Error> {
        let mut labels = Labels::default();
        let mut found = if self.may_be_labels { None } else { Some(FieldValue::Other) };
        while found.is_none() {
            match values.next_element_seed(ValueSeed { may_be_labels: false })? {
                None => return Ok(FieldValue::Labels(labels.into_vec())),
                Some(FieldValue::Text(label)) if labels.add(&label).is_ok() => {}
                Some(FieldValue::Text(_)) => found = Some(FieldValue::TooManyLabels),
                Some(_) => found = Some(FieldValue::Other),
            }
        }
        drop(labels);
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found.unwrap_or_default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other)
    }
}

//! Checks of settings against their ranges.

use std::ops::RangeInclusive;

use autotag_onnx::bundle::MAX_PREFIX;

use crate::error::{Result, TrainError};

/// More filters or dimensions than help, so that a typing error does not take all memory.
pub(crate) const MAX_SIZE: usize = 10_000;

pub(crate) fn is_positive(value: f32) -> bool {
    value > 0.0 && value.is_finite()
}

pub(crate) fn at_least_1(name: &str, value: usize) -> Result<()> {
    within(name, value, 1..=usize::MAX, "at least 1")
}

pub(crate) fn within(
    name: &str,
    value: usize,
    range: RangeInclusive<usize>,
    expected: &str,
) -> Result<()> {
    is_true(name, value, range.contains(&value), expected)
}

pub(crate) fn is_true(
    name: &str,
    value: impl ToString,
    is_in_range: bool,
    expected: impl Into<String>,
) -> Result<()> {
    if is_in_range {
        return Ok(());
    }
    let (name, value, expected) = (name.to_owned(), value.to_string(), expected.into());
    Err(TrainError::Setting { name, value, expected })
}

/// Checks a share that must leave something: dropout, a decay, an average.
pub(crate) fn is_share(name: &str, value: f32) -> Result<()> {
    is_true(name, value, (0.0..1.0).contains(&value), "0 or more, less than 1")
}

/// Checks the length of what is put before each text.
pub(crate) fn is_prefix(prefix: &str) -> Result<()> {
    within("bytes of the prefix", prefix.len(), 0..=MAX_PREFIX, &format!("at most {MAX_PREFIX}"))
}

//! The compact form of an encoder's answer: an embedding in 8 bits a value, scores in 16.
//!
//! Each block of 32 values of an embedding shares a power of two 2^e, the least with which all of them
//! are at most 127 in magnitude; a value is kept as the nearest multiple of it. So a value is off by at most
//! 1/127 of the largest one in its block. (The MXINT8 format of the OCP Microscaling specification has
//! the same blocks.) A score is kept as the nearest multiple of 1/50,000; those that round to 0 take no room.
//!
//! Rounding is idempotent: [`rounded`] gives exactly the answer that is read back.

use crate::{Embedding, Encoded, Scores};

/// The values that share an exponent.
const BLOCK: usize = 32;

/// The exponents that values in single precision can need.
const EXPONENTS: std::ops::RangeInclusive<i16> = -155..=LARGEST_EXPONENT;
const LARGEST_EXPONENT: i16 = 121;

/// The multiples of which scores are kept: 1/50,000, so that decimals of four digits stay what they are.
const SCORE_STEPS: f32 = 50_000.0;

/// Returns an encoder's answer as a datastore keeps it of a document.
///
/// Whoever tags with it tags the same when it is read back.
///
/// ```
/// use autotag::datastore::rounded;
/// use autotag::{Embedding, Encoded};
///
/// let embedding = Embedding::new(vec![0.5, -0.123])?;
/// let once = rounded(Encoded { embedding, scores: None });
/// assert!((once.embedding.values()[1] + 0.123).abs() < 0.5 / 127.0);
/// assert_eq!(rounded(once.clone()), once);
/// # Ok::<(), autotag::Error>(())
/// ```
pub fn rounded(encoded: Encoded) -> Encoded {
    let values = encoded.embedding.values();
    let values: Vec<f32> = values.chunks(BLOCK).flat_map(rounded_block).collect();
    let embedding = Embedding::new(values).expect("the largest value of a block is not 0");
    let round = |scores: Scores| {
        let values = scores.values().iter().map(|&score| score_from(rounded_score(score)));
        Scores::new(values.collect::<Vec<f32>>()).expect("rounding stays within 0 to 1")
    };
    Encoded { embedding, scores: encoded.scores.map(round) }
}

/// Returns the length of an embedding's compact form.
pub(super) fn embedding_len(dimensions: usize) -> usize {
    dimensions + 2 * dimensions.div_ceil(BLOCK)
}

/// Lays out each block's exponent (i16) and values (i8 each).
pub(super) fn put_embedding(bytes: &mut Vec<u8>, embedding: &Embedding) {
    for block in embedding.values().chunks(BLOCK) {
        let exponent = exponent_of(block);
        bytes.extend(exponent.to_le_bytes());
        bytes.extend(block.iter().map(|&value| multiple(value, exponent).to_le_bytes()[0]));
    }
}

/// Reads an embedding of so many dimensions from as many bytes as its form has; `None` when they are none.
pub(super) fn embedding_from(bytes: &[u8], dimensions: usize) -> Option<Embedding> {
    let mut values = Vec::with_capacity(dimensions);
    for block in bytes.chunks(BLOCK + 2) {
        let (exponent, multiples) = block.split_first_chunk()?;
        let exponent = i16::from_le_bytes(*exponent);
        if !EXPONENTS.contains(&exponent) {
            return None;
        }
        values.extend(multiples.iter().map(|&byte| value_from(byte as i8, exponent)));
    }
    Embedding::new(values).ok().filter(|embedding| embedding.values().len() == dimensions)
}

/// Returns the labels whose scores are kept, and those in multiples of 1/50,000.
pub(super) fn kept_scores(scores: &Scores) -> impl Iterator<Item = (u32, u16)> {
    let rounded = scores.values().iter().map(|&score| rounded_score(score));
    (0..).zip(rounded).filter(|(_, score)| *score > 0)
}

/// Returns the score that is so many multiples of 1/50,000.
pub(super) fn score_from(multiples: u16) -> f32 {
    f32::from(multiples) / SCORE_STEPS
}

fn rounded_score(score: f32) -> u16 {
    (score * SCORE_STEPS).round() as u16
}

fn rounded_block(block: &[f32]) -> impl Iterator<Item = f32> {
    let exponent = exponent_of(block);
    block.iter().map(move |&value| value_from(multiple(value, exponent), exponent))
}

/// Returns the least exponent with which no value is more than 127 multiples; 0 where all values are 0.
fn exponent_of(block: &[f32]) -> i16 {
    let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return 0;
    }
    // In double precision no value is subnormal: its exponent stands in bits 52 to 62.
    let exponent = (f64::from(largest).to_bits() >> 52) as i16 - 1023 - 6;
    let is_too_small = (f64::from(largest) / power_of_two(exponent)).round_ties_even() > 127.0;
    // Beyond the largest exponent 64 multiples would be infinite.
    (exponent + i16::from(is_too_small)).min(LARGEST_EXPONENT)
}

fn multiple(value: f32, exponent: i16) -> i8 {
    (f64::from(value) / power_of_two(exponent)).round_ties_even().clamp(-127.0, 127.0) as i8
}

fn value_from(multiple: i8, exponent: i16) -> f32 {
    (f64::from(multiple) * power_of_two(exponent)) as f32
}

fn power_of_two(exponent: i16) -> f64 {
    f64::from_bits(((i64::from(exponent) + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(values: Vec<f32>) -> Option<Encoded> {
        Some(Encoded { embedding: Embedding::new(values).ok()?, scores: None })
    }

    proptest! {
        #[test]
        fn rounding_is_close_final_and_what_is_read_back(
            values in proptest::collection::vec(
                prop_oneof![-1.0f32..1.0, -1e-6f32..1e-6, proptest::num::f32::ANY], 1..100,
            ),
            scores in proptest::collection::vec(0.0f32..=1.0, 0..5),
        ) {
            let finite: Vec<f32> =
                values.into_iter().map(|v| if v.is_finite() { v } else { 1.0 }).collect();
            let Some(before) = encoded(finite) else { return Ok(()) };
            let scores = Some(Scores::new(scores).unwrap());
            let before = Encoded { scores, ..before };
            let once = rounded(before.clone());
            prop_assert_eq!(rounded(once.clone()), once.clone());
            let (values, rounded) = (before.embedding.values(), once.embedding.values());
            for (block, rounded) in values.chunks(BLOCK).zip(rounded.chunks(BLOCK)) {
                let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                for (value, rounded) in block.iter().zip(rounded) {
                    prop_assert!((value - rounded).abs() <= largest / 127.0);
                }
            }
            let (scores, rounded) = (before.scores.unwrap(), once.scores.unwrap());
            for (score, rounded) in scores.values().iter().zip(rounded.values()) {
                prop_assert!((score - rounded).abs() <= 0.51 / SCORE_STEPS);
            }
            let mut bytes = Vec::new();
            put_embedding(&mut bytes, &before.embedding);
            prop_assert_eq!(bytes.len(), embedding_len(values.len()));
            prop_assert_eq!(embedding_from(&bytes, values.len()), Some(once.embedding));
        }
    }

    #[test]
    fn the_least_and_the_largest_values_are_kept() {
        for value in [f32::MAX, -f32::MAX, 127.5, 1e-45, -1e-45, f32::MIN_POSITIVE] {
            let once = rounded(encoded(vec![value, 0.0]).unwrap());
            let kept = once.embedding.values()[0];
            assert!((kept / value - 1.0).abs() <= 1.0 / 127.0, "{value} became {kept}");
            assert_eq!(rounded(once.clone()), once);
        }
    }
}

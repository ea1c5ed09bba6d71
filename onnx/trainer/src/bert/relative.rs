//! The bias of attention by relative position: T5's, as MPNet has it.

/// The number of buckets that distances fall into, half of them for each direction.
pub(crate) const N_BUCKETS: usize = 32;

/// The biases' name: [`N_BUCKETS`] rows of one value for each head.
pub(crate) const RELATIVE_BIAS: &str = "encoder.relative_attention_bias.weight";

/// The distance from which on all share the last bucket.
const MAX_DISTANCE: f32 = 128.0;

/// Returns the bucket of what the token at position `query` reads of the one at position `key`.
///
/// For n = |key - query|, with 16 buckets for each direction, those of keys after the query last:
/// n below 8, else min(15, 8 + floor(8 ln(n / 8) / ln(128 / 8))).
pub(crate) fn bucket(query: usize, key: usize) -> usize {
    const PER_DIRECTION: usize = N_BUCKETS / 2;
    const EXACT: usize = PER_DIRECTION / 2;
    let first = if key > query { PER_DIRECTION } else { 0 };
    let distance = key.abs_diff(query);
    if distance < EXACT {
        return first + distance;
    }
    let exact = EXACT as f32;
    let share = (distance as f32 / exact).ln() / (MAX_DISTANCE / exact).ln();
    let rank = (share * (PER_DIRECTION - EXACT) as f32) as usize;
    first + (EXACT + rank).min(PER_DIRECTION - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distances at which the reference implementation's buckets begin.
    const BEGINNINGS: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];

    #[test]
    fn buckets_are_those_of_the_reference_implementation() {
        for distance in 0..512 {
            let expected = BEGINNINGS.iter().filter(|&&first| first <= distance).count() - 1;
            assert_eq!(bucket(700, 700 - distance), expected, "{distance} before");
            if distance > 0 {
                assert_eq!(bucket(700, 700 + distance), 16 + expected, "{distance} after");
            }
        }
    }
}

//! Changes of a file's bytes, for tests that read it again.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// The changes that a test makes, or as many as `AUTOTAG_MUTATIONS` says.
const CHANGES: usize = 400;

/// Returns the number of changes to make.
pub(crate) fn n_changes() -> usize {
    let asked = std::env::var("AUTOTAG_MUTATIONS").ok();
    asked.and_then(|number| number.parse().ok()).unwrap_or(CHANGES)
}

/// Draws changes, the same for the same seed.
pub(crate) struct Mutator(Xoshiro256PlusPlus);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Mutator(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Returns the bytes with one change, and its name; they may be the same bytes after a swap.
    pub(crate) fn change(&mut self, bytes: &[u8]) -> (&'static str, Vec<u8>) {
        let mut changed = bytes.to_vec();
        let n = bytes.len();
        let at = self.0.random_range(0..n);
        let length = self.0.random_range(1..=(n - at).min(64));
        let name = match self.0.random_range(0..6) {
            0 => {
                changed[at] ^= 1 << self.0.random_range(0..8);
                "bit"
            }
            1 => {
                changed[at..at + length].iter_mut().for_each(|byte| *byte = self.0.random());
                "bytes"
            }
            2 => {
                changed.truncate(at);
                "truncation"
            }
            3 => {
                let other = self.0.random_range(0..=n - length);
                let (a, b) =
                    (bytes[at..at + length].to_vec(), bytes[other..other + length].to_vec());
                changed[at..at + length].copy_from_slice(&b);
                changed[other..other + length].copy_from_slice(&a);
                "swap"
            }
            4 => {
                let inserted = (0..length).map(|_| self.0.random());
                changed.splice(at..at, inserted.collect::<Vec<u8>>());
                "insertion"
            }
            _ => {
                changed.drain(at..at + length);
                "deletion"
            }
        };
        (name, changed)
    }
}

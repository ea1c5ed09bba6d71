//! The digest that identifies a training's data.

use ndarray::Array2;
use sha2::{Digest as _, Sha256};

use crate::rows::RowMajor as _;

/// A digest of parts in order, each with its length.
#[derive(Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    /// Adds a part.
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Adds a matrix's values, one row after the other.
    pub(crate) fn add_matrix(&mut self, matrix: &Array2<f32>) {
        for row in 0..matrix.nrows() {
            let bytes: Vec<u8> =
                matrix.row_slice(row).iter().flat_map(|v| v.to_le_bytes()).collect();
            self.add(&bytes);
        }
    }

    /// Returns the digest in hexadecimal.
    pub(crate) fn into_hex(self) -> String {
        hex::encode(self.0.finalize())
    }
}

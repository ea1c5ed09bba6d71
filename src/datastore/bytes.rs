//! The bytes of values: a checksum at their end, fields read from their front.

use crate::{LabelId, LabelSet};

/// The length of a checksum.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Appends the checksum of what was written.
pub(super) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// Returns what stands before a value's checksum; `None` where that is another one's.
pub(super) fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*checksum)).then_some(content)
}

/// Bytes that are read from the front; every read checks that enough is left.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn name(&mut self) -> Option<&'a str> {
        let length = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(length.into())?).ok()
    }

    pub(super) fn label_ids(&mut self, n_labels: u32) -> Option<LabelSet> {
        let labels = self.take((n_labels as usize).checked_mul(4)?)?;
        Some(words(labels).map(|word| LabelId(u32::from_le_bytes(word))).collect())
    }

    /// Reads label ids behind their number.
    pub(super) fn counted_label_ids(&mut self) -> Option<LabelSet> {
        let n_labels = self.u32()?;
        self.label_ids(n_labels)
    }

    pub(super) fn leb128(&mut self) -> Option<u32> {
        let mut number = 0u32;
        for shift in (0..32).step_by(7) {
            let byte = self.array::<1>()?[0];
            let group = u32::from(byte & 0x7f);
            number |= group.checked_shl(shift).filter(|moved| moved >> shift == group)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

pub(super) fn words(bytes: &[u8]) -> impl ExactSizeIterator<Item = [u8; 4]> {
    bytes.chunks_exact(4).map(|word| word.try_into().expect("chunks of 4 bytes"))
}

//! A checkpoint's file: safetensors, and a trailer with a checksum.
//!
//! ```text
//! content   a safetensors file
//! trailer   length of the content u64, CRC-32 of content and length u32, magic "autotagC"; little-endian
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The last bytes of every checkpoint.
const MAGIC: &[u8; 8] = b"autotagC";

const TRAILER_BYTES: usize = 8 + 4 + MAGIC.len();

/// A file that computes its checksum while it is written.
pub(super) struct SealedFile {
    file: BufWriter<File>,
    checksum: crc32fast::Hasher,
    length: u64,
}

impl SealedFile {
    /// Creates a file, or truncates it.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        Ok(SealedFile { file, checksum: crc32fast::Hasher::new(), length: 0 })
    }

    /// Writes the trailer and syncs the file.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let length = self.length.to_le_bytes();
        self.checksum.update(&length);
        let checksum = self.checksum.finalize().to_le_bytes();
        for part in [&length[..], &checksum, MAGIC] {
            self.file.write_all(part)?;
        }
        self.file.into_inner()?.sync_all()
    }
}

/// Appends to the content.
impl Write for SealedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = self.file.write(bytes)?;
        self.checksum.update(&bytes[..n_bytes]);
        self.length += n_bytes as u64;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns the content of a file that a [`SealedFile`] wrote, or `None` where it is damaged.
pub(super) fn content(bytes: &[u8]) -> Option<&[u8]> {
    let (content, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES)?)?;
    let (length, rest) = trailer.split_first_chunk::<8>()?;
    let (checksum, magic) = rest.split_first_chunk::<4>()?;
    let mut expected = crc32fast::Hasher::new();
    expected.update(content);
    expected.update(length);
    let is_sound = magic == MAGIC
        && u64::from_le_bytes(*length) == content.len() as u64
        && u32::from_le_bytes(*checksum) == expected.finalize();
    is_sound.then_some(content)
}

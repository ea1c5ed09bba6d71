use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{FetchError, Result};

/// Returns the SHA-256 of a file in hexadecimal.
///
/// # Errors
///
/// [`FetchError::Io`] when the file cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(FetchError::io(path, "open"))?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut hasher)).map_err(FetchError::io(path, "read"))?;
    Ok(hex::encode(hasher.finalize()))
}

/// Returns the SHA-256 of bytes in hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Feeds what is written to it into the hasher.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_standard_one() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(b"abc"), expected);
    }
}

//! Embeddings kept on disk, so that a text is encoded once for all runs with the same encoder.
//!
//! A file holds what one encoder said, under the encoder's fingerprint; little-endian:
//!
//! ```text
//! header   magic "autotagE", version u32, dimensions u32, fingerprint 32 bytes
//! records  SHA-256 of the text 32 bytes, values f32 x dimensions, CRC-32 of both u32
//! ```
//!
//! A record that was cut or damaged is as good as absent. Nothing depends on the cache: deleting it
//! costs time only.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use autotag::Fingerprint;
use sha2::{Digest, Sha256};

use crate::matrix::Matrix;
use crate::{Result, TrainError};

/// The SHA-256 of a text.
pub(super) type TextDigest = [u8; 32];

const MAGIC: &[u8; 8] = b"autotagE";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;

/// The most that all files of a folder hold together; 2.7 million texts of 384 dimensions.
const MAX_BYTES: u64 = 4 << 30;

const EXTENSION: &str = "embeddings";

/// One encoder's file, open.
pub(super) struct EmbeddingCache {
    path: PathBuf,
    file: File,
    dimensions: usize,
    /// Whether this process may write; another that writes keeps it from doing so.
    is_writable: bool,
    max_bytes: u64,
}

/// Returns the digest that a text is found by.
pub(super) fn digest(text: &str) -> TextDigest {
    Sha256::digest(text).into()
}

impl EmbeddingCache {
    /// Opens the file of an encoder in a folder, which is made where it is missing.
    ///
    /// Files of other encoders are removed, those longest unused first, where all together are too
    /// large.
    pub(super) fn open(folder: &Path, encoder: Fingerprint, dimensions: usize) -> Result<Self> {
        EmbeddingCache::open_within(folder, encoder, dimensions, MAX_BYTES)
    }

    fn open_within(
        folder: &Path,
        encoder: Fingerprint,
        dimensions: usize,
        max_bytes: u64,
    ) -> Result<Self> {
        fs::create_dir_all(folder).map_err(failed(folder, "create"))?;
        let path = folder.join(format!("{encoder}.{EXTENSION}"));
        prune(folder, &path, max_bytes).map_err(failed(folder, "clean up"))?;
        let mut open = OpenOptions::new();
        let file = open.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed(&path, "open"))?;
        let is_writable = file.try_lock().is_ok();
        let mut cache = EmbeddingCache { path, file, dimensions, is_writable, max_bytes };
        let header = header(encoder, dimensions);
        cache.begin(&header).map_err(failed(&cache.path, "read"))?;
        Ok(cache)
    }

    /// Empties a file that does not begin as this encoder's does.
    fn begin(&mut self, header: &[u8]) -> io::Result<()> {
        let mut found = Vec::new();
        (&self.file).take(HEADER_BYTES as u64).read_to_end(&mut found)?;
        if found == header {
            return self.file.set_modified(SystemTime::now());
        }
        if self.is_writable {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(header)?;
        }
        Ok(())
    }

    /// Copies the embeddings of known texts into rows; returns which rows it has filled.
    pub(super) fn fill(&mut self, texts: &[TextDigest], rows: &mut Matrix) -> Result<Vec<bool>> {
        let mut wanted: HashMap<&TextDigest, Vec<usize>> = HashMap::new();
        for (row, text) in texts.iter().enumerate() {
            wanted.entry(text).or_default().push(row);
        }
        let mut is_filled = vec![false; texts.len()];
        let n_records = self.read(|text, values| {
            for &row in wanted.get(text).into_iter().flatten() {
                rows.row_mut(row).copy_from_slice(values);
                is_filled[row] = true;
            }
        });
        let n_records = n_records.map_err(failed(&self.path, "read"))?;
        if self.is_writable {
            // A record that a killed process left half written would shift those after it.
            let length = HEADER_BYTES as u64 + n_records * self.record_bytes() as u64;
            self.file.set_len(length).map_err(failed(&self.path, "cut"))?;
        }
        Ok(is_filled)
    }

    /// Gives every sound record to `each`; returns the number of whole ones, damaged ones included.
    fn read(&mut self, mut each: impl FnMut(&TextDigest, &[f32])) -> io::Result<u64> {
        self.file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut record = vec![0; self.record_bytes()];
        let mut n_records = 0;
        loop {
            match reader.read_exact(&mut record) {
                Ok(()) => n_records += 1,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(n_records),
                Err(error) => return Err(error),
            }
            if let Some((text, values)) = decode(&record) {
                each(&text, &values);
            }
        }
    }

    /// Appends embeddings, unless another process writes or the file is full.
    pub(super) fn add<'t>(
        &mut self,
        embeddings: impl Iterator<Item = (&'t TextDigest, &'t [f32])>,
    ) -> Result<()> {
        if !self.is_writable {
            return Ok(());
        }
        let bytes: Vec<u8> = embeddings.flat_map(|(text, values)| encode(text, values)).collect();
        let mut append = || -> io::Result<()> {
            let length = self.file.seek(SeekFrom::End(0))?;
            if length + bytes.len() as u64 > self.max_bytes {
                return Ok(());
            }
            self.file.write_all(&bytes)
        };
        append().map_err(failed(&self.path, "write"))
    }

    fn record_bytes(&self) -> usize {
        32 + 4 * self.dimensions + 4
    }
}

fn header(encoder: Fingerprint, dimensions: usize) -> Vec<u8> {
    let dimensions = dimensions as u32;
    let parts: [&[u8]; 4] = [MAGIC, &VERSION.to_le_bytes(), &dimensions.to_le_bytes(), &encoder.0];
    parts.concat()
}

fn encode(text: &TextDigest, values: &[f32]) -> Vec<u8> {
    let mut record = text.to_vec();
    record.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let checksum = crc32fast::hash(&record);
    record.extend(checksum.to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(TextDigest, Vec<f32>)> {
    let (content, checksum) = record.split_last_chunk()?;
    let is_sound = crc32fast::hash(content) == u32::from_le_bytes(*checksum);
    let (text, values) = content.split_first_chunk().filter(|_| is_sound)?;
    Some((*text, values.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()))
}

/// Removes files of other encoders, the longest unused first, until all fit.
fn prune(folder: &Path, own: &Path, max_bytes: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if is_ours(&entry.path()) && metadata.is_file() {
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    files.sort_unstable();
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in files {
        if total <= max_bytes {
            break;
        }
        if path != own {
            fs::remove_file(&path)?;
            total -= length;
        }
    }
    Ok(())
}

/// Tells whether a file bears a name that the cache gives.
fn is_ours(path: &Path) -> bool {
    let is_fingerprint =
        |stem: &str| stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.extension().is_some_and(|extension| extension == EXTENSION)
        && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(is_fingerprint)
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> TrainError {
    let path = path.to_path_buf();
    move |source| TrainError::Cache { path, action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODER: Fingerprint = Fingerprint([7; 32]);

    fn open(folder: &Path) -> EmbeddingCache {
        EmbeddingCache::open(folder, ENCODER, 2).unwrap()
    }

    /// Stores [n, -n] for the text "n", for each number below `n`.
    fn stored(folder: &Path, n: usize) -> PathBuf {
        let mut cache = open(folder);
        let texts: Vec<TextDigest> = (0..n).map(|n| digest(&n.to_string())).collect();
        let values: Vec<[f32; 2]> = (0..n).map(|n| [n as f32, -(n as f32)]).collect();
        cache.fill(&[], &mut Matrix::default()).unwrap();
        cache.add(texts.iter().zip(values.iter().map(|values| &values[..]))).unwrap();
        cache.path
    }

    /// Returns which of the texts "0", "1" ... are found, each with the right values.
    fn found(folder: &Path, n: usize) -> Vec<bool> {
        let texts: Vec<TextDigest> = (0..n).map(|n| digest(&n.to_string())).collect();
        let mut rows = Matrix::zeros(n, 2);
        let is_filled = open(folder).fill(&texts, &mut rows).unwrap();
        for (row, &is_filled) in is_filled.iter().enumerate() {
            let expected = if is_filled { row as f32 } else { 0.0 };
            assert_eq!(rows.row(row), [expected, -expected]);
        }
        is_filled
    }

    #[test]
    fn what_was_stored_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        stored(folder.path(), 3);
        assert_eq!(found(folder.path(), 4), [true, true, true, false]);
    }

    #[test]
    fn a_text_that_stands_twice_is_found_twice() {
        let folder = tempfile::tempdir().unwrap();
        stored(folder.path(), 2);
        let mut rows = Matrix::zeros(2, 2);
        let texts = [digest("1"), digest("1")];
        assert_eq!(open(folder.path()).fill(&texts, &mut rows).unwrap(), [true, true]);
        assert_eq!(rows.values(), [1.0, -1.0, 1.0, -1.0]);
    }

    #[test]
    fn a_damaged_record_is_absent_and_the_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = stored(folder.path(), 3);
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER_BYTES + 44 + 35] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(found(folder.path(), 3), [true, false, true]);
    }

    #[test]
    fn a_cut_record_is_absent_and_does_not_harm_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = stored(folder.path(), 3);
        let length = fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 5).unwrap();
        assert_eq!(found(folder.path(), 3), [true, true, false]);
        stored(folder.path(), 3);
        assert_eq!(found(folder.path(), 3), [true, true, true]);
    }

    #[test]
    fn a_foreign_file_is_never_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = stored(folder.path(), 2);
        // The same name, but another encoder's content.
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(found(folder.path(), 2), [false, false]);
        fs::write(&path, "no cache").unwrap();
        assert_eq!(found(folder.path(), 2), [false, false]);
        // Other dimensions.
        stored(folder.path(), 2);
        let mut wider = EmbeddingCache::open(folder.path(), ENCODER, 3).unwrap();
        assert_eq!(wider.fill(&[digest("0")], &mut Matrix::zeros(1, 3)).unwrap(), [false]);
    }

    #[test]
    fn while_another_process_writes_the_cache_is_only_read() {
        let folder = tempfile::tempdir().unwrap();
        stored(folder.path(), 1);
        let _writer = open(folder.path());
        let mut reader = open(folder.path());
        assert!(!reader.is_writable);
        reader.add([(&digest("9"), &[9.0f32, 9.0][..])].into_iter()).unwrap();
        assert_eq!(found(folder.path(), 1), [true]);
    }

    #[test]
    fn files_longest_unused_go_when_there_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let other = |n: u8| folder.path().join(format!("{}.{EXTENSION}", Fingerprint([n; 32])));
        for n in [1, 2] {
            fs::write(other(n), [0; 100]).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n.into());
            File::options().write(true).open(other(n)).unwrap().set_modified(time).unwrap();
        }
        fs::write(folder.path().join("someone's.embeddings"), [0; 100]).unwrap();
        let mut cache = EmbeddingCache::open_within(folder.path(), ENCODER, 2, 150).unwrap();
        assert!(!other(1).exists() && other(2).exists());
        assert!(folder.path().join("someone's.embeddings").exists());
        // And this one stops growing.
        let texts: Vec<TextDigest> = (0..9).map(|n| digest(&n.to_string())).collect();
        for text in &texts {
            cache.add([(text, &[1.0f32, 2.0][..])].into_iter()).unwrap();
        }
        assert_eq!(cache.file.metadata().unwrap().len(), 48 + 2 * 44);
    }
}

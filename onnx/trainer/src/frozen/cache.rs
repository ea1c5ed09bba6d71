//! Embeddings kept on disk, so that a text is encoded once for all runs with the same encoder.
//!
//! A file holds the embeddings of one encoder, named by its fingerprint; little-endian:
//!
//! ```text
//! header   magic "autotagE", version u32, dimensions u32, fingerprint 32 bytes
//! records  SHA-256 of the text 32 bytes, values f32 x dimensions, CRC-32 of both u32
//! ```
//!
//! A truncated or damaged record is ignored, and a file with another header is started over: missing texts
//! are encoded again. Deleting the cache costs time only. Any number of processes may share a file: each
//! locks it while it appends.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use autotag::Fingerprint;
use ndarray::Array2;
use sha2::{Digest, Sha256};

use crate::files::check_regular;
use crate::rows::RowMajor as _;
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
    max_bytes: u64,
}

/// Returns a text's key.
pub(super) fn digest(text: &str) -> TextDigest {
    Sha256::digest(text).into()
}

impl EmbeddingCache {
    /// Opens the file of an encoder in a folder, which is made where it is missing.
    ///
    /// Evicts files of other encoders, least recently used first, while the folder is too large.
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
        if let Some(metadata) = if_there(fs::metadata(&path)).map_err(failed(&path, "open"))? {
            // A pipe in its place would be waited for.
            check_regular(&metadata).map_err(failed(&path, "open"))?;
        }
        let mut open = OpenOptions::new();
        let file = open.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed(&path, "open"))?;
        let mut cache = EmbeddingCache { path, file, dimensions, max_bytes };
        cache.make_room()?;
        let header = header(encoder, dimensions);
        cache.locked("read", |cache| cache.begin(&header))?;
        Ok(cache)
    }

    /// Runs `work` under an exclusive lock on the file.
    fn locked<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> Result<T> {
        self.file.lock().map_err(failed(&self.path, "lock"))?;
        let done = work(self);
        self.file.unlock().map_err(failed(&self.path, "unlock"))?;
        done.map_err(failed(&self.path, action))
    }

    /// Starts a file over that has another header.
    fn begin(&mut self, header: &[u8]) -> io::Result<()> {
        let mut found = Vec::new();
        (&self.file).take(HEADER_BYTES as u64).read_to_end(&mut found)?;
        if found == header {
            return self.file.set_modified(SystemTime::now());
        }
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(header)
    }

    /// Copies the embeddings of known texts into rows; returns which rows it has filled.
    pub(super) fn fill(
        &mut self,
        texts: &[TextDigest],
        rows: &mut Array2<f32>,
    ) -> Result<Vec<bool>> {
        let mut wanted: HashMap<&TextDigest, Vec<usize>> = HashMap::new();
        for (row, text) in texts.iter().enumerate() {
            wanted.entry(text).or_default().push(row);
        }
        let mut is_filled = vec![false; texts.len()];
        let read = self.read(|text, values| {
            for &row in wanted.get(text).into_iter().flatten() {
                rows.row_slice_mut(row).copy_from_slice(values);
                is_filled[row] = true;
            }
        });
        read.map_err(failed(&self.path, "read"))?;
        Ok(is_filled)
    }

    /// Passes every intact record to `each`; one that is being written is not seen yet.
    fn read(&mut self, mut each: impl FnMut(&TextDigest, &[f32])) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut record = vec![0; self.record_bytes()];
        loop {
            match reader.read_exact(&mut record) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
            if let Some((text, values)) = decode(&record) {
                each(&text, &values);
            }
        }
    }

    /// Appends embeddings, unless the file is full.
    pub(super) fn add<'t>(
        &mut self,
        embeddings: impl Iterator<Item = (&'t TextDigest, &'t [f32])>,
    ) -> Result<()> {
        let bytes: Vec<u8> = embeddings.flat_map(|(text, values)| encode(text, values)).collect();
        self.locked("write", |cache| {
            let length = cache.whole_records()?;
            if length + bytes.len() as u64 > cache.max_bytes {
                return Ok(());
            }
            cache.file.set_len(length)?;
            cache.file.seek(SeekFrom::Start(length))?;
            cache.file.write_all(&bytes)
        })?;
        self.make_room()
    }

    /// Evicts files of other encoders, least recently used first, while the folder is too large.
    fn make_room(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        prune(folder, &self.path, self.max_bytes).map_err(failed(folder, "clean up"))
    }

    /// Returns the end of the last whole record: appending behind a truncated one would misalign the
    /// records after it.
    fn whole_records(&self) -> io::Result<u64> {
        let (header, record) = (HEADER_BYTES as u64, self.record_bytes() as u64);
        let n_records = self.file.metadata()?.len().saturating_sub(header) / record;
        Ok(header + n_records * record)
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

/// Removes files of other encoders, least recently used first, until the rest fits.
fn prune(folder: &Path, own: &Path, max_bytes: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may remove files at the same time.
        let Some(metadata) = if_there(entry.metadata())? else { continue };
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
            if_there(fs::remove_file(&path))?;
            total -= length;
        }
    }
    Ok(())
}

/// Turns a missing file into `None`.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Returns true if a file has a cache file's name.
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
    use crate::mutations::{Mutator, n_changes};

    const ENCODER: Fingerprint = Fingerprint([7; 32]);

    fn open(folder: &Path) -> EmbeddingCache {
        EmbeddingCache::open(folder, ENCODER, 2).unwrap()
    }

    /// Stores [n, -n] for the text "n", for each number below `n`.
    fn stored(folder: &Path, n: usize) -> PathBuf {
        let mut cache = open(folder);
        let texts: Vec<TextDigest> = (0..n).map(|n| digest(&n.to_string())).collect();
        let values: Vec<[f32; 2]> = (0..n).map(|n| [n as f32, -(n as f32)]).collect();
        cache.fill(&[], &mut Array2::zeros((0, 0))).unwrap();
        cache.add(texts.iter().zip(values.iter().map(|values| &values[..]))).unwrap();
        cache.path
    }

    /// Returns which of the texts "0", "1" ... are found, each with the right values.
    fn found(folder: &Path, n: usize) -> Vec<bool> {
        let texts: Vec<TextDigest> = (0..n).map(|n| digest(&n.to_string())).collect();
        let mut rows = Array2::zeros((n, 2));
        let is_filled = open(folder).fill(&texts, &mut rows).unwrap();
        for (row, &is_filled) in is_filled.iter().enumerate() {
            let expected = if is_filled { row as f32 } else { 0.0 };
            assert_eq!(rows.row_slice(row), [expected, -expected]);
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
        let mut rows = Array2::zeros((2, 2));
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
        assert_eq!(wider.fill(&[digest("0")], &mut Array2::zeros((1, 3))).unwrap(), [false]);
    }

    /// However the file was damaged, a text has its own values or none, and new records are found.
    #[test]
    #[allow(clippy::print_stdout)]
    fn a_changed_cache_gives_right_values_or_none() {
        const TEXTS: usize = 12;
        let folder = tempfile::tempdir().unwrap();
        let path = stored(folder.path(), TEXTS);
        let sound = fs::read(&path).unwrap();
        let (mut mutator, mut n_lost) = (Mutator::new(2), 0);
        for n in 0..n_changes() {
            let (name, changed) = mutator.change(&sound);
            fs::write(&path, &changed).unwrap();
            let is_found = found(folder.path(), TEXTS);
            n_lost += usize::from(is_found.contains(&false));
            assert!(changed != sound || is_found == [true; TEXTS], "change {n}, {name}");
            stored(folder.path(), TEXTS);
            assert_eq!(found(folder.path(), TEXTS), [true; TEXTS], "change {n}, {name}");
        }
        let n = n_changes();
        println!("embedding cache: {n} changes, {n_lost} lost records, none gave another value");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_the_files_place_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{ENCODER}.{EXTENSION}"));
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if made.is_ok_and(|status| status.success()) {
            let error = EmbeddingCache::open(folder.path(), ENCODER, 2).map(|_| ()).unwrap_err();
            assert!(matches!(error, TrainError::Cache { action: "open", .. }), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_has_the_mode_that_the_umask_leaves() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&stored(folder.path(), 1)), mode(&plain));
    }

    #[test]
    fn runs_side_by_side_both_keep_what_they_encode() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = [open(folder.path()), open(folder.path())];
        for n in 0..6 {
            let (text, values) = (digest(&n.to_string()), [n as f32, -(n as f32)]);
            runs[n % 2].add([(&text, &values[..])].into_iter()).unwrap();
        }
        assert_eq!(found(folder.path(), 6), [true; 6]);
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
        assert!(!other(2).exists(), "both together were too large");
    }
}

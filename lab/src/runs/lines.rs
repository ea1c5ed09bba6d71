//! JSON lines, compressed: what is kept of texts and predictions.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{LabError, Result};

/// The longest line that is read: beyond this a file is damaged.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Writes values as lines of a compressed file.
pub(super) fn write<T: Serialize>(path: &Path, values: impl Iterator<Item = T>) -> Result<()> {
    let fail = || LabError::io("write", path);
    let file = File::create(path).map_err(fail())?;
    let mut lines = GzEncoder::new(BufWriter::new(file), Compression::fast());
    for value in values {
        let mut line = serde_json::to_vec(&value).expect("our own types are plain data");
        line.push(b'\n');
        lines.write_all(&line).map_err(fail())?;
    }
    let file = lines.finish().map_err(fail())?;
    let file = file.into_inner().map_err(|error| fail()(error.into_error()))?;
    file.sync_all().map_err(fail())
}

/// Reads the lines of a compressed file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).map_err(LabError::io("open", path))?;
    let mut lines = BufReader::new(GzDecoder::new(BufReader::new(file)));
    let (mut values, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let mut limited = std::io::Read::take(&mut lines, MAX_LINE_BYTES);
        let n_bytes = limited.read_until(b'\n', &mut line);
        if n_bytes.map_err(|error| LabError::damaged(path, error))? == 0 {
            return Ok(values);
        }
        let value = serde_json::from_slice(&line);
        values.push(value.map_err(|error| LabError::damaged(path, error))?);
    }
}

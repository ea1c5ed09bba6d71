//! A file or standard input, plain or gzip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Problem, ReadError};

/// An opened file.
pub(crate) struct Input {
    /// Its name in errors.
    pub(crate) name: String,
    /// Its bytes, unpacked.
    pub(crate) reader: Box<dyn BufRead + Send>,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Input {
    /// Opens a file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        if path == Path::new("-") {
            static IS_TAKEN: AtomicBool = AtomicBool::new(false);
            if IS_TAKEN.swap(true, Ordering::Relaxed) {
                return Err(ReadError::of_file("standard input", Problem::Twice));
            }
            return Input::new("standard input".to_owned(), io::stdin());
        }
        let name = path.display().to_string();
        match File::open(path) {
            Err(error) => Err(ReadError::of_file(&name, Problem::Open(error))),
            Ok(_) if path.is_dir() => Err(ReadError::of_file(&name, Problem::Folder)),
            Ok(file) => Input::new(name, file),
        }
    }

    /// Looks at the first bytes: gzip is told by them, not by the file's name.
    pub(crate) fn new(name: String, bytes: impl Read + Send + 'static) -> Result<Self, ReadError> {
        let fail = |error| ReadError::of_file(&name, read_problem(error));
        let packed = peek(BufReader::with_capacity(1 << 16, bytes), GZIP_MAGIC.len());
        let (magic, packed) = packed.map_err(fail)?;
        let unpacked: Box<dyn BufRead + Send> = if magic == GZIP_MAGIC {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(packed)))
        } else {
            Box::new(packed)
        };
        let (mark, mut reader) = peek(unpacked, BYTE_ORDER_MARK.len()).map_err(fail)?;
        if mark == BYTE_ORDER_MARK {
            reader.consume(mark.len());
        }
        Ok(Input { name, reader: Box::new(reader) })
    }
}

/// Returns the first `n` bytes, fewer where there are no more, and a reader that still has them.
fn peek<R: BufRead>(mut reader: R, n: usize) -> io::Result<(Vec<u8>, impl BufRead)> {
    let mut head = Vec::with_capacity(n);
    reader.by_ref().take(n as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

/// Names the cause of a failed read.
pub(crate) fn read_problem(error: io::Error) -> Problem {
    // The decoder says so of data that ends early or does not decode; files and pipes do not.
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Problem::Gzip(error)
        }
        _ => Problem::Read(error),
    }
}

//! Documents as JSON objects, one on each line.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use crate::document::Document;
use crate::error::{Problem, ReadError};
use crate::input::{Input, read_problem};
use crate::json_object::WantedFields;
use crate::options::{BlankLines, ReadOptions};
use crate::repaired::Repaired;

/// Reads one document from each line; lines end with a line feed alone.
pub(crate) struct JsonLines {
    input: Input,
    options: ReadOptions,
    wanted: WantedFields,
    line: u64,
    bytes: Vec<u8>,
    repaired: Repaired,
}

impl JsonLines {
    pub(crate) fn new(input: Input, options: &ReadOptions) -> Self {
        let (options, wanted) = (options.clone(), WantedFields::new(options));
        let repaired = Repaired::default();
        JsonLines { input, options, wanted, line: 0, bytes: Vec::new(), repaired }
    }

    pub(crate) fn repaired(&self) -> Repaired {
        self.repaired
    }

    pub(crate) fn next(&mut self) -> Option<Result<Document, ReadError>> {
        loop {
            match self.read_line() {
                Ok(false) => return None,
                Ok(true) => {}
                Err(problem) => return Some(Err(self.error(None, problem))),
            }
            if !self.bytes.trim_ascii().is_empty() {
                return Some(self.document());
            }
            if self.options.blank_lines == BlankLines::Report {
                return Some(Err(self.error(None, Problem::Blank)));
            }
        }
    }

    /// Reads the next line into `bytes`; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, Problem> {
        const KEPT: usize = 1 << 20;
        self.bytes.clear();
        // One long line shall not take its memory from all that follow.
        self.bytes.shrink_to(KEPT);
        self.line += 1;
        let max = self.options.max_line_bytes;
        let n_read = self.input.reader.by_ref().take(max + 1).read_until(b'\n', &mut self.bytes);
        let n_read = n_read.map_err(read_problem)? as u64;
        if n_read > max && !self.bytes.ends_with(b"\n") {
            self.bytes = Vec::new();
            skip_line(&mut self.input.reader).map_err(read_problem)?;
            return Err(Problem::TooLong { max });
        }
        Ok(n_read > 0)
    }

    fn document(&mut self) -> Result<Document, ReadError> {
        let line = String::from_utf8_lossy(self.bytes.trim_ascii());
        let is_repaired = matches!(line, Cow::Owned(_));
        let fields = self.wanted.read(&line);
        if is_repaired {
            self.repaired.note(self.line);
        }
        let fields = fields.map_err(|error| self.error(None, not_json(&error)))?;
        let key = match fields.key() {
            Ok(key) if is_repaired && key.contains(char::REPLACEMENT_CHARACTER) => {
                let field = self.options.key.clone();
                return Err(self.error(None, Problem::KeyUtf8 { field }));
            }
            key => key.map_err(|problem| self.error(None, problem))?,
        };
        let text = fields.text().map_err(|problem| self.error(Some(&key), problem))?;
        let labels = fields.labels().map_err(|problem| self.error(Some(&key), problem))?;
        Ok(Document { line: self.line, last_line: self.line, key, text, labels })
    }

    fn error(&self, key: Option<&str>, problem: Problem) -> ReadError {
        ReadError::at(&self.input.name, self.line, key.map(str::to_owned), problem)
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    /// A value of another type stands in the message as a whole.
    const LENGTH: usize = 200;
    // Each line is a text of its own for the parser; its number in the file is known better here.
    let reason = error.to_string().replace(" at line 1 column ", " at column ");
    let reason = match reason.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason,
    };
    Problem::NotJson { reason }
}

/// Reads past the end of the line, keeping nothing.
fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (n_skipped, is_end) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(position) => (position + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(n_skipped);
        if is_end {
            return Ok(());
        }
    }
}

//! Documents as JSON objects, one on each line.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

use super::input::{Input, read_problem};
use super::{BlankLines, Document, Problem, ReadError, ReadOptions, Repaired, each_once};

/// Reads one document from each line.
pub(super) struct JsonLines {
    input: Input,
    options: ReadOptions,
    line: u64,
    bytes: Vec<u8>,
    repaired: Repaired,
}

impl JsonLines {
    pub(super) fn new(input: Input, options: &ReadOptions) -> Self {
        let (options, repaired) = (options.clone(), Repaired::default());
        JsonLines { input, options, line: 0, bytes: Vec::new(), repaired }
    }

    pub(super) fn repaired(&self) -> Repaired {
        self.repaired
    }

    pub(super) fn next(&mut self) -> Option<Result<Document, ReadError>> {
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
        self.bytes.clear();
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
        let object = serde_json::from_str::<Map<String, Value>>(&line);
        if is_repaired {
            self.repaired.note(self.line);
        }
        let mut object = object.map_err(|error| self.error(None, not_json(&error)))?;
        let key = match key(&mut object, &self.options.key) {
            Ok(key) if is_repaired && key.contains(char::REPLACEMENT_CHARACTER) => {
                let field = self.options.key.clone();
                return Err(self.error(None, Problem::KeyUtf8 { field }));
            }
            key => key.map_err(|problem| self.error(None, problem))?,
        };
        let text = text(&mut object, &self.options.text);
        let text = text.map_err(|problem| self.error(Some(&key), problem))?;
        let labels = labels(&mut object, &self.options.labels);
        let labels = labels.map_err(|problem| self.error(Some(&key), problem))?;
        Ok(Document { line: self.line, key, text, labels })
    }

    fn error(&self, key: Option<&str>, problem: Problem) -> ReadError {
        ReadError::at(&self.input.name, self.line, key.map(str::to_owned), problem)
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    // Each line is a text of its own for the parser; its number in the file is known better here.
    Problem::NotJson { reason: error.to_string().replace(" at line 1 column ", " at column ") }
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

fn key(object: &mut Map<String, Value>, field: &str) -> Result<String, Problem> {
    match object.remove(field) {
        None | Some(Value::Null) => Err(Problem::KeyMissing { field: field.to_owned() }),
        Some(Value::String(key)) if !key.is_empty() => Ok(key),
        // A number that is not whole was rounded when it was read: two keys could become one.
        Some(Value::Number(key)) if !key.is_f64() => Ok(key.to_string()),
        Some(_) => Err(Problem::KeyType { field: field.to_owned() }),
    }
}

/// Joins the fields that are there; one of them must be.
fn text(object: &mut Map<String, Value>, fields: &[String]) -> Result<String, Problem> {
    let mut parts = Vec::with_capacity(fields.len());
    for field in fields {
        match object.remove(field) {
            None | Some(Value::Null) => {}
            Some(Value::String(part)) => parts.push(part),
            Some(_) => return Err(Problem::TextType { field: field.clone() }),
        }
    }
    if parts.is_empty() {
        return Err(Problem::TextMissing { field: fields.join(",") });
    }
    Ok(parts.join("\n"))
}

fn labels(object: &mut Map<String, Value>, field: &str) -> Result<Vec<String>, Problem> {
    let wrong_type = || Problem::LabelsType { field: field.to_owned() };
    let values = match object.remove(field) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values,
        Some(_) => return Err(wrong_type()),
    };
    let mut labels = Vec::with_capacity(values.len());
    for value in values {
        let Value::String(label) = value else { return Err(wrong_type()) };
        labels.push(label);
    }
    Ok(each_once(labels))
}

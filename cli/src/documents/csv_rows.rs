//! Documents as rows of comma-separated values below a header.

use std::io::{self, Read};

use csv::ByteRecord;

use super::input::{Input, read_problem};
use super::{Document, Problem, ReadError, ReadOptions, Repaired, each_once};

/// Reads one document from each row.
pub(super) struct CsvRows {
    file: String,
    options: ReadOptions,
    reader: csv::Reader<Limited>,
    columns: Option<Columns>,
    record: ByteRecord,
    line: u64,
    repaired: Repaired,
}

/// Where the fields stand in a row.
struct Columns {
    key: usize,
    text: Vec<usize>,
    labels: Option<usize>,
}

impl CsvRows {
    /// Reads the header.
    pub(super) fn new(input: Input, options: &ReadOptions) -> Result<Self, ReadError> {
        let limited = Limited { reader: Box::new(input.reader), left: options.max_line_bytes };
        let mut rows = CsvRows {
            file: input.name,
            options: options.clone(),
            reader: csv::ReaderBuilder::new().from_reader(limited),
            columns: None,
            record: ByteRecord::new(),
            line: 1,
            repaired: Repaired::default(),
        };
        let header = rows.reader.byte_headers().cloned();
        let header = header.map_err(|error| rows.unreadable(error))?;
        if !header.is_empty() {
            rows.columns = Some(columns(&header, options).map_err(|p| rows.error(None, p))?);
        }
        Ok(rows)
    }

    pub(super) fn repaired(&self) -> Repaired {
        self.repaired
    }

    pub(super) fn next(&mut self) -> Option<Result<Document, ReadError>> {
        self.columns.as_ref()?;
        self.reader.get_mut().left = self.options.max_line_bytes;
        let outcome = self.reader.read_byte_record(&mut self.record);
        self.line = self.record.position().unwrap_or_else(|| self.reader.position()).line();
        match outcome {
            Ok(false) => None,
            Ok(true) => Some(self.document()),
            Err(error) => Some(Err(self.unreadable(error))),
        }
    }

    fn document(&mut self) -> Result<Document, ReadError> {
        let columns = self.columns.as_ref().expect("next() asks for them first");
        let cell = |column: usize| String::from_utf8_lossy(&self.record[column]);
        let key = cell(columns.key).into_owned();
        let text: Vec<_> = columns.text.iter().map(|&column| cell(column)).collect();
        let text = text.join("\n");
        let labels = columns.labels.map(cell).unwrap_or_default();
        let labels = labels.split(&self.options.label_separator).map(str::trim);
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let field = self.options.key.clone();
        if std::str::from_utf8(&self.record[columns.key]).is_err() {
            return Err(self.error(None, Problem::KeyUtf8 { field }));
        }
        if key.is_empty() {
            return Err(self.error(None, Problem::KeyMissing { field }));
        }
        if self.record.iter().any(|cell| std::str::from_utf8(cell).is_err()) {
            self.repaired.note(self.line);
        }
        Ok(Document { line: self.line, key, text, labels: each_once(labels) })
    }

    /// Names what csv could not read; after a failed read nothing more can be.
    fn unreadable(&mut self, error: csv::Error) -> ReadError {
        let problem = match error.into_kind() {
            csv::ErrorKind::UnequalLengths { expected_len: expected, len: found, .. } => {
                return self.error(None, Problem::Cells { expected, found });
            }
            csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Problem::TooLong { max: self.options.max_line_bytes }
            }
            csv::ErrorKind::Io(error) => read_problem(error),
            kind => Problem::Read(io::Error::other(format!("{kind:?}"))),
        };
        self.columns = None;
        self.error(None, problem)
    }

    fn error(&self, key: Option<&str>, problem: Problem) -> ReadError {
        ReadError::at(&self.file, self.line, key.map(str::to_owned), problem)
    }
}

fn columns(header: &ByteRecord, options: &ReadOptions) -> Result<Columns, Problem> {
    let find = |name: &str| header.iter().position(|cell| cell.trim_ascii() == name.as_bytes());
    let missing = |wanted: &str, option| {
        let names: Vec<_> = header.iter().map(String::from_utf8_lossy).collect();
        Problem::NoColumn { wanted: wanted.to_owned(), found: names.join(", "), option }
    };
    let key = find(&options.key).ok_or_else(|| missing(&options.key, "--key"))?;
    let mut text = Vec::new();
    for name in &options.text {
        text.push(find(name).ok_or_else(|| missing(name, "--text"))?);
    }
    Ok(Columns { key, text, labels: find(&options.labels) })
}

/// Fails where one record has more bytes than allowed, such as after a quote that never closes.
struct Limited {
    reader: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let n_read = self.reader.read(buffer)?;
        self.left = self.left.saturating_sub(n_read as u64);
        Ok(n_read)
    }
}

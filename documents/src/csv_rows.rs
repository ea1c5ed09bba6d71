//! Documents as rows of comma-separated values below a header.

use crate::csv_row::{Row, RowError, RowReader};
use crate::document::Document;
use crate::error::{Problem, ReadError};
use crate::input::{Input, read_problem};
use crate::labels::Labels;
use crate::options::ReadOptions;
use crate::repaired::Repaired;

/// Reads one document from each row.
pub(crate) struct CsvRows {
    file: String,
    options: ReadOptions,
    reader: RowReader,
    columns: Option<Columns>,
    row: Row,
    repaired: Repaired,
}

/// The columns of the fields.
struct Columns {
    n: usize,
    key: usize,
    text: Vec<usize>,
    labels: Option<usize>,
}

/// The most columns that a header may have.
const MAX_COLUMNS: usize = 1 << 16;

impl CsvRows {
    /// Reads the header.
    pub(crate) fn new(input: Input, options: &ReadOptions) -> Result<Self, ReadError> {
        let mut reader = RowReader::new(input.reader, options.max_line_bytes);
        reader.keep_cells(MAX_COLUMNS);
        let mut rows = CsvRows {
            file: input.name,
            options: options.clone(),
            reader,
            columns: None,
            row: Row::default(),
            repaired: Repaired::default(),
        };
        if rows.reader.read(&mut rows.row).map_err(|error| rows.unreadable(error))? {
            let columns = columns(&rows.row, options).map_err(|problem| rows.error(problem))?;
            rows.reader.keep_cells(columns.n);
            rows.columns = Some(columns);
        }
        Ok(rows)
    }

    pub(crate) fn repaired(&self) -> Repaired {
        self.repaired
    }

    pub(crate) fn next(&mut self) -> Option<Result<Document, ReadError>> {
        let columns = self.columns.as_ref()?;
        match self.reader.read(&mut self.row) {
            Ok(false) => None,
            Ok(true) if self.row.n_cells != columns.n as u64 => {
                let (expected, found) = (columns.n as u64, self.row.n_cells);
                Some(Err(self.error(Problem::Cells { expected, found })))
            }
            Ok(true) => Some(self.document(columns).map_err(|problem| self.error(problem)).map(
                |(document, is_repaired)| {
                    if is_repaired {
                        self.repaired.note(document.line);
                    }
                    document
                },
            )),
            Err(error) => Some(Err(self.unreadable(error))),
        }
    }

    /// Makes a document of the row, and tells whether broken bytes were replaced.
    fn document(&self, columns: &Columns) -> Result<(Document, bool), Problem> {
        let cell = |column: usize| String::from_utf8_lossy(self.row.cell(column));
        let field = || self.options.key.clone();
        if std::str::from_utf8(self.row.cell(columns.key)).is_err() {
            return Err(Problem::KeyUtf8 { field: field() });
        }
        let key = cell(columns.key).into_owned();
        if key.is_empty() {
            return Err(Problem::KeyMissing { field: field() });
        }
        let text: Vec<_> = columns.text.iter().map(|&column| cell(column)).collect();
        let text = text.join("\n");
        let labels = self.labels(&columns.labels.map(cell).unwrap_or_default())?;
        let is_repaired = self.row.cells().any(|cell| std::str::from_utf8(cell).is_err());
        let Row { line, last_line, .. } = self.row;
        Ok((Document { line, last_line, key, text, labels }, is_repaired))
    }

    fn labels(&self, cell: &str) -> Result<Vec<String>, Problem> {
        let names = cell.split(&self.options.label_separator).map(str::trim);
        let mut labels = Labels::default();
        for name in names.filter(|name| !name.is_empty()) {
            if labels.add(name).is_err() {
                return Err(Problem::too_many_labels(&self.options.labels));
            }
        }
        Ok(labels.into_vec())
    }

    fn unreadable(&self, error: RowError) -> ReadError {
        let (line, problem) = match error {
            RowError::AfterQuote { line } => (line, Problem::AfterQuote),
            RowError::OpenQuote { line } => (line, Problem::OpenQuote),
            RowError::TooLong => {
                (self.row.line, Problem::TooLong { max: self.options.max_line_bytes })
            }
            RowError::Read(error) => (self.row.line, read_problem(error)),
        };
        ReadError::at(&self.file, line, None, problem).until(self.row.last_line)
    }

    fn error(&self, problem: Problem) -> ReadError {
        let Row { line, last_line, .. } = self.row;
        ReadError::at(&self.file, line, None, problem).until(last_line)
    }
}

fn columns(header: &Row, options: &ReadOptions) -> Result<Columns, Problem> {
    if header.n_cells > MAX_COLUMNS as u64 {
        return Err(Problem::Columns { found: header.n_cells, max: MAX_COLUMNS });
    }
    let find = |name: &str| header.cells().position(|cell| cell.trim_ascii() == name.as_bytes());
    let missing = |wanted: &str, option| {
        let found = names(header);
        Problem::NoColumn { wanted: wanted.to_owned(), found, option }
    };
    let key = find(&options.key).ok_or_else(|| missing(&options.key, "--key"))?;
    let mut text = Vec::new();
    for name in &options.text {
        text.push(find(name).ok_or_else(|| missing(name, "--text"))?);
    }
    let n = header.n_cells as usize;
    Ok(Columns { n, key, text, labels: find(&options.labels) })
}

/// Names the columns for people, the first ones of many.
fn names(header: &Row) -> String {
    const NAMED: usize = 30;
    const LENGTH: usize = 60;
    let name = |cell: &[u8]| {
        let text = String::from_utf8_lossy(cell);
        text.chars().take(LENGTH).collect::<String>()
    };
    let names: Vec<String> = header.cells().take(NAMED).map(name).collect();
    let n_more = header.n_cells as usize - names.len();
    let more = if n_more > 0 { format!(", and {n_more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

//! Rows of comma-separated values, and the lines that they stand on.

use std::io::{self, BufRead};

/// The cells of a row, without their quotes.
#[derive(Debug, Default)]
pub(crate) struct Row {
    bytes: Vec<u8>,
    /// The end of each kept cell in `bytes`.
    ends: Vec<usize>,
    /// The number of cells, kept or not.
    pub(crate) n_cells: u64,
    /// The lines that it begins and ends on, counted from 1.
    pub(crate) line: u64,
    pub(crate) last_line: u64,
}

/// A row that cannot be read.
#[derive(Debug)]
pub(crate) enum RowError {
    /// Text stands behind the quote that closes a cell.
    AfterQuote {
        line: u64,
    },
    /// A quote is open where the file ends.
    OpenQuote {
        line: u64,
    },
    /// The row has more bytes than allowed.
    TooLong,
    Read(io::Error),
}

/// Reads rows as RFC 4180 defines them.
///
/// A line feed, a carriage return, or both together end a line, within quotes too. A cell that
/// begins with a quote ends at the next quote that is not doubled; a quote inside any other cell is
/// text. Empty lines between rows are skipped.
///
/// Why not the `csv` crate? It reads everything behind a quote that never closes as one cell, drops
/// a closing quote with text behind it, and counts line feeds only.
pub(crate) struct RowReader {
    input: Box<dyn BufRead + Send>,
    scanner: Scanner,
}

/// The state of a row that is being read.
#[derive(Debug)]
struct Scanner {
    max_bytes: u64,
    max_cells: usize,
    /// The line of the next byte.
    line: u64,
    /// The last byte was a carriage return, to which a line feed would belong.
    after_return: bool,
    at: Place,
    /// The bytes of the row so far; none before its first.
    n_bytes: u64,
    quote_line: u64,
    after_quote: Option<u64>,
}

/// The position in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Plain,
    Quoted,
    /// Behind a quote that closes the cell, unless another one follows.
    Closed,
}

/// The row's state after a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoesOn,
    Ends,
}

impl Row {
    /// Returns the cells that are kept, from the first on.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|number| self.cell(number))
    }

    /// Returns a cell that is kept.
    ///
    /// # Panics
    ///
    /// When there is no such cell.
    pub(crate) fn cell(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start..self.ends[number]]
    }

    fn clear(&mut self) {
        const KEPT: usize = 1 << 20;
        self.bytes.clear();
        // One long row shall not take its memory from all that follow.
        self.bytes.shrink_to(KEPT);
        self.ends.clear();
        self.n_cells = 0;
    }
}

impl RowReader {
    /// Reads rows of at most so many bytes, each line counted from 1.
    pub(crate) fn new(input: Box<dyn BufRead + Send>, max_bytes: u64) -> Self {
        let scanner = Scanner {
            max_bytes,
            max_cells: usize::MAX,
            line: 1,
            after_return: false,
            at: Place::Start,
            n_bytes: 0,
            quote_line: 0,
            after_quote: None,
        };
        RowReader { input, scanner }
    }

    /// Keeps so many cells of each row from now on; others are only counted.
    pub(crate) fn keep_cells(&mut self, n: usize) {
        self.scanner.max_cells = n;
    }

    /// Reads the next row; false at the end of the file.
    ///
    /// After [`RowError::AfterQuote`] and [`RowError::TooLong`] the next row can be read.
    pub(crate) fn read(&mut self, row: &mut Row) -> Result<bool, RowError> {
        row.clear();
        self.scanner.begin();
        (row.line, row.last_line) = (self.scanner.line, self.scanner.line);
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(RowError::Read(error)),
            };
            if bytes.is_empty() {
                return self.scanner.end_of_file(row);
            }
            let (n_read, step) = self.scanner.scan(bytes, row);
            self.input.consume(n_read);
            if step == Step::Ends {
                return self.scanner.check().map(|()| true);
            }
        }
    }
}

impl Scanner {
    fn begin(&mut self) {
        (self.at, self.n_bytes, self.after_quote) = (Place::Start, 0, None);
    }

    /// Takes bytes up to the end of the row; returns how many it took.
    fn scan(&mut self, bytes: &[u8], row: &mut Row) -> (usize, Step) {
        let mut at = 0;
        while at < bytes.len() {
            let n_text = self.text(&bytes[at..]);
            if n_text > 0 {
                self.after_return = false;
                self.keep(&bytes[at..at + n_text], row);
                at += n_text;
                continue;
            }
            at += 1;
            if self.step(bytes[at - 1], row) == Step::Ends {
                return (at, Step::Ends);
            }
        }
        (at, Step::GoesOn)
    }

    /// Returns how many bytes are text whatever stands before them.
    fn text(&self, bytes: &[u8]) -> usize {
        let is_special = |byte: &u8| match self.at {
            Place::Plain => matches!(byte, b',' | b'\r' | b'\n'),
            Place::Quoted => matches!(byte, b'"' | b'\r' | b'\n'),
            Place::Start | Place::Closed => true,
        };
        bytes.iter().position(is_special).unwrap_or(bytes.len())
    }

    fn step(&mut self, byte: u8, row: &mut Row) -> Step {
        if matches!(byte, b'\r' | b'\n') {
            return self.line_break(byte, row);
        }
        self.after_return = false;
        if self.n_bytes == 0 {
            (row.line, row.last_line) = (self.line, self.line);
        }
        self.at = match (self.at, byte) {
            (Place::Start | Place::Plain | Place::Closed, b',') => {
                self.n_bytes += 1;
                self.end_cell(row);
                Place::Start
            }
            (Place::Start, b'"') => {
                self.n_bytes += 1;
                self.quote_line = self.line;
                Place::Quoted
            }
            (Place::Quoted, b'"') => {
                self.n_bytes += 1;
                Place::Closed
            }
            (place, byte) => {
                self.keep(&[byte], row);
                self.behind(place, byte)
            }
        };
        Step::GoesOn
    }

    /// Returns where a byte of text leads.
    fn behind(&mut self, place: Place, byte: u8) -> Place {
        match place {
            Place::Quoted => Place::Quoted,
            Place::Closed if byte == b'"' => Place::Quoted,
            Place::Closed => {
                self.after_quote.get_or_insert(self.line);
                Place::Plain
            }
            Place::Start | Place::Plain => Place::Plain,
        }
    }

    /// Counts a line, and ends the row where none of its quotes is open.
    fn line_break(&mut self, byte: u8, row: &mut Row) -> Step {
        let belongs_to_return = byte == b'\n' && self.after_return;
        self.after_return = byte == b'\r';
        self.line += u64::from(!belongs_to_return);
        if self.at == Place::Quoted {
            self.keep(&[byte], row);
            row.last_line = self.line;
            return Step::GoesOn;
        }
        if self.n_bytes == 0 {
            return Step::GoesOn;
        }
        self.end_cell(row);
        Step::Ends
    }

    fn keep(&mut self, bytes: &[u8], row: &mut Row) {
        self.n_bytes += bytes.len() as u64;
        if self.n_bytes <= self.max_bytes && row.ends.len() < self.max_cells {
            row.bytes.extend_from_slice(bytes);
        }
    }

    fn end_cell(&mut self, row: &mut Row) {
        row.n_cells += 1;
        if self.n_bytes <= self.max_bytes && row.ends.len() < self.max_cells {
            row.ends.push(row.bytes.len());
        }
    }

    fn end_of_file(&mut self, row: &mut Row) -> Result<bool, RowError> {
        if self.n_bytes == 0 {
            return Ok(false);
        }
        if self.at == Place::Quoted {
            return Err(RowError::OpenQuote { line: self.quote_line });
        }
        self.end_cell(row);
        self.check().map(|()| true)
    }

    fn check(&self) -> Result<(), RowError> {
        match self.after_quote {
            _ if self.n_bytes > self.max_bytes => Err(RowError::TooLong),
            Some(line) => Err(RowError::AfterQuote { line }),
            None => Ok(()),
        }
    }
}

//! Rows, their lines, and quotes where they do not belong.

use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::csv_row::{Row, RowReader};

/// Reads rows below a header of `id,text,labels`: line, last line, and text or what is wrong.
fn rows(bytes: &[u8]) -> Vec<(u64, u64, String)> {
    let all = [b"id,text,labels\n", bytes].concat();
    let row = |outcome: Result<Document, ReadError>| match outcome {
        Ok(document) => (document.line, document.last_line, document.text),
        Err(error) => (error.line.unwrap(), error.last_line.unwrap(), error.problem.to_string()),
    };
    read("d.csv", &all, &ReadOptions::default()).into_iter().map(row).collect()
}

fn row(line: u64, last_line: u64, text: &str) -> (u64, u64, String) {
    (line, last_line, text.to_owned())
}

#[test]
fn a_quote_that_never_closes_is_an_error_that_ends_the_file() {
    let rows = b"id,text,labels\n1,rose,\"a\n2,oven,b\n3,mast,c\n";
    let outcomes = read("d.csv", rows, &ReadOptions::default());
    assert_eq!(outcomes.len(), 1);
    let error = outcomes[0].as_ref().unwrap_err();
    assert!(error.ends_the_file());
    assert_eq!((error.line, error.last_line), (Some(2), Some(5)));
    // Not the line of its row, nor the last.
    let rows = b"id,text,labels\n1,t,\n2,\"a\nb\",\"\n3,t,\n";
    check_error("d.csv", rows, &ReadOptions::default(), Some(4), "the quote that opens here never");
    check_error("d.csv", b"id,\"text\n1,a\n", &ReadOptions::default(), Some(1), "never closes");
    check_error("d.csv", &gzip(rows), &ReadOptions::default(), Some(4), "never closes");
}

#[test]
fn text_behind_a_closing_quote_is_an_error_of_its_row_alone() {
    let found = rows(b"1,\"a\"b,\n2,c,\n3,\"d\n\"\"e\" ,\"f\ng\"\n4,h,\n");
    let lines: Vec<_> = found.iter().map(|(line, last, _)| (*line, *last)).collect();
    assert_eq!(lines, [(2, 2), (3, 3), (5, 6), (7, 7)]);
    assert!(found[0].2.contains("text follows the quote"), "{found:?}");
    assert!(found[2].2.contains("text follows the quote"), "{found:?}");
    assert_eq!((found[1].2.as_str(), found[3].2.as_str()), ("c", "h"));
}

#[test]
fn quotes_in_the_middle_of_a_cell_are_text() {
    assert_eq!(rows(b"1,a\"b\"c,\n"), [row(2, 2, "a\"b\"c")]);
    assert_eq!(rows(b"1, \"a\",\n"), [row(2, 2, " \"a\"")]);
    assert_eq!(rows(b"1,\"\"\"\",\n2,\"\",\n"), [row(2, 2, "\""), row(3, 3, "")]);
}

#[test]
fn every_kind_of_line_end_counts() {
    let expect = [row(2, 2, "a"), row(4, 6, "b"), row(7, 7, "c")];
    for end in ["\n", "\r\n", "\r"] {
        let lines = ["1,a,", "", "2,\"b\",\"x", "y", "z\"", "3,c,"].join(end);
        let found = rows(lines.as_bytes());
        assert_eq!(found, expect, "{end:?}");
        assert_eq!(rows(format!("{lines}{end}").as_bytes()), expect, "{end:?}");
        let header = format!("{end}{end}id,text,labels{end}{lines}");
        for bytes in [header.clone().into_bytes(), format!("\u{feff}{header}").into_bytes()] {
            let outcomes = read("d.csv", &gzip(&bytes), &ReadOptions::default());
            let found: Vec<_> = outcomes.iter().map(|d| d.as_ref().unwrap().line).collect();
            assert_eq!(found, [4, 6, 9], "{end:?}");
        }
    }
}

#[test]
fn lines_that_look_like_comments_are_rows() {
    let found = rows(b"# 1,a,\n#\n2,b,\n");
    let lines: Vec<_> = found.iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, [2, 3, 4]);
    assert!(found[1].2.contains("1 cells where the header has 3"), "{found:?}");
}

#[test]
fn rows_and_headers_with_too_many_cells_or_labels_are_refused_and_not_kept() {
    let wide = ",".repeat(1 << 20);
    let found = rows(format!("1,a,\n{wide}\n2,b,\n").as_bytes());
    assert_eq!(
        found[1].2.split(':').next(),
        Some("the row has 1048577 cells where the header has 3")
    );
    assert_eq!(found.len(), 3);
    let options = ReadOptions::default();
    check_error("d.csv", format!("{wide}\n").as_bytes(), &options, Some(1), "1048577 columns");
    let named = format!("{}\n", "name,".repeat(100));
    check_error("d.csv", named.as_bytes(), &options, Some(1), "and 71 more");
    let labels: String = (0..1 << 17).map(|number| format!("{number};")).collect();
    let found = rows(format!("1,a,{labels}\n2,b,{}x\n", "x;".repeat(1 << 17)).as_bytes());
    assert!(found[0].2.contains("more than 65536 labels in \"labels\""), "{found:?}");
    assert_eq!(found[1], row(3, 3, "b"));
}

/// A cell as it is and as it is written.
fn cell() -> impl Strategy<Value = (String, String)> {
    let text = proptest::collection::vec(
        prop_oneof![Just("a"), Just(","), Just("\""), Just("\n"), Just("\r"), Just(" "), Just("é")],
        0..6,
    );
    (text, any::<bool>()).prop_map(|(parts, is_quoted)| {
        let text = parts.concat();
        let must_be_quoted = text.contains([',', '\r', '\n']) || text.starts_with('"');
        let written = match is_quoted || must_be_quoted {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        };
        (text, written)
    })
}

/// Returns the line that a byte stands on, by the ends of all lines before it.
fn line_of(bytes: &str, at: usize) -> u64 {
    let before = bytes[..at].replace("\r\n", "\n").replace('\r', "\n");
    before.matches('\n').count() as u64 + 1
}

proptest! {
    #[test]
    fn lines_are_those_that_an_editor_shows(
        rows in proptest::collection::vec((cell(), cell(), 0..3usize, 0..4usize), 1..12),
        ends in proptest::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 12),
        has_last_end in any::<bool>(),
        buffer in 1..40usize,
    ) {
        let mut file = format!("id,text,more,labels{}", ends[0]);
        let mut expect = Vec::new();
        for (number, ((text, written), (_, more), end, n_blank)) in rows.iter().enumerate() {
            let start = file.len();
            file += &format!("\"{number}\",{written},{more},x");
            expect.push((start, file.len(), number.to_string(), text.clone()));
            file += ends[*end];
            file += &ends[number].repeat(*n_blank);
        }
        if !has_last_end {
            file.truncate(expect.last().unwrap().1);
        }
        let expect: Vec<_> = expect
            .into_iter()
            .map(|(start, end, key, text)| (line_of(&file, start), line_of(&file, end), key, text))
            .collect();
        let bytes = Chunks { bytes: file.clone().into_bytes(), at: 0, n: buffer };
        let format = Some(InputFormat::Csv);
        let options = ReadOptions { format, ..ReadOptions::default() };
        let found: Vec<_> = Documents::from_reader("d", bytes, &options)
            .unwrap()
            .map(Result::unwrap)
            .map(|document| (document.line, document.last_line, document.key, document.text))
            .collect();
        prop_assert_eq!(found, expect, "{:?}", file);
    }
}

proptest! {
    #[test]
    fn rows_without_a_misplaced_quote_are_those_of_the_csv_crate(
        parts in proptest::collection::vec(
            prop_oneof![Just("a"), Just(","), Just("\"b\""), Just("\"\"\"c,\n\"\"\""), Just("\n"), Just("\r\n")],
            0..40,
        ),
    ) {
        let file = parts.concat();
        let mut reader = RowReader::new(Box::new(std::io::Cursor::new(file.clone())), 1 << 20);
        let (mut row, mut found) = (Row::default(), Vec::new());
        let mut is_sound = true;
        loop {
            match reader.read(&mut row) {
                Ok(true) => found.push(row.cells().map(<[u8]>::to_vec).collect::<Vec<_>>()),
                Ok(false) => break,
                Err(_) => { is_sound = false; break }
            }
        }
        let mut builder = csv::ReaderBuilder::new();
        let reader = builder.has_headers(false).flexible(true).from_reader(file.as_bytes());
        let expect: Vec<Vec<Vec<u8>>> = reader
            .into_byte_records()
            .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
            .collect();
        prop_assert!(!is_sound || found == expect, "{:?}: {:?}", file, found);
    }
}

/// Returns the lines, counted from 1, with something on them.
fn filled_lines(text: &str) -> impl Iterator<Item = u64> {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let filled = |(number, line): (usize, &str)| (!line.is_empty()).then_some(number as u64 + 1);
    lines.split('\n').enumerate().filter_map(filled).collect::<Vec<_>>().into_iter()
}

proptest! {
    #[test]
    fn every_line_is_part_of_a_document_or_of_an_error(
        parts in proptest::collection::vec(
            prop_oneof![Just("a"), Just(","), Just("\""), Just("\n"), Just("\r"), Just("\r\n"), Just("1,b,c\n")],
            0..60,
        ),
        buffer in 1..9usize,
    ) {
        let file = format!("id,text,labels\n{}", parts.concat());
        let bytes = Chunks { bytes: file.clone().into_bytes(), at: 0, n: buffer };
        let options = ReadOptions { format: Some(InputFormat::Csv), ..ReadOptions::default() };
        let outcomes: Vec<_> = Documents::from_reader("d", bytes, &options).unwrap().collect();
        let mut covered = vec![(1, 1)];
        for outcome in &outcomes {
            let behind = covered.last().unwrap().1;
            let (line, rows) = match outcome {
                Ok(document) => (document.line, (document.line, document.last_line)),
                // An error may name a line within its row.
                Err(ReadError { line: Some(line), last_line: Some(last), .. }) => {
                    (*line, (behind + 1, *last))
                }
                Err(_) => continue,
            };
            prop_assert!(behind < line && line <= rows.1, "{:?}", file);
            covered.push(rows);
        }
        for line in filled_lines(&file) {
            let is_in = |(first, last): &(u64, u64)| (*first..=*last).contains(&line);
            prop_assert!(covered.iter().any(is_in), "{:?} line {}", file, line);
        }
    }
}

/// Hands out a few bytes at a time.
struct Chunks {
    bytes: Vec<u8>,
    at: usize,
    n: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.n.min(buffer.len()).min(self.bytes.len() - self.at);
        buffer[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

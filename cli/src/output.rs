//! Results on standard output: tables for people, JSON for programs.
//!
//! Keys, texts, labels and file names are others' words. What a terminal would obey, or hide, is shown
//! by its number, such as `\u{1b}`: in whatever is printed for people, and in errors and logs.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, TableStyle};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::args::Format;

/// Standard output could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written to")]
pub(crate) struct WriteError(#[source] pub(crate) io::Error);

/// A result that can be printed both ways.
pub(crate) trait Report: Serialize {
    /// Writes it for people, in at most 100 columns.
    fn to_text(&self) -> String;
}

/// The detail in which tags are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Tags,
    Explained,
}

impl Detail {
    pub(crate) fn explained(is_asked_for: bool) -> Self {
        if is_asked_for { Detail::Explained } else { Detail::Tags }
    }
}

/// Prints a result.
pub(crate) fn print(format: Format, report: &impl Report) -> Result<(), WriteError> {
    match format {
        Format::Table => print_text(&report.to_text()),
        Format::Json => print_json_line(&mut io::stdout().lock(), report),
    }
}

/// Prints text for people, without spaces at the ends of its lines.
fn print_text(text: &str) -> Result<(), WriteError> {
    // Tables fill their cells up with spaces.
    let lines: Vec<_> = text.trim_end().split('\n').map(|line| inline(line.trim_end())).collect();
    print_script(&lines.join("\n"))
}

/// Prints text as it is, for a program that reads it.
pub(crate) fn print_script(text: &str) -> Result<(), WriteError> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{}", text.trim_end());
    written.and_then(|()| stdout.flush()).map_err(WriteError)
}

/// Writes a value as one line of JSON, in which no character is one that a terminal obeys.
pub(crate) fn print_json_line(
    writer: &mut impl Write,
    value: &impl Serialize,
) -> Result<(), WriteError> {
    let mut line = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut line, VisibleJson(CompactFormatter));
    value.serialize(&mut serializer).expect("our own types have string keys only");
    line.push(b'\n');
    writer.write_all(&line).and_then(|()| writer.flush()).map_err(WriteError)
}

/// Escapes in strings what JSON does not escape by itself.
struct VisibleJson(CompactFormatter);

impl Formatter for VisibleJson {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hidden) {
            self.0.write_string_fragment(writer, &rest[..at])?;
            let hidden = rest[at..].chars().next().expect("it was found there");
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        self.0.write_string_fragment(writer, rest)
    }
}

/// Returns a text on one line, with everything visible that a terminal would obey or hide.
pub(crate) fn inline(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_hidden(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Returns a path as [`inline`] shows it.
pub(crate) fn path(path: &Path) -> String {
    inline(&path.to_string_lossy()).into_owned()
}

/// Returns a message as [`inline`] does, but for its line breaks: what follows one is indented, so
/// that no name with a line break can pass for another message.
pub(crate) fn message(text: &str) -> String {
    let text = cut(text, MESSAGE);
    let lines: Vec<_> = text.trim_end().split('\n').map(|line| inline(line.trim_end())).collect();
    lines.join("\n  ")
}

/// The most characters of a message; a key may have any number of them.
const MESSAGE: usize = 4000;

/// Returns the first `n` characters of a text, and says where there were more.
pub(crate) fn cut(text: &str, n: usize) -> Cow<'_, str> {
    match text.char_indices().nth(n) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// Tells whether a terminal obeys a character, or shows nothing of it: control characters, line and
/// paragraph separators, what changes the direction of writing, what has no width.
///
/// The joiners U+200C and U+200D are letters' parts in Persian and in scripts of India, and in emoji.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A table for people; its cells are shown as [`inline`] shows them.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// Adds a row.
    pub(crate) fn add_row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.add_row(cells.into_iter().map(|cell| inline(cell.as_ref()).into_owned()));
    }

    /// Lets a column, counted from 0, begin at its left.
    pub(crate) fn align_left(&mut self, number: usize) {
        if let Some(column) = self.0.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Makes an empty table with a header; the columns after the first `n_texts` are numbers.
pub(crate) fn table(header: &[&str], n_texts: usize) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(100);
    table.set_header(header.iter().map(|cell| inline(cell).into_owned()));
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if number >= n_texts {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Table(table)
}

/// Cuts a text to `n` characters on one line, shown as [`inline`] shows it.
pub(crate) fn shorten(text: &str, n: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let space = if line.is_empty() { "" } else { " " };
        line.extend(space.chars().chain(word.chars().take(n + 1)));
        if line.chars().nth(n).is_some() {
            break;
        }
    }
    let line = inline(&line).into_owned();
    match line.char_indices().nth(n) {
        None => line,
        Some(_) => {
            let kept: String = line.chars().take(n.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character of each kind that a terminal obeys or hides.
    const HIDDEN: &str = "\0\x07\x08\t\n\r\x1b\x7f\u{85}\u{9b}\u{9d}\u{ad}\u{61c}\u{200b}\u{200e}\
        \u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{fffb}\u{e0041}";

    #[test]
    fn long_texts_are_cut_and_stand_on_one_line() {
        assert_eq!(shorten("a\n  b", 10), "a b");
        assert_eq!(shorten("äöüäöü", 6), "äöüäöü");
        assert_eq!(shorten("äöüäöüß", 6), "äöüäö…");
        assert_eq!(shorten("a \x1b[2J b", 20), "a \\u{1b}[2J b");
        assert_eq!(shorten(&"ab ".repeat(1 << 20), 5), "ab a…");
        assert_eq!(shorten("abcde ", 5), "abcde");
        assert_eq!(shorten(" ", 5), "");
    }

    #[test]
    fn no_hidden_character_is_printed() {
        for hidden in HIDDEN.chars() {
            let text = format!("a{hidden}b");
            for shown in [inline(&text).into_owned(), shorten(&text, 50), message(&text)] {
                let is_seen = |c: char| !is_hidden(c) || (c == '\n' && hidden == '\n');
                assert!(shown.chars().all(is_seen), "{shown:?}");
                assert!(shown.starts_with('a') && shown.ends_with('b') && shown.len() > 2);
            }
        }
        assert_eq!(inline("a\x1b[31m\n\u{202e}b"), "a\\u{1b}[31m\\n\\u{202e}b");
    }

    #[test]
    fn letters_of_every_script_stay_as_they_are() {
        for text in
            ["straße", "日本語", "می\u{200c}خواهم", "👩\u{200d}👩", "e\u{301}", r"a\b\u{1b}"]
        {
            assert_eq!(inline(text), text);
        }
    }

    #[test]
    fn a_line_break_in_a_name_makes_no_other_message() {
        assert_eq!(message("a\nerror: b\n"), "a\n  error: b");
        assert_eq!(message(&"x".repeat(1 << 20)).chars().count(), MESSAGE + 1);
    }

    #[test]
    fn json_hides_nothing_and_reads_the_same() {
        let mut line = Vec::new();
        let value = serde_json::json!({ HIDDEN: [HIDDEN, "日本語 \"quoted\" \\ /"] });
        print_json_line(&mut line, &value).unwrap();
        let text = String::from_utf8(line).unwrap();
        assert!(text.trim_end().chars().all(|character| !is_hidden(character)), "{text:?}");
        assert!(text.contains("日本語"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn cells_and_headers_of_tables_are_visible() {
        let mut table = table(&["a\x1b", "n"], 1);
        table.add_row([HIDDEN, "1"]);
        let text = table.to_string();
        assert!(
            text.chars().all(|character| character == '\n' || !is_hidden(character)),
            "{text:?}"
        );
    }
}

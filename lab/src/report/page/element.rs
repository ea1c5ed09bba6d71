//! The elements that the page is made of.

use std::fmt::Write;

use crate::report::table::Table;

/// Makes text that HTML shows as it is.
pub(super) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            // What no page may hold.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' => shown.push('\u{fffd}'),
            _ => shown.push(character),
        }
    }
    shown
}

/// Writes what a reader has to know, if anything.
pub(super) fn notes(notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let items: String = notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
    format!("<ul class=\"notes\">{items}</ul>\n")
}

/// Writes a table with its title; nothing where it has no row.
pub(super) fn table(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let mut text = format!("<h4>{}</h4>\n", escape(&table.title));
    if !table.note.is_empty() {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", escape(&table.note));
    }
    text + &format!("<div class=\"scroll\"><table>{}</table></div>\n", cells(table, Head::Plain))
}

/// Writes a long table that can be sorted and searched.
pub(super) fn long_table(id: &str, table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    format!(
        "<h4>{}</h4>\n<p class=\"note\">{}</p>\n\
         <input type=\"search\" data-filters=\"{id}\" placeholder=\"Search\" aria-label=\"Search the table\">\n\
         <div class=\"tall\"><table class=\"sortable\" id=\"{id}\">{}</table></div>\n",
        escape(&table.title),
        escape(&table.note),
        cells(table, Head::Sortable)
    )
}

/// Writes a figure's numbers, folded.
pub(super) fn folded(table: &Table) -> String {
    format!(
        "<details><summary>{}</summary><div class=\"scroll\"><table>{}</table></div></details>\n",
        escape(&table.title),
        cells(table, Head::Plain)
    )
}

/// Whether a table's column names are pressed to sort it.
#[derive(Clone, Copy)]
enum Head {
    Plain,
    Sortable,
}

fn cells(table: &Table, head: Head) -> String {
    let class = |column| if column < table.n_texts { "" } else { " class=\"number\"" };
    let mut text = "<thead><tr>".to_owned();
    for (column, name) in table.header.iter().enumerate() {
        let name = match head {
            Head::Plain => escape(name),
            Head::Sortable => format!("<button type=\"button\">{}</button>", escape(name)),
        };
        let _ = write!(text, "<th scope=\"col\"{}>{name}</th>", class(column));
    }
    text += "</tr></thead><tbody>\n";
    for row in &table.rows {
        text += "<tr>";
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(text, "<td{}>{}</td>", class(column), escape(cell));
        }
        text += "</tr>\n";
    }
    text + "</tbody>"
}

/// Writes a figure: title, legend, words on how to read it, plots, and its numbers, folded.
pub(super) fn figure(
    title: &str,
    legend: &str,
    words: &str,
    plots: &[String],
    rest: &str,
) -> String {
    format!(
        "<figure>\n<figcaption><strong>{}</strong>{legend}<p>{}</p></figcaption>\n\
         <div class=\"plots\">{}</div>\n{rest}</figure>\n",
        escape(title),
        escape(words),
        plots.concat()
    )
}

/// Writes a plot with a title of its own.
pub(super) fn plot(title: &str, svg: &str) -> String {
    let title =
        if title.is_empty() { String::new() } else { format!("<h5>{}</h5>", escape(title)) };
    format!("<div>{title}{svg}</div>\n")
}

/// The markers of a legend, as the figures have them.
#[derive(Clone, Copy)]
pub(super) enum Key {
    /// The line of the series at this position, with its marker.
    Line(usize),
    /// The line on which score and share agree.
    Diagonal,
    /// A neighbor that shares so many labels.
    Shared(usize),
    /// The text itself.
    Text,
}

/// Writes a legend.
pub(super) fn legend(entries: &[(Key, String)]) -> String {
    let entry = |(key, name): &(Key, String)| format!("<li>{}{}</li>", drawn(*key), escape(name));
    format!("<ul class=\"legend\">{}</ul>", entries.iter().map(entry).collect::<String>())
}

const BLUE: &str = "#1F5FA8";
const ORANGE: &str = "#C2410C";
const GREEN: &str = "#15803D";
const INK: &str = "#1A1A1A";

fn drawn(key: Key) -> String {
    let line = |ink: &str, dashes: &str| {
        format!(
            "<path d=\"M1 8H43\" stroke=\"{ink}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
        )
    };
    let circle = |ink: &str| format!("<circle cx=\"22\" cy=\"8\" r=\"5\" fill=\"{ink}\"/>");
    let triangle = |ink: &str| format!("<path d=\"M22 1L28.5 13H15.5Z\" fill=\"{ink}\"/>");
    let cross = |ink: &str| {
        format!("<path d=\"M17 3L27 13M27 3L17 13\" stroke=\"{ink}\" stroke-width=\"2\"/>")
    };
    let shape = match key {
        Key::Line(0) => line(BLUE, "") + &circle(BLUE),
        Key::Line(1) => line(ORANGE, "9 5") + &triangle(ORANGE),
        Key::Line(_) => line(GREEN, "2 4") + &cross(GREEN),
        Key::Diagonal => line(INK, "3 5"),
        Key::Shared(0) => {
            format!("<circle cx=\"22\" cy=\"8\" r=\"5\" fill=\"none\" stroke=\"{INK}\"/>")
        }
        Key::Shared(1) => cross(ORANGE),
        Key::Shared(2) => triangle(GREEN),
        Key::Shared(_) => circle(BLUE),
        Key::Text => format!(
            "<path d=\"M22 0L23.9 5.4L29.6 5.5L25 9L26.7 14.5L22 11.2L17.3 14.5L19 9L14.4 5.5L20.1 5.4Z\" fill=\"{INK}\"/>"
        ),
    };
    format!(
        "<svg width=\"44\" height=\"16\" viewBox=\"0 0 44 16\" aria-hidden=\"true\">{shape}</svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let text = "<script>alert('x')</script> & \"q\" \u{1}";
        let expect = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot; \u{fffd}";
        assert_eq!(escape(text), expect);
    }
}

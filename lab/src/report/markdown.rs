//! The tables as Markdown, for a page kept with the code.

use std::fmt::Write;

use crate::numbers::{DataNumbers, ModelNumbers, Numbers};
use crate::report::table::{self, Table};

/// Renders every data set's tables, between marker lines by which [`into_markdown`] finds them.
pub fn markdown(numbers: &Numbers) -> String {
    numbers.data_sets.iter().map(|data| format!("{}\n", section(data))).collect()
}

/// Replaces every data set's tables in a page, or appends them.
pub fn into_markdown(page: &str, numbers: &Numbers) -> String {
    let mut page = page.to_owned();
    for data in &numbers.data_sets {
        let (begin, end) = markers(&data.name);
        let found = page.find(&begin).and_then(|from| {
            let length = page[from..].find(&end)?;
            Some(from..from + length + end.len())
        });
        match found {
            Some(place) => page.replace_range(place, section(data).trim_end()),
            None => {
                if !page.is_empty() {
                    page = format!("{}\n\n", page.trim_end());
                }
                page += &section(data);
            }
        }
    }
    page
}

fn markers(name: &str) -> (String, String) {
    // A comment may not hold two hyphens.
    let name = name.replace("--", "- -");
    (format!("<!-- tables of {name} -->"), format!("<!-- end of {name} -->"))
}

fn section(data: &DataNumbers) -> String {
    let (begin, end) = markers(&data.name);
    let mut text = format!("{begin}\n");
    let _ = writeln!(text, "\n{}\n", table::sizes(data));
    for note in &data.notes {
        let _ = writeln!(text, "- {}", cell(note));
    }
    for table in table::systems(data) {
        text += &render(&table);
    }
    for model in &data.models {
        text += &model_section(model, &data.measured.0);
    }
    format!("{}\n\n{end}\n", text.trim_end())
}

fn model_section(model: &ModelNumbers, measured: &str) -> String {
    let (planned, done) = model.runs;
    let mut text = format!("\n### --model {}\n", cell(&model.name));
    if done < planned {
        let _ = writeln!(text, "\n{done} of {planned} runs are done.");
    }
    let tables = [
        table::comparisons(model, measured),
        table::coefficient(model),
        table::shared(model),
        table::costs(model),
    ];
    for table in tables.iter().filter(|table| !table.rows.is_empty()) {
        text += &render(table);
    }
    for (title, name, curves) in [
        ("Figure 2: micro-F1 against k", "k", &model.by_k),
        ("Figure 2: micro-F1 against lambda", "lambda", &model.by_lambda),
        ("Figure 4: micro-F1 against gamma", "gamma", &model.by_gamma),
    ] {
        if !curves.curves.is_empty() {
            text += &render(&Table { title: title.to_owned(), ..table::curves(name, curves) });
        }
    }
    if let Some(details) = model.details.as_ref().filter(|details| !details.by_frequency.is_empty())
    {
        let title = "Micro-F1 by the number of training texts that have a label".to_owned();
        let note = format!("{}.", details.run);
        text += &render(&Table { title, note, ..table::frequencies(details) });
    }
    text
}

fn render(table: &Table) -> String {
    let mut text = format!("\n**{}**\n", cell(&table.title));
    if !table.note.is_empty() {
        let _ = writeln!(text, "\n{}", cell(&table.note));
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text += "\n";
    text += &line(table.header.iter().map(|name| cell(name)).collect());
    let rule = |column| if column < table.n_texts { "---" } else { "---:" }.to_owned();
    text += &line((0..table.header.len()).map(rule).collect());
    for row in &table.rows {
        text += &line(row.iter().map(|text| cell(text)).collect());
    }
    text
}

/// Escapes a text for a Markdown cell, on one line.
fn cell(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => shown.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '<' | '[' => shown.extend(['\\', character]),
            _ => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(name: &str, n_train: usize) -> Numbers {
        let data = DataNumbers {
            name: name.to_owned(),
            digest: String::new(),
            n_train,
            n_dev: 2,
            measured: ("test".to_owned(), 3),
            n_labels: 4,
            labels_per_text: 1.5,
            notes: vec!["a | b".to_owned()],
            linear: vec![],
            models: vec![],
        };
        Numbers { version: "1".to_owned(), notes: vec![], data_sets: vec![data] }
    }

    #[test]
    fn tables_take_the_place_of_older_ones() {
        let page = into_markdown("# Results\n\nWords.\n", &numbers("x", 10));
        assert!(page.starts_with("# Results\n\nWords.\n\n<!-- tables of x -->"), "{page}");
        let page = into_markdown(&format!("{page}\nMore words.\n"), &numbers("y", 5));
        let page = into_markdown(&page, &numbers("x", 20));
        assert!(page.contains("20 texts to learn from") && !page.contains("10 texts"), "{page}");
        assert!(page.contains("More words.") && page.contains("5 texts to learn from"));
        assert_eq!(into_markdown(&page, &numbers("x", 20)), page, "the same tables, the same page");
        assert_eq!(page.matches("<!-- tables of").count(), 2);
    }

    #[test]
    fn what_markdown_would_read_is_escaped() {
        assert_eq!(cell("a|b_c\nd<e"), "a\\|b\\_c d\\<e");
        assert!(markdown(&numbers("x", 1)).contains("- a \\| b"));
    }
}

//! The report as one page that needs nothing else.

mod element;
mod model;

use std::fmt::Write;

use crate::Result;
use crate::numbers::{DataNumbers, Numbers};
use crate::report::table;

use element::{escape, notes, table as table_element};

const TEMPLATE: &str = include_str!("page.html");

/// Writes the report as one HTML page: figures, style and script are in it, and it asks for nothing
/// from the network.
///
/// # Errors
///
/// [`LabError::Figure`](crate::LabError::Figure) when a figure cannot be drawn.
pub fn html(numbers: &Numbers) -> Result<String> {
    let names: Vec<&str> = numbers.data_sets.iter().map(|data| data.name.as_str()).collect();
    let title = format!("autotag on {}", names.join(", "));
    let mut body = format!("<header>\n<h1>{}</h1>\n", escape(&title));
    body += "<p class=\"soft\">Tagging by a model's scores interpolated with the votes of the nearest \
             labelled texts, and what the contrastive loss (CL) adds. Tables and figures bear the \
             numbers of the paper's, \"Contrastive Learning-Enhanced Nearest Neighbor Mechanism for \
             Multi-Label Text Classification\" (ACL 2022).</p>\n";
    body += &notes(&numbers.notes);
    body += &contents(numbers);
    body += "</header>\n<main>\n";
    for (number, data) in numbers.data_sets.iter().enumerate() {
        body += &data_set(number, data)?;
    }
    let _ = write!(
        body,
        "</main>\n<footer class=\"soft\">Made by autotag {} from runs on this data; no figure is of \
         another source.</footer>",
        escape(&numbers.version)
    );
    let (start, rest) = TEMPLATE.split_once("{{title}}").unwrap_or((TEMPLATE, ""));
    let (head, end) = rest.split_once("{{body}}").unwrap_or((rest, ""));
    Ok([start, &escape(&title), head, &body, end].concat())
}

/// Returns the anchor of a data set, or of one of its models.
fn anchor(data: usize, model: Option<usize>) -> String {
    model.map_or_else(|| format!("data-{data}"), |model| format!("data-{data}-model-{model}"))
}

fn contents(numbers: &Numbers) -> String {
    let mut list = String::new();
    for (number, data) in numbers.data_sets.iter().enumerate() {
        let mut link = |anchor: String, name: &str| {
            let _ = write!(list, "<li><a href=\"#{anchor}\">{}</a></li>", escape(name));
        };
        link(anchor(number, None), &data.name);
        for (model_number, model) in data.models.iter().enumerate() {
            link(anchor(number, Some(model_number)), &format!("{}: {}", data.name, model.name));
        }
    }
    format!("<nav aria-label=\"Contents\"><ul>{list}</ul></nav>\n")
}

fn data_set(number: usize, data: &DataNumbers) -> Result<String> {
    let DataNumbers { n_train, n_dev, n_labels, labels_per_text, .. } = data;
    let (part, n_measured) = &data.measured;
    let mut text = format!(
        "<section>\n<h2 id=\"{}\">{}</h2>\n<p>{n_train} texts to learn from, {n_dev} dev; the figures \
         are of {n_measured} texts ({part}). {n_labels} labels, {labels_per_text:.1} per text.</p>\n",
        anchor(number, None),
        escape(&data.name)
    );
    text += &notes(&data.notes);
    for table in table::systems(data) {
        text += &table_element(&table);
    }
    for (model_number, model) in data.models.iter().enumerate() {
        text += &model::section(&anchor(number, Some(model_number)), data, model)?;
    }
    text += "</section>\n";
    Ok(text)
}

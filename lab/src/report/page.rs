//! The report as one self-contained HTML page.

mod element;
mod model;

use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

use crate::Result;
use crate::numbers::{DataNumbers, Numbers};
use crate::report::table;

const STYLE: PreEscaped<&str> = PreEscaped(include_str!("page/page.css"));
const SCRIPT: PreEscaped<&str> = PreEscaped(include_str!("page/page.js"));

/// Renders the report as one HTML page with figures, style and script inside; it loads nothing from
/// the network.
///
/// # Errors
///
/// [`LabError::Figure`](crate::LabError::Figure) when a figure cannot be drawn.
pub fn html(numbers: &Numbers) -> Result<String> {
    let names: Vec<&str> = numbers.data_sets.iter().map(|data| data.name.as_str()).collect();
    let title = format!("autotag on {}", names.join(", "));
    let data_sets: Vec<Markup> =
        numbers.data_sets.iter().enumerate().map(data_set).collect::<Result<_>>()?;
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (STYLE) }
            }
            body {
                header {
                    h1 { (title) }
                    p.soft {
                        "Tagging by a model's scores interpolated with the votes of the nearest labeled \
                         texts, and what the contrastive loss (CL) adds. Tables and figures bear the \
                         numbers of the paper's, \"Contrastive Learning-Enhanced Nearest Neighbor \
                         Mechanism for Multi-Label Text Classification\" (ACL 2022)."
                    }
                    (element::notes(&numbers.notes))
                    (contents(numbers))
                }
                main { @for data_set in data_sets { (data_set) } }
                footer.soft {
                    "Made by autotag " (numbers.version) " from runs on this data; no figure is of \
                     another source."
                }
                script { (SCRIPT) }
            }
        }
    };
    Ok(page.into_string().replace(is_forbidden, "\u{fffd}"))
}

/// Tells whether HTML forbids a control character, which a text of the data may hold.
fn is_forbidden(character: char) -> bool {
    character.is_ascii_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{7f}')
}

/// Returns the anchor of a data set, or of one of its models.
fn anchor(data: usize, model: Option<usize>) -> String {
    model.map_or_else(|| format!("data-{data}"), |model| format!("data-{data}-model-{model}"))
}

fn contents(numbers: &Numbers) -> Markup {
    markup! {
        nav aria-label="Contents" {
            ul {
                @for (number, data) in numbers.data_sets.iter().enumerate() {
                    li { a href={ "#" (anchor(number, None)) } { (data.name) } }
                    @for (model_number, model) in data.models.iter().enumerate() {
                        li {
                            a href={ "#" (anchor(number, Some(model_number))) } {
                                (data.name) ": " (model.name)
                            }
                        }
                    }
                }
            }
        }
    }
}

fn data_set((number, data): (usize, &DataNumbers)) -> Result<Markup> {
    let models = data.models.iter().enumerate().map(|(model_number, model)| {
        model::section(&anchor(number, Some(model_number)), data, model)
    });
    let models = models.collect::<Result<Vec<_>>>()?;
    Ok(markup! {
        section {
            h2 id=(anchor(number, None)) { (data.name) }
            p { (table::sizes(data)) }
            (element::notes(&data.notes))
            @for table in table::systems(data) { (element::table(&table)) }
            @for model in models { (model) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let text = "<script>alert('x')</script> & \"q\" \u{1}";
        let numbers = Numbers { version: text.to_owned(), notes: vec![], data_sets: vec![] };
        let expect = "&lt;script&gt;alert('x')&lt;/script&gt; &amp; &quot;q&quot; \u{fffd}";
        assert!(html(&numbers).unwrap().contains(expect));
    }
}

//! The elements that the page is made of.

use maud::{Markup, PreEscaped, html};

use crate::report::table::Table;

/// Renders notes to the reader, if any.
pub(super) fn notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            ul.notes { @for note in notes { li { (note) } } }
        }
    }
}

/// Renders a table with its title; nothing where it has no row.
pub(super) fn table(table: &Table) -> Markup {
    html! {
        @if !table.rows.is_empty() {
            h4 { (table.title) }
            @if !table.note.is_empty() { p.note { (table.note) } }
            div.scroll { table { (cells(table, Head::Plain)) } }
        }
    }
}

/// Renders a long table that can be sorted and searched.
pub(super) fn long_table(id: &str, table: &Table) -> Markup {
    html! {
        @if !table.rows.is_empty() {
            h4 { (table.title) }
            p.note { (table.note) }
            input type="search" data-filters=(id) placeholder="Search" aria-label="Search the table";
            div.tall { table.sortable #(id) { (cells(table, Head::Sortable)) } }
        }
    }
}

/// Renders a figure's numbers, folded.
pub(super) fn folded(table: &Table) -> Markup {
    html! {
        details {
            summary { (table.title) }
            div.scroll { table { (cells(table, Head::Plain)) } }
        }
    }
}

/// The kind of a table's head: plain names, or buttons that sort the table.
#[derive(Clone, Copy, PartialEq)]
enum Head {
    Plain,
    Sortable,
}

fn cells(table: &Table, head: Head) -> Markup {
    let class = |column| (column >= table.n_texts).then_some("number");
    html! {
        thead {
            tr {
                @for (column, name) in table.header.iter().enumerate() {
                    th scope="col" class=[class(column)] {
                        @if head == Head::Sortable { button type="button" { (name) } }
                        @else { (name) }
                    }
                }
            }
        }
        tbody {
            @for row in &table.rows {
                tr {
                    @for (column, cell) in row.iter().enumerate() {
                        td class=[class(column)] { (cell) }
                    }
                }
            }
        }
    }
}

/// Renders a figure: title, legend, explanation, plots, and its numbers, folded.
pub(super) fn figure(
    title: &str,
    legend: Markup,
    explanation: &str,
    plots: &[Markup],
    numbers: Markup,
) -> Markup {
    html! {
        figure {
            figcaption { strong { (title) } (legend) p { (explanation) } }
            div.plots { @for plot in plots { (plot) } }
            (numbers)
        }
    }
}

/// Renders a plot, with a title of its own where it has one.
pub(super) fn plot(title: &str, svg: String) -> Markup {
    html! {
        div {
            @if !title.is_empty() { h5 { (title) } }
            (PreEscaped(svg))
        }
    }
}

/// A marker of a legend, drawn as in the figures.
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

/// Renders a legend.
pub(super) fn legend(entries: &[(Key, String)]) -> Markup {
    html! {
        ul.legend { @for (key, name) in entries { li { (marker(*key)) (name) } } }
    }
}

const BLUE: &str = "#1F5FA8";
const ORANGE: &str = "#C2410C";
const GREEN: &str = "#15803D";
const INK: &str = "#1A1A1A";

fn marker(key: Key) -> Markup {
    let line = |ink: &str, dashes: &str| {
        html! { path d="M1 8H43" stroke=(ink) stroke-width="2" stroke-dasharray=(dashes) {} }
    };
    let circle = |ink: &str| html! { circle cx="22" cy="8" r="5" fill=(ink) {} };
    let triangle = |ink: &str| html! { path d="M22 1L28.5 13H15.5Z" fill=(ink) {} };
    let cross = |ink: &str| {
        html! { path d="M17 3L27 13M27 3L17 13" stroke=(ink) stroke-width="2" {} }
    };
    let shape = match key {
        Key::Line(0) => html! { (line(BLUE, "")) (circle(BLUE)) },
        Key::Line(1) => html! { (line(ORANGE, "9 5")) (triangle(ORANGE)) },
        Key::Line(_) => html! { (line(GREEN, "2 4")) (cross(GREEN)) },
        Key::Diagonal => line(INK, "3 5"),
        Key::Shared(0) => html! { circle cx="22" cy="8" r="5" fill="none" stroke=(INK) {} },
        Key::Shared(1) => cross(ORANGE),
        Key::Shared(2) => triangle(GREEN),
        Key::Shared(_) => circle(BLUE),
        Key::Text => html! {
            path d="M22 0L23.9 5.4L29.6 5.5L25 9L26.7 14.5L22 11.2L17.3 14.5L19 9L14.4 5.5L20.1 5.4Z"
                fill=(INK) {}
        },
    };
    html! { svg width="44" height="16" viewBox="0 0 44 16" aria-hidden="true" { (shape) } }
}

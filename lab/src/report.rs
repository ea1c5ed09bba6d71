//! The report: one HTML page with tables and figures, and the same tables as Markdown.

mod markdown;
mod page;
mod plot;
mod table;

pub use markdown::{into_markdown, markdown};
pub use page::html;

//! The report: one page with tables and figures, the same tables as Markdown, the numbers as JSON.

mod markdown;
mod page;
mod plot;
mod table;

pub use markdown::{into_markdown, markdown};
pub use page::html;

//! The report: one HTML page with tables and figures, and the same tables as Markdown; and a plot of quality
//! against speed.

mod log_axis;
mod markdown;
mod page;
mod placement;
mod plot;
mod speed;
mod table;

pub use markdown::{into_markdown, markdown};
pub use page::html;
pub use speed::{SpeedPoint, TaggerKind, read_speed_points, speed_plot};

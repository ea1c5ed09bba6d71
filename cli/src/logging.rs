//! Logs on standard error, above the progress bars.

use std::fmt::Debug;
use std::io::{self, Write};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::args::Common;
use crate::output::{cut, inline};
use crate::progress;

/// Installs the subscriber for all of the program's threads.
pub(crate) fn install(common: &Common) {
    let filter = EnvFilter::try_from_env("AUTOTAG_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new(levels(common))))
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_writer(AboveBars)
        .with_ansi(progress::is_terminal())
        .with_target(false)
        .without_time()
        .init();
}

/// The most characters of a field; a key may have any number of them.
const LENGTH: usize = 4000;

/// Writes a field as the subscriber does, but with everything visible that a terminal would obey.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    let value = cut(&value, LENGTH);
    match field.name() {
        "message" => write!(writer, "{}", inline(&value)),
        name => write!(writer, "{name}={}", inline(&value)),
    }
}

fn levels(common: &Common) -> String {
    let (others, ours) = match (common.quiet, common.verbose) {
        (true, _) => ("off", "error"),
        (false, 0) => ("error", "info"),
        (false, 1) => ("warn", "debug"),
        (false, _) => ("debug", "trace"),
    };
    let crates = ["autotag", "autotag_onnx", "autotag_train", "tantivy_autotag"];
    let ours: Vec<String> = crates.iter().map(|name| format!("{name}={ours}")).collect();
    format!("{others},{}", ours.join(","))
}

/// Writes to standard error without tearing a progress bar apart.
#[derive(Clone, Copy)]
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::above_bars(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for AboveBars {
    type Writer = AboveBars;

    fn make_writer(&self) -> AboveBars {
        AboveBars
    }
}

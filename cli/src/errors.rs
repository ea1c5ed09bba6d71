//! Reports errors on standard error.

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};

use tantivy_autotag::plainly;

use crate::output::{inline, message};

/// A mistake in the command line that shows only when a command begins.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct UsageError {
    pub(crate) command: &'static str,
    pub(crate) problem: String,
}

impl UsageError {
    pub(crate) fn new(command: &'static str, problem: impl Into<String>) -> Self {
        UsageError { command, problem: problem.into() }
    }
}

/// Writes an error and its causes, a line for each.
pub(crate) fn report(error: &anyhow::Error) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    let mut said = plainly(error.as_ref());
    writeln!(stderr, "error: {}", message(&said))?;
    for cause in error.chain().skip(1).map(plainly) {
        // Some libraries repeat their cause in their own message.
        if !said.contains(cause.trim_end_matches('.')) {
            writeln!(stderr, "caused by: {}", message(&cause))?;
        }
        said = cause;
    }
    Ok(())
}

/// Ends the program as clap does.
pub(crate) fn exit(error: &clap::Error) -> ! {
    let is_plain = |arg: OsString| matches!(inline(&arg.to_string_lossy()), Cow::Borrowed(_));
    if env::args_os().all(is_plain) {
        // With colors, where the terminal has some.
        error.exit();
    }
    // Nobody is left to tell when standard error is closed too.
    let _ = writeln!(io::stderr(), "{}", message(&error.to_string()));
    std::process::exit(error.exit_code());
}

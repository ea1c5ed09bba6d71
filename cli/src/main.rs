//! Trains, evaluates and runs autotag from the command line.
//!
//! Data goes to standard output; progress and logs go to standard error. The exit code is 0 when
//! everything was done, 1 when something failed and 2 for wrong usage.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod commands;
mod errors;
mod logging;
mod output;
mod progress;
mod signals;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use args::Args;

#[allow(unsafe_code)]
fn main() -> ExitCode {
    // SAFETY: this is the program's first statement, nothing has started a thread.
    unsafe { autotag_onnx::runtime::disable_telemetry() };
    let args = Args::try_parse().unwrap_or_else(|error| errors::exit(&error));
    logging::install(&args.common);
    match commands::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed too.
            let _ = errors::report(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<output::WriteError>()
        .is_some_and(|output::WriteError(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

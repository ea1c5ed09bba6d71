//! The root command.

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::args::Common;
use crate::commands::{
    ablate, adopt, bundle, compare, completions, correct, eval, fetch, index, labels, migrate,
    plot, repair, report, retag, search, setup, tag, train, tune, verify,
};
use crate::errors::UsageError;
use crate::output::inline;

/// Tags texts with many labels each: a model's scores mixed with the votes of the nearest labeled
/// texts, while Tantivy indexes them.
#[derive(Debug, Parser)]
#[command(name = "autotag", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  autotag train --data train.jsonl --dev dev.jsonl --model cnn --out bundle
  autotag eval --bundle bundle --data test.jsonl --tune dev.jsonl
  autotag index --bundle bundle --index index --data documents.jsonl
  autotag search --index index --facets /topic 'engine oil'

Documents are JSON lines, {\"id\": \"1\", \"text\": \"...\", \"labels\": [\"a\", \"b\"]}, or CSV, plain or
gzip; `-` is standard input. `autotag COMMAND --help` tells more.";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // Boxed, since it has many times the options of the others.
    Train(Box<train::TrainArgs>),
    Eval(eval::EvalArgs),
    Ablate(Box<ablate::AblateArgs>),
    Report(report::ReportArgs),
    Compare(compare::CompareArgs),
    Plot(plot::PlotArgs),
    Tune(tune::TuneArgs),
    Index(index::IndexArgs),
    Adopt(adopt::AdoptArgs),
    Tag(tag::TagArgs),
    Search(search::SearchArgs),
    Correct(correct::CorrectArgs),
    Labels(labels::LabelsArgs),
    Retag(retag::RetagArgs),
    Migrate(migrate::MigrateArgs),
    Verify(verify::VerifyArgs),
    Repair(repair::RepairArgs),
    Bundle(bundle::BundleArgs),
    Model(fetch::ModelArgs),
    Setup(setup::SetupArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs the command that was given.
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
        Command::Plot(args) => plot::run(args, common),
        Command::Tune(args) => tune::run(args, common),
        Command::Index(args) => index::run(args, common),
        Command::Adopt(args) => adopt::run(args, common),
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
        Command::Setup(args) => setup::run(args, common),
        Command::Completions(args) => completions::run(args, Args::command()),
    }
}

/// Returns an error of a command as clap reports its own.
pub(crate) fn usage_error(UsageError { command, problem }: &UsageError) -> clap::Error {
    let mut program = Args::command();
    program.build();
    let command = program.find_subcommand_mut(command).expect("it is one of the commands");
    // clap would drop what a terminal obeys, and what follows it.
    command.error(ErrorKind::ValueValidation, inline(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}

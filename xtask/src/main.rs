//! The project's own commands: `cargo xtask setup`, `demo`, `storm`, `fixtures`, `api`,
//! `package` and `test`.

// A command-line program prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::path::PathBuf;
use std::process::ExitCode;

use demo::Options;
use setup::Build;
use storm::Storm;

mod api;
mod apt;
mod crates;
mod data;
mod dataset;
mod debtags;
mod demo;
mod explain;
mod package;
mod process;
mod setup;
mod storm;
mod test;
mod tour;
mod user_data;
mod wheel;

const USAGE: &str = "\
The project's own commands.

Usage: cargo xtask <COMMAND>

  setup [--gpu]
      Fetch ONNX Runtime with pip into the user's data folder; with --gpu the
      build for NVIDIA GPUs with the CUDA and cuDNN libraries
      (1.6 GB to download, 2.4 GB on disk).
      With ORT_DYLIB_PATH set nothing is fetched.

  demo [--data FILE.jsonl] [--out FOLDER] [--quick]
      Train a tagger, evaluate it, index and tag documents, search them by tag:
      on Debian's package descriptions, read through apt, or on the documents
      of FILE.jsonl, one {\"id\", \"text\", \"labels\"} per line. Everything lands in
      FOLDER (default: target/demo; with --data target/demo-FILE); a second run
      reuses what is there. --quick trains for two epochs only.

  storm [--kills N] [--rounds N] [--changes N]
      Kill N processes (default: 1000) at random instants while they write to one
      index; let many processes make, write, correct, move and repair one index at
      once, in N rounds (300); change the files of an index, a datastore, a bundle,
      a checkpoint and an embedding cache at random, N times each (600). Checks
      that nothing acknowledged is lost, nothing is half there, and damage is told.
      Prints what was survived.

  fixtures
      Replace the bundle and the index in tests/fixtures, which later versions
      must open, by new ones. Do so when their version is no longer read.

  api [--update]
      Compare the public API of every library with its snapshot in docs/api; with
      --update write the snapshots anew.

  package
      Make the archives that are published, then build and run a crate outside the
      workspace that depends on nothing else. Takes minutes.

  test
      Set up, then check format, lints, tests, doc tests, docs and the public API.

Examples:
  cargo xtask demo
  cargo xtask demo --data tickets.jsonl --out /tmp/tickets
";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Setup(Build),
    Demo(Options),
    Storm(Storm),
    Fixtures,
    /// Compares the snapshots of the public API.
    Api,
    /// Writes them anew.
    UpdateApi,
    Package,
    Test,
}

fn main() -> ExitCode {
    if let Some(result) = api::stand_in() {
        return exit_code(result);
    }
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    let task = match parse(args) {
        Ok(task) => task,
        Err(problem) => {
            eprintln!("error: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match task {
        Task::Help => {
            print!("{USAGE}");
            Ok(())
        }
        Task::Setup(build) => setup::onnxruntime(build),
        Task::Demo(options) => demo::run(&options),
        Task::Storm(storm) => storm.run(),
        Task::Fixtures => test::make_fixtures(),
        Task::Api => api::check(),
        Task::UpdateApi => api::update(),
        Task::Package => package::run(),
        Task::Test => test::run(),
    };
    exit_code(result)
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Parses the command line; the error names what is wrong.
fn parse(args: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut args = args.into_iter();
    let command = args.next().ok_or("no command given")?;
    let rest: Vec<String> = args.collect();
    if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(Task::Help);
    }
    match command.as_str() {
        "help" | "--help" | "-h" => Ok(Task::Help),
        "setup" => match rest.as_slice() {
            [] => Ok(Task::Setup(Build::Cpu)),
            [gpu] if gpu == "--gpu" => Ok(Task::Setup(Build::Gpu)),
            _ => Err(format!("setup takes --gpu or nothing, not {}", rest.join(" "))),
        },
        "demo" => parse_demo(rest).map(Task::Demo),
        "storm" => parse_storm(&rest).map(Task::Storm),
        "api" => match rest.as_slice() {
            [] => Ok(Task::Api),
            [update] if update == "--update" => Ok(Task::UpdateApi),
            _ => Err(format!("api takes --update or nothing, not {}", rest.join(" "))),
        },
        "package" if rest.is_empty() => Ok(Task::Package),
        "fixtures" if rest.is_empty() => Ok(Task::Fixtures),
        "test" if rest.is_empty() => Ok(Task::Test),
        "fixtures" | "package" | "test" => {
            Err(format!("{command} takes no options, not {}", rest.join(" ")))
        }
        _ => Err(format!("there is no command {command}")),
    }
}

fn parse_storm(args: &[String]) -> Result<Storm, String> {
    let mut storm = Storm::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, attached) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (arg.as_str(), None),
        };
        let count = match name {
            "--kills" => &mut storm.kills,
            "--rounds" => &mut storm.rounds,
            "--changes" => &mut storm.changes,
            _ => return Err(format!("storm has no option {arg}")),
        };
        let value = attached.or_else(|| args.next().map(String::as_str)).unwrap_or_default();
        let number = value.parse().ok().filter(|&number| number > 0);
        *count = number.ok_or_else(|| format!("{name} needs a number above 0, not {value:?}"))?;
    }
    Ok(storm)
}

fn parse_demo(args: Vec<String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (name, attached) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let mut path = || {
            let value = attached.clone().or_else(|| args.next());
            value.filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        match name {
            "--data" => options.data = Some(path().ok_or("--data needs a file")?),
            "--out" => options.out = Some(path().ok_or("--out needs a folder")?),
            "--quick" if attached.is_none() => options.quick = true,
            _ => return Err(format!("demo has no option {arg}")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn commands_and_their_options_are_read() {
        assert_eq!(parse_line("setup"), Ok(Task::Setup(Build::Cpu)));
        assert_eq!(parse_line("setup --gpu"), Ok(Task::Setup(Build::Gpu)));
        assert_eq!(parse_line("fixtures"), Ok(Task::Fixtures));
        assert_eq!(parse_line("test"), Ok(Task::Test));
        assert_eq!(parse_line("package"), Ok(Task::Package));
        assert_eq!(parse_line("api"), Ok(Task::Api));
        assert_eq!(parse_line("api --update"), Ok(Task::UpdateApi));
        assert_eq!(parse_line("storm"), Ok(Task::Storm(Storm::default())));
        let storm = Storm { kills: 20, rounds: 3, ..Storm::default() };
        assert_eq!(parse_line("storm --kills 20 --rounds=3"), Ok(Task::Storm(storm)));
        assert_eq!(parse_line("demo"), Ok(Task::Demo(Options::default())));
        let options = Options {
            data: Some(PathBuf::from("a.jsonl")),
            out: Some(PathBuf::from("b")),
            quick: true,
        };
        assert_eq!(parse_line("demo --data a.jsonl --quick --out=b"), Ok(Task::Demo(options)));
        assert_eq!(parse_line("demo --help"), Ok(Task::Help));
    }

    #[test]
    fn wrong_usage_is_named() {
        for (line, part) in [
            ("", "no command"),
            ("bild", "bild"),
            ("setup --cuda", "--cuda"),
            ("test now", "now"),
            ("api --all", "--all"),
            ("package now", "now"),
            ("fixtures out", "fixtures takes no options, not out"),
            ("storm --kills", "--kills"),
            ("storm --rounds 0", "0"),
            ("storm --changes=many", "many"),
            ("storm --days 3", "--days"),
            ("demo --data", "needs a file"),
            ("demo --out=", "needs a folder"),
            ("demo --quick=yes", "--quick=yes"),
            ("demo x", "x"),
        ] {
            let problem = parse_line(line).unwrap_err();
            assert!(problem.contains(part), "{problem} lacks {part}");
        }
    }
}

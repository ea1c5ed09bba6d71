//! Everything that must hold before a change lands.

use std::env;
use std::process::Command;

use anyhow::Result;

use crate::api;
use crate::process::{self, DEV_TARGET, FEATURES, Steps};
use crate::setup::{self, Build};

/// Runs all checks up to the first that fails, and prints how long each took.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    let result = run_steps(&mut steps);
    steps.print_times();
    result
}

/// The examples, each of which must run to its end.
const EXAMPLES: [&str; 4] = ["tag_on_ingest", "faceted_search", "without_a_model", "async_service"];

/// Makes the committed fixtures anew.
///
/// An ignored test does so, with the crates and features that all tests are built with: this program
/// depends on none of them, since set-up builds it first.
pub(crate) fn make_fixtures() -> Result<()> {
    setup::onnxruntime(Build::Cpu)?;
    let mut command = process::cargo();
    command.env("AUTOTAG_WRITE_FIXTURES", "1");
    command.args(["test", "--workspace", "--test", "suite"]).args(FEATURES);
    process::run(command.args(["--", "--ignored", "--exact", "fixtures::make::fixtures"]))
}

fn run_steps(steps: &mut Steps) -> Result<()> {
    steps.run("set-up", || setup::onnxruntime(Build::Cpu))?;
    steps.run("format", || process::run(process::cargo().args(["fmt", "--all", "--check"])))?;
    steps.run("lints", || {
        let mut lints = process::cargo();
        lints.args(["clippy", "--workspace", "--all-targets"]).args(FEATURES);
        process::run(lints.args(["--", "-D", "warnings"]))
    })?;
    steps.run("tests", || process::run(&mut tests()?))?;
    steps.run("examples", run_examples)?;
    steps.run("doc tests", || {
        process::run(process::cargo().args(["test", "--doc", "--workspace"]).args(FEATURES))
    })?;
    steps.run("docs", || process::run(&mut docs()))?;
    steps.run("public API", api::check)
}

/// Runs the examples as they were built for the tests.
///
/// Why not `cargo run --example`? It builds one package alone, with other features of its
/// dependencies than the workspace has: Tantivy would be compiled again.
fn run_examples() -> Result<()> {
    process::run(process::cargo().args(["build", "--workspace", "--examples"]).args(FEATURES))?;
    let examples = process::target_folder()?.join("debug/examples");
    for example in EXAMPLES {
        process::run(&mut Command::new(examples.join(example)))?;
    }
    Ok(())
}

/// Returns `cargo nextest` where it is installed, since it runs all test binaries at once.
fn tests() -> Result<Command> {
    let mut command = process::cargo();
    if process::succeeds(process::cargo().args(["nextest", "--version"]))? {
        command.args(["nextest", "run", "--workspace"]);
    } else {
        command.args(["test", "--workspace", "--lib", "--bins", "--tests"]);
    }
    command.args(FEATURES);
    Ok(command)
}

fn docs() -> Command {
    let mut command = process::cargo();
    command.args(["doc", "--workspace", "--no-deps", "--lib", "--bin", "xtask"]).args(DEV_TARGET);
    command.args(FEATURES);
    let flags = env::var("RUSTDOCFLAGS").unwrap_or_default();
    command.env("RUSTDOCFLAGS", format!("{flags} -D warnings"));
    command
}

//! Child processes: shown before they run, and checked after.

use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

/// The models that need Burn are checked too, with the same features in every step: with others,
/// everything would be compiled again.
pub(crate) const FEATURES: [&str; 2] = ["--features", "autotag-train/burn,autotag-cli/burn"];

/// A target that needs the dev-dependencies, for commands whose own targets do not: without it, features
/// of their dependencies would be others than in the tests, and these would be compiled again.
pub(crate) const DEV_TARGET: [&str; 2] = ["--example", "without_a_model"];

/// Prints the command line, then runs it with this process's standard streams.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", command_line(command));
    let status = command.status().with_context(|| cannot_run(command))?;
    ensure!(status.success(), "{} failed: {status}", command_line(command));
    Ok(())
}

/// Prints the command line, runs it and returns what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    eprintln!("$ {}", command_line(command));
    quiet_output(command)
}

/// Runs the command and returns what it wrote to standard output.
pub(crate) fn quiet_output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| cannot_run(command))?;
    ensure!(output.status.success(), "{} failed: {}", command_line(command), output.status);
    Ok(output.stdout)
}

/// Returns what cargo says of the workspace.
pub(crate) fn metadata() -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata = quiet_output(&mut command)?;
    serde_json::from_slice(&metadata).context("cargo metadata wrote no JSON")
}

/// Returns the folder that cargo builds into, as it is called from here.
pub(crate) fn target_folder() -> Result<PathBuf> {
    folder("target_directory")
}

/// Returns the folder of the workspace, wherever this is called from.
pub(crate) fn workspace_folder() -> Result<PathBuf> {
    folder("workspace_root")
}

fn folder(name: &str) -> Result<PathBuf> {
    let metadata = metadata()?;
    let folder = metadata[name].as_str().with_context(|| format!("cargo named no {name}"))?;
    Ok(PathBuf::from(folder))
}

/// Tells whether the command runs and succeeds; what it writes is dropped.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(anyhow!(error).context(cannot_run(command))),
    }
}

/// Returns cargo as it was called, without the variables that describe this package.
///
/// Why? Build scripts that watch those variables would run again under `cargo xtask`.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let of_this_package = name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if of_this_package {
            command.env_remove(name);
        }
    }
    command
}

/// The steps of a command, each under a heading and with the time that it took.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    times: Vec<(String, Duration)>,
}

impl Steps {
    /// Prints a heading, runs `step` and notes its time, whether it fails or not.
    pub(crate) fn run<T>(&mut self, title: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n=== {}. {title}", self.times.len() + 1);
        let start = Instant::now();
        let result = step();
        self.times.push((title.to_owned(), start.elapsed()));
        result.with_context(|| format!("step \"{title}\" failed"))
    }

    /// Prints how long each step took.
    pub(crate) fn print_times(&self) {
        eprintln!("\n=== Times");
        for (title, time) in &self.times {
            eprintln!("{:>8.1} s  {title}", time.as_secs_f64());
        }
        let total: Duration = self.times.iter().map(|(_, time)| *time).sum();
        eprintln!("{:>8.1} s  together", total.as_secs_f64());
    }
}

/// Writes a command as one would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run {}", command.get_program().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("autotag");
        command.args(["search", "--tag", "/role/program", "it's here", ""]);
        assert_eq!(command_line(&command), r"autotag search --tag /role/program 'it'\''s here' ''");
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(Command::new("false").arg("now")).unwrap_err().to_string();
        assert!(error.starts_with("false now failed"), "{error}");
    }

    #[test]
    fn a_missing_program_does_not_succeed() {
        assert!(!succeeds(&mut Command::new("no-such-program-at-all")).unwrap());
    }

    #[test]
    fn a_failed_step_is_named_and_timed() {
        let mut steps = Steps::default();
        let error = steps.run("sleep", || -> Result<()> { Err(anyhow!("no bed")) }).unwrap_err();
        assert_eq!(format!("{error:#}"), "step \"sleep\" failed: no bed");
        assert_eq!(steps.times.len(), 1);
    }
}

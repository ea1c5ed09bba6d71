//! Snapshots of the public API, so that every change of it shows in a diff.
//!
//! They are made of rustdoc's JSON, which the stable toolchain writes only when it is told to be a
//! nightly one. Told so itself, cargo would compile everything anew; so this program stands in for
//! rustdoc and tells rustdoc alone.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::crates;
use crate::process::{self, DEV_TARGET, FEATURES};

/// The folder of the snapshots, one file for each crate.
const FOLDER: &str = "docs/api";

/// The environment variable that names rustdoc, where this program stands in for it.
const RUSTDOC: &str = "XTASK_RUSTDOC";

/// Runs rustdoc where cargo called this program in its place.
pub(crate) fn stand_in() -> Option<Result<()>> {
    let rustdoc = env::var_os(RUSTDOC)?;
    let run = || {
        let args: Vec<OsString> = env::args_os().skip(1).collect();
        let mut command = Command::new(&rustdoc);
        let status = command.args(args).env("RUSTC_BOOTSTRAP", "1").status();
        ensure!(status.context("cannot run rustdoc")?.success(), "rustdoc failed");
        Ok(())
    };
    Some(run())
}

/// Fails where a crate's public API is not the one of its snapshot.
pub(crate) fn check() -> Result<()> {
    let (folder, mut changed) = (folder()?, Vec::new());
    for (name, api) in apis()? {
        let path = snapshot(&folder, &name);
        let snapshot = fs::read_to_string(&path).unwrap_or_default();
        let lines = difference(&snapshot, &api);
        if !lines.is_empty() {
            eprintln!("{}:\n{}", path.display(), lines.join("\n"));
            changed.push(name);
        }
    }
    if !changed.is_empty() {
        bail!(
            "the public API of {} has changed (above): if that is meant, run `cargo xtask api \
             --update`, and say in CHANGELOG.md what users must change",
            changed.join(", ")
        );
    }
    Ok(())
}

/// Writes the snapshots anew.
pub(crate) fn update() -> Result<()> {
    let folder = folder()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, api) in apis()? {
        let path = snapshot(&folder, &name);
        fs::write(&path, api).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn folder() -> Result<PathBuf> {
    Ok(process::workspace_folder()?.join(FOLDER))
}

fn snapshot(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.txt"))
}

/// Lists the public items of every library that is published, by the crate's name.
fn apis() -> Result<Vec<(String, String)>> {
    let libraries: Vec<String> = crates::published()?
        .into_iter()
        .filter(crates::Crate::is_library)
        .map(|library| library.name)
        .collect();
    write_json()?;
    let target = process::target_folder()?;
    let program = build_program(&target)?;
    let mut apis = Vec::new();
    for name in libraries {
        let json = target.join("doc").join(format!("{}.json", name.replace('-', "_")));
        let listed = process::quiet_output(Command::new(&program).arg(&json)).context(
            "this toolchain's rustdoc may write JSON that xtask/api cannot read: use the toolchain that \
             docs/api was made with, or raise public-api in xtask/api/Cargo.toml",
        )?;
        apis.push((name, String::from_utf8(listed).context("a listing is text")?));
    }
    Ok(apis)
}

/// Builds the program that lists the items of rustdoc's JSON.
fn build_program(target: &Path) -> Result<PathBuf> {
    let folder = target.join("list-api");
    let manifest = process::workspace_folder()?.join("xtask/api/Cargo.toml");
    let mut command = process::cargo();
    command.args(["build", "--locked", "--manifest-path"]).arg(manifest);
    process::run(command.arg("--target-dir").arg(&folder))?;
    Ok(folder.join("debug").join(format!("list-api{}", env::consts::EXE_SUFFIX)))
}

/// Lets rustdoc describe all crates in JSON, with the features that the tests are built with.
fn write_json() -> Result<()> {
    let rustdoc = env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into());
    let this_program = env::current_exe().context("cannot find this program")?;
    let mut command = process::cargo();
    command.args(["doc", "--workspace", "--no-deps", "--lib"]).args(DEV_TARGET).args(FEATURES);
    command.env(RUSTDOC, rustdoc).env("RUSTDOC", this_program);
    command.env("RUSTDOCFLAGS", "-Z unstable-options --output-format json");
    process::run(&mut command)
}

/// Returns the lines that only one of two listings has, with their signs.
fn difference(before: &str, now: &str) -> Vec<String> {
    let known: BTreeSet<&str> = before.lines().collect();
    let current: BTreeSet<&str> = now.lines().collect();
    let gone = before.lines().filter(|line| !current.contains(line));
    let new = now.lines().filter(|line| !known.contains(line));
    let gone = gone.map(|line| format!("- {line}"));
    gone.chain(new.map(|line| format!("+ {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_and_removed_items_are_listed() {
        let before = "pub fn a()\npub fn b(u8)\npub fn c()\n";
        let now = "pub fn a()\npub fn b(u16)\npub fn c()\n";
        assert_eq!(difference(before, now), ["- pub fn b(u8)", "+ pub fn b(u16)"]);
        assert!(difference(now, now).is_empty());
        assert_eq!(difference("", "pub mod x\n"), ["+ pub mod x"]);
    }
}

//! Kills processes that write to one index, at random instants, and checks what they leave.

use anyhow::Result;

use crate::process;

/// Runs the plugin's soak with so many kills; it prints what it survived.
pub(crate) fn run(kills: u64) -> Result<()> {
    let mut command = process::cargo();
    command.args(["test", "--package", "tantivy-autotag", "--test", "plugin", "--"]);
    command.args(["--exact", "crash::soak::soak", "--nocapture"]);
    command.env("AUTOTAG_SOAK_KILLS", kills.to_string());
    process::run(&mut command)
}

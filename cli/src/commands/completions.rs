//! `autotag completions`: scripts that complete the command line in a shell.

use clap::Command;
use clap_complete::Shell;

use crate::output::print_script;

/// Print a script that completes this program's command line in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag completions bash > ~/.local/share/bash-completion/completions/autotag")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "autotag", &mut script);
    print_script(&String::from_utf8_lossy(&script))?;
    Ok(())
}

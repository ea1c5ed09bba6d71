//! Python's pip and zipfile as child processes.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{FetchError, Result, Wheel};

/// The progress of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The command line of a child process that starts.
    Command(&'a str),
    /// A line of its output.
    Output(&'a str),
}

/// The last lines of a failed command's output that its error quotes.
const QUOTED: usize = 5;

/// A Python interpreter that runs pip and zipfile.
pub(crate) struct Python<'a> {
    /// The program, `python3` but in tests.
    pub(crate) program: &'a OsStr,
    pub(crate) progress: &'a mut dyn FnMut(Event<'_>),
}

impl Python<'_> {
    /// Downloads a wheel into a folder.
    pub(crate) fn download(&mut self, wheel: &Wheel, folder: &Path) -> Result<()> {
        let mut command = pip_download(self.program, wheel, folder);
        match self.run(&mut command) {
            Ok(None) => Ok(()),
            Ok(Some(said)) => Err(self.why_no_download(wheel, said)),
            Err(error) => Err(error),
        }
    }

    /// Unpacks an archive; the caller checks its content.
    pub(crate) fn unzip(&mut self, archive: &Path, content: &Path) -> Result<()> {
        let mut command = Command::new(self.program);
        command.args(["-m", "zipfile", "-e"]).arg(archive).arg(content);
        self.run(&mut command).map(drop)
    }

    /// Runs a command; where it fails, returns the end of its output.
    fn run(&mut self, command: &mut Command) -> Result<Option<String>> {
        (self.progress)(Event::Command(&command_line(command)));
        let program = command.get_program().to_string_lossy().into_owned();
        let cannot_run = |source| FetchError::Run { program: program.clone(), source };
        // One pipe for both streams keeps the lines in order.
        let (reader, writer) = std::io::pipe().map_err(cannot_run)?;
        let other = writer.try_clone().map_err(cannot_run)?;
        let child = command.stdin(Stdio::null()).stdout(other).stderr(writer).spawn();
        let missing = matches!(&child, Err(error) if error.kind() == ErrorKind::NotFound);
        // The parent's ends of the pipe; reading would not end while they are open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if missing {
            return Ok(Some(String::new()));
        }
        let mut child = child.map_err(cannot_run)?;
        let mut last = VecDeque::new();
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.map_err(cannot_run)?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            (self.progress)(Event::Output(&line));
            last.push_back(line);
            if last.len() > QUOTED {
                last.pop_front();
            }
        }
        let status = child.wait().map_err(cannot_run)?;
        let said = || last.into_iter().collect::<Vec<_>>().join("\n");
        Ok((!status.success()).then(said))
    }

    /// Explains a failed download.
    fn why_no_download(&self, wheel: &Wheel, said: String) -> FetchError {
        let wheel = wheel.requirement.to_owned();
        if !succeeds(Command::new(self.program).arg("--version")) {
            return FetchError::NoPython { wheel };
        }
        if !succeeds(Command::new(self.program).args(["-m", "pip", "--version"])) {
            return FetchError::NoPip { wheel };
        }
        FetchError::Download { wheel, said }
    }
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn pip_download(program: &OsStr, wheel: &Wheel, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary=:all:", "--progress-bar", "off"]);
    if !wheel.platforms.is_empty() {
        // The Python that runs pip need not be the one that the wheel was made for.
        command.args(["--python-version", wheel.python, "--implementation", "cp"]);
        let version = wheel.python.replace('.', "");
        command.args(["--abi", &format!("cp{version}"), "--abi", "abi3", "--abi", "none"]);
    }
    for platform in wheel.platforms {
        command.args(["--platform", platform]);
    }
    command.arg("--dest").arg(folder).arg(wheel.requirement);
    command
}

/// Writes a command as one would type it.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_is_asked_for_the_wheel_s_platform_whatever_python_runs_it() {
        let wheel = Wheel {
            requirement: "made-up==1",
            sha256: "00",
            platforms: &["linux_z80"],
            python: "3.13",
            folder: "made_up",
            prefix: "lib",
        };
        let command = pip_download(OsStr::new("python3"), &wheel, Path::new("x"));
        let line = command_line(&command);
        assert!(line.contains("--platform linux_z80"), "{line}");
        assert!(line.contains("--python-version 3.13") && line.contains("--abi cp313"), "{line}");
        assert!(line.ends_with("--dest x made-up==1"), "{line}");
    }
}

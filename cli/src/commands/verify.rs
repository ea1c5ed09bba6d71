//! `autotag verify`: whether an index is whole and its two stores agree.

use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Serialize;
use tantivy_autotag::{IndexFolder, Interrupted, VerifyReport};

use crate::args::Common;
use crate::output::{self, Report, inline};

/// Check that an index is whole: files, checksums, neighbors, and that both stores agree
///
/// Changes nothing, and fails while the index is open for writing. The exit code is 1 when something
/// is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag verify --index index")]
pub(crate) struct VerifyArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
}

/// The findings, as they are printed.
#[derive(Debug, Serialize)]
struct Verified {
    sound: bool,
    generation: u64,
    documents: Option<u64>,
    labeled: u64,
    neighbors: Option<u64>,
    training: u64,
    interrupted_commit: Option<Interrupted>,
    /// The description of an interrupted job.
    unfinished_job: Option<String>,
    unused_files: Vec<String>,
    n_problems: u64,
    problems: Vec<String>,
}

pub(crate) fn run(args: &VerifyArgs, common: &Common) -> anyhow::Result<()> {
    let verified = Verified::from(IndexFolder::open(&args.index)?.verify()?);
    output::print(common.format, &verified)?;
    match verified.n_problems {
        0 => Ok(()),
        1 => bail!("there is a problem in the index {}", args.index.display()),
        n => bail!("there are {n} problems in the index {}", args.index.display()),
    }
}

impl From<VerifyReport> for Verified {
    fn from(report: VerifyReport) -> Self {
        let display = |path: &PathBuf| Path::display(path).to_string();
        Verified {
            sound: report.is_sound(),
            generation: report.generation,
            documents: report.documents,
            labeled: report.labeled,
            neighbors: report.neighbors,
            training: report.training,
            interrupted_commit: report.interrupted,
            unfinished_job: report.job.as_ref().map(ToString::to_string),
            unused_files: report.unused_files.iter().map(display).collect(),
            n_problems: report.n_problems,
            problems: report.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Report for Verified {
    fn to_text(&self) -> String {
        let mut table = output::table(&["part", "found"], 1);
        let count = |n: Option<u64>| n.map_or("unreadable".to_owned(), |n| n.to_string());
        table.add_row(["last commit".to_owned(), self.generation.to_string()]);
        table.add_row(["documents".to_owned(), count(self.documents)]);
        table.add_row(["documents labeled by people".to_owned(), self.labeled.to_string()]);
        table.add_row(["neighbors".to_owned(), count(self.neighbors)]);
        table.add_row(["neighbors of the training set".to_owned(), self.training.to_string()]);
        table.add_row(["unused files".to_owned(), self.unused_files.len().to_string()]);
        table.add_row(["problems".to_owned(), self.n_problems.to_string()]);
        let mut text = format!("{table}\n");
        match self.interrupted_commit {
            Some(Interrupted::Completed) => {
                text += "\nA commit was interrupted; the next writer completes it.\n";
            }
            Some(Interrupted::Dropped) => {
                text += "\nA commit was interrupted; nothing of it is in the index.\n";
            }
            None => {}
        }
        if let Some(job) = &self.unfinished_job {
            let job = inline(job);
            text += &format!("\nUnfinished: {job}; `autotag retag --resume` goes on with it.\n");
        }
        if !self.problems.is_empty() {
            text += "\n";
        }
        for problem in &self.problems {
            text += &format!("problem: {}\n", inline(problem));
        }
        let n_more = self.n_problems - self.problems.len() as u64;
        if n_more > 0 {
            text += &format!("and {n_more} more\n");
        }
        text
    }
}

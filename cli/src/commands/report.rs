//! `autotag report`: tables and figures of the runs that `autotag ablate` made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use autotag_engine::target;
use autotag_lab::report::{html, into_markdown};
use autotag_lab::{BootstrapOptions, NumberOptions, Numbers, RunsFolder};
use serde::Serialize;

use crate::args::Common;
use crate::commands::compare::resamples;

use crate::output::{self, Report, inline};

/// Show the runs of `autotag ablate` as one page with the paper's tables and figures
///
/// The page needs no other file and no network. No model is run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag report --runs runs --out report.html --json numbers.json
  autotag report --runs runs --out report.html --markdown docs/results.md")]
pub(crate) struct ReportArgs {
    /// The folder of runs
    #[arg(long, value_name = "FOLDER")]
    runs: PathBuf,

    /// The page
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Write the numbers too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Put the tables into this Markdown file too: in the place of the same data set's, else at its end
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// The number of bootstrap resamples of the texts, for confidence intervals of differences
    #[arg(long, value_name = "N", default_value_t = BootstrapOptions::default().resamples)]
    #[arg(value_parser = resamples)]
    resamples: usize,
}

pub(crate) fn run(args: &ReportArgs, common: &Common) -> anyhow::Result<()> {
    for file in [Some(&args.out), args.json.as_ref(), args.markdown.as_ref()].into_iter().flatten()
    {
        target::check_file(file)?;
    }
    let bootstrap = BootstrapOptions { resamples: args.resamples, ..BootstrapOptions::default() };
    let folder = RunsFolder::open(&args.runs);
    let numbers = Numbers::read(&folder, &NumberOptions { bootstrap })?;
    for note in &numbers.notes {
        tracing::warn!("{note}");
    }
    write(&args.out, html(&numbers)?.as_bytes())?;
    if let Some(path) = &args.json {
        let mut json = serde_json::to_vec_pretty(&numbers).context("the numbers are plain data")?;
        json.push(b'\n');
        write(path, &json)?;
    }
    if let Some(path) = &args.markdown {
        let page = match fs::read_to_string(path) {
            Ok(page) => page,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", path.display()));
            }
        };
        write(path, into_markdown(&page, &numbers).as_bytes())?;
    }
    output::print(common.format, &Reported::new(args, &numbers))?;
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("{} cannot be written", path.display()))
}

/// The report that was written, and its runs.
#[derive(Debug, Serialize)]
struct Reported {
    out: PathBuf,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    data_sets: Vec<ReportedData>,
}

#[derive(Debug, Serialize)]
struct ReportedData {
    name: String,
    /// Each model with the runs that its ablation consists of and those that are done.
    models: Vec<(String, usize, usize)>,
}

impl Reported {
    fn new(args: &ReportArgs, numbers: &Numbers) -> Self {
        let data = |data: &autotag_lab::numbers::DataNumbers| ReportedData {
            name: data.name.clone(),
            models: data
                .models
                .iter()
                .map(|model| (model.name.clone(), model.runs.0, model.runs.1))
                .collect(),
        };
        Reported {
            out: args.out.clone(),
            json: args.json.clone(),
            markdown: args.markdown.clone(),
            data_sets: numbers.data_sets.iter().map(data).collect(),
        }
    }
}

impl Report for Reported {
    fn to_text(&self) -> String {
        let mut text = String::new();
        for ReportedData { name, models } in &self.data_sets {
            for (model, planned, done) in models {
                let name = inline(name);
                text += &format!("{name}: --model {model}, {done} of {planned} runs\n");
            }
        }
        let files = [Some(&self.out), self.json.as_ref(), self.markdown.as_ref()];
        for file in files.into_iter().flatten() {
            text += &format!("wrote {}\n", output::path(file));
        }
        text
    }
}

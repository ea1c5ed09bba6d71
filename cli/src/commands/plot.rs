//! `autotag plot`: micro-F1 against documents a second, of bundles and of other programs.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use autotag_engine::target;
use autotag_lab::report::{SpeedPoint, TaggerKind, read_speed_points, speed_plot};
use serde::Serialize;

use crate::args::Common;
use crate::output::{self, Report, table};

/// Plot micro-F1 against documents a second, of bundles and other programs on the same documents
///
/// No model is run. A name that comes twice is drawn where it came first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag compare bundle tuned --data test.jsonl --threads 1 --format json > compared.json
  autotag plot compared.json peers.json --out speed.svg")]
pub(crate) struct PlotArgs {
    /// The output of `autotag compare --format json` and of lab/peers/peers.py
    #[arg(value_name = "FILE", required = true)]
    measured: Vec<PathBuf>,

    /// The plot, as SVG
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: &PlotArgs, common: &Common) -> anyhow::Result<()> {
    target::check_file(&args.out)?;
    let mut points = Vec::new();
    for path in &args.measured {
        points.extend(read_speed_points(path)?);
    }
    let svg = speed_plot(&points)?;
    fs::write(&args.out, svg)
        .with_context(|| format!("{} cannot be written", args.out.display()))?;
    let plotted = Plotted { out: args.out.clone(), points: points.iter().map(Row::new).collect() };
    output::print(common.format, &plotted)?;
    Ok(())
}

/// The plot that was written, and its points.
#[derive(Debug, Serialize)]
struct Plotted {
    out: PathBuf,
    points: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    peer: bool,
    micro_f1: f64,
    documents_per_second: f64,
    threads: usize,
}

impl Row {
    fn new(point: &SpeedPoint) -> Self {
        Row {
            name: point.name.clone(),
            peer: point.tagger == TaggerKind::Peer,
            micro_f1: point.micro_f1,
            documents_per_second: point.documents_per_second,
            threads: point.threads.get(),
        }
    }
}

impl Report for Plotted {
    fn to_text(&self) -> String {
        let mut table = table(&["name", "microF1", "docs/s", "threads"], 1);
        for row in &self.points {
            table.add_row([
                row.name.clone(),
                format!("{:.4}", row.micro_f1),
                format!("{:.0}", row.documents_per_second),
                row.threads.to_string(),
            ]);
        }
        format!("{table}\n\nwrote {}\n", output::path(&self.out))
    }
}

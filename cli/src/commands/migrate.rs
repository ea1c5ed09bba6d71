//! `autotag migrate`: an index becomes one of another bundle's.

use std::path::PathBuf;
use std::time::Instant;

use autotag_engine::TrainingSet;
use autotag_onnx::ModelBundle;
use serde::Serialize;
use tantivy_autotag::{IndexFolder, JobProgress, OnFailure, RetagReport};

use crate::args::Common;
use crate::commands::job::{self, JobBar};
use crate::commands::model;
use crate::output::{self, Report, inline};
use crate::signals::Stop;

/// Make an index one of another bundle's, and tag its documents again
///
/// The neighbors become the new bundle's training set and the documents that people labeled, encoded
/// anew where the bundle has another model; what people rejected, renamed, merged and retired stays
/// so. Then all other documents are tagged again, by the bundle's settings. Searches go on meanwhile.
/// Interrupted, the same command goes on where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag migrate --index index --bundle better-bundle")]
pub(crate) struct MigrateArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// The bundle that the index is to use from now on
    #[arg(long, value_name = "BUNDLE")]
    bundle: PathBuf,
}

/// The result, as it is printed.
#[derive(Debug, Default, Serialize)]
struct Migrated {
    /// Documents labeled by people that vote again.
    labeled: u64,
    /// The keys of those that cannot be encoded and vote no more.
    failed: Vec<String>,
    retagged: RetagReport,
    seconds: f64,
}

pub(crate) fn run(args: &MigrateArgs, common: &Common) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut index = IndexFolder::open(&args.index)?;
    let engine = model::load(ModelBundle::open(&args.bundle)?, common)?;
    let mut migrated = Migrated::default();
    let training_set = TrainingSet::open(&engine.bundle)?;
    let source = training_set.source();
    let progress = JobBar::begin("encode", common);
    let options = engine.writer_options(OnFailure::Skip);
    let tagger = engine.tagger();
    let (writer, rebuilt) = index.migrate(tagger, &source, options, |at| progress.show(at))?;
    drop(progress);
    (migrated.labeled, migrated.failed) = (rebuilt.labeled, rebuilt.failed);
    let stop = Stop::watch()?;
    let fingerprint = engine.bundle.fingerprint();
    let retag = |progress: &mut dyn FnMut(JobProgress)| writer.retag_moved(fingerprint, progress);
    let is_same = writer.unfinished_job().is_some_and(|job| job.is_moving_to(fingerprint));
    migrated.retagged = match job::finish_earlier(&writer, &stop, common)? {
        Some(retagged) if is_same => retagged,
        _ => job::run(&writer, &stop, common, retag)?,
    };
    writer.close()?;
    migrated.seconds = started.elapsed().as_secs_f64();
    output::print(common.format, &migrated)?;
    Ok(())
}

impl Report for Migrated {
    fn to_text(&self) -> String {
        let mut table = output::table(&["documents", "number"], 1);
        table.add_row(["labeled by people, voting", &self.labeled.to_string()]);
        table.add_row(["labeled by people, not encodable", &self.failed.len().to_string()]);
        let retagged = job::retagged_text(&self.retagged);
        let mut text = format!("{table}\n\n{retagged}\n{:.1} seconds\n", self.seconds);
        for key in self.failed.iter().take(20) {
            let key = inline(key);
            text += &format!("{key} cannot be encoded by the new model: its labels vote no more\n");
        }
        text
    }
}

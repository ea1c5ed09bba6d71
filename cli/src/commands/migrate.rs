//! `autotag migrate`: an index becomes one of another bundle's.

use std::path::{Path, PathBuf};
use std::time::Instant;

use autotag_onnx::{ModelBundle, OnnxEncoder};
use serde::Serialize;
use tantivy_autotag::{IndexFolder, OnFailure, Retagged, TaggingWriter, WriterOptions};

use crate::args::Common;
use crate::commands::model::{self, Model};
use crate::output::{self, Report};
use crate::progress::Progress;

/// Make an index one of another bundle's, and tag its documents again
///
/// The neighbors become the new bundle's training set and the documents that people labelled, encoded
/// anew; what people rejected, renamed, merged and retired stays so. Then all other documents are
/// tagged again. Searches go on meanwhile. Interrupted, the same command goes on where it was.
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

/// What was done, as it is printed.
#[derive(Debug, Serialize)]
struct Migrated {
    /// Documents labelled by people that vote again.
    labeled: u64,
    /// The keys of those that cannot be encoded and vote no more.
    failed: Vec<String>,
    retagged: Retagged,
    seconds: f64,
}

pub(crate) fn run(args: &MigrateArgs, common: &Common) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut index = IndexFolder::open(&args.index)?;
    let bundle = ModelBundle::open(&args.bundle)?;
    let encoder = model::encoder(&bundle, common)?;
    let model = model::with_datastore(&bundle, encoder, bundle.datastore()?, common);
    let mut migrated =
        Migrated { labeled: 0, failed: vec![], retagged: Retagged::default(), seconds: 0.0 };
    if index.encoder() != bundle.encoder_fingerprint() {
        let path =
            std::path::absolute(bundle.path()).unwrap_or_else(|_| bundle.path().to_path_buf());
        let tagger = model.tagger(&Default::default());
        let progress = JobBar::begin("encode", common);
        let path = path.to_string_lossy();
        let rebuilt = index
            .migrate(&tagger, &model.datastore, &path, |at| progress.show(at.done, at.total))?;
        (migrated.labeled, migrated.failed) = (rebuilt.labeled, rebuilt.failed);
    }
    migrated.retagged = retag(&index, &model, common)?;
    migrated.seconds = started.elapsed().as_secs_f64();
    output::print(common.format, &migrated)?;
    Ok(())
}

/// Tags all documents again, from where that was interrupted.
fn retag(index: &IndexFolder, model: &Model, common: &Common) -> anyhow::Result<Retagged> {
    let options = WriterOptions {
        on_failure: OnFailure::Skip,
        threads: Some(model.threads),
        ..WriterOptions::default()
    };
    let writer: TaggingWriter<OnnxEncoder> =
        index.writer(model.tagger(&Default::default()), options)?;
    let progress = JobBar::begin("tag", common);
    let show = |at: tantivy_autotag::JobProgress| progress.show(at.done, at.total);
    let retagged = match writer.unfinished_job() {
        Some(_) => writer.resume(show)?,
        None => writer.retag("", show)?,
    };
    writer.close()?;
    Ok(retagged)
}

/// How far a job got, as a bar.
pub(super) struct JobBar {
    label: &'static str,
    quiet: bool,
    bar: std::cell::OnceCell<Progress>,
    shown: std::cell::Cell<usize>,
}

impl JobBar {
    pub(super) fn begin(label: &'static str, common: &Common) -> Self {
        JobBar { label, quiet: common.quiet, bar: Default::default(), shown: Default::default() }
    }

    pub(super) fn show(&self, done: usize, total: usize) {
        let total = Some(total as u64);
        let bar = self.bar.get_or_init(|| Progress::begin(self.label, total, self.quiet.into()));
        bar.add((done - self.shown.replace(done)) as u64);
    }
}

impl Report for Migrated {
    fn to_text(&self) -> String {
        let mut table = output::table(&["documents", "number"], 1);
        table.add_row(["labelled by people, voting", &self.labeled.to_string()]);
        table.add_row(["labelled by people, not encodable", &self.failed.len().to_string()]);
        table.add_row(["tagged again", &self.retagged.documents.to_string()]);
        table.add_row(["with other tags now", &self.retagged.changed.to_string()]);
        let mut text = format!("{table}\n{:.1} seconds\n", self.seconds);
        for key in self.failed.iter().take(20) {
            text += &format!("{key} cannot be encoded by the new model: its labels vote no more\n");
        }
        text
    }
}

/// Opens the bundle that an index was made with, and its model over its own training set.
pub(super) fn own_model(
    index: &IndexFolder,
    given: Option<&Path>,
    common: &Common,
) -> anyhow::Result<Model> {
    let bundle = model::bundle_of(index, given)?;
    let encoder = model::encoder(&bundle, common)?;
    Ok(model::with_datastore(&bundle, encoder, bundle.datastore()?, common))
}

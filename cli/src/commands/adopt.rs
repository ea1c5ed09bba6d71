//! `autotag adopt`: an index of a Tantivy index's documents, tagged.

use std::path::PathBuf;
use std::time::Instant;

use autotag_engine::{TrainingSet, target};
use autotag_onnx::ModelBundle;
use serde::Serialize;
use tantivy_autotag::{AdoptOptions, AdoptReport, FieldNames, IndexFolder, OnFailure, with_causes};

use crate::args::Common;
use crate::commands::job::JobBar;
use crate::commands::model;
use crate::output::{self, Report, inline};

/// Make an index of the documents of a Tantivy index that autotag did not make, and tag them
///
/// The new index has all fields of the old one, and autotag's beside them. The old one stays as it
/// is. Documents need a key of their own in a string field that is stored and indexed raw, and every
/// field must be stored, or fast without a tokenizer. Interrupted, the same command goes on where it
/// was.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag adopt --from old-index --index index --bundle bundle --key sku --text title body")]
pub(crate) struct AdoptArgs {
    /// The old index's folder
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// The new index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// The bundle that the new index is made with
    #[arg(long, value_name = "BUNDLE")]
    bundle: PathBuf,

    /// The old index's field with the documents' keys
    #[arg(long, value_name = "FIELD")]
    key: String,

    /// The old index's fields with the texts to tag, in this order
    #[arg(long, value_name = "FIELD", required = true, num_args = 1..)]
    text: Vec<String>,

    /// The name of the new field for tags
    #[arg(long, value_name = "FIELD", default_value = "tags")]
    tags: String,

    /// The name of the new field for the tags' evidence
    #[arg(long, value_name = "FIELD", default_value = "evidence")]
    evidence: String,

    /// The name of the new field for suggestions
    #[arg(long, value_name = "FIELD", default_value = "suggestions")]
    suggestions: String,

    /// Make no fields that a review sorts by: `tag_margin`, `tag_score`, `tag_origin`, `tagged_at`
    #[arg(long)]
    no_review_fields: bool,
}

/// The result, as it is printed.
#[derive(Debug, Default, Serialize)]
struct Adopted {
    /// All documents.
    documents: u64,
    /// Those that an interrupted call had adopted already.
    resumed: u64,
    tagged: u64,
    /// Those that are in the index without tags.
    failed: u64,
    failures: Vec<Failure>,
    seconds: f64,
}

/// A document that could not be tagged.
#[derive(Debug, Serialize)]
struct Failure {
    id: String,
    error: String,
}

pub(crate) fn run(args: &AdoptArgs, common: &Common) -> anyhow::Result<()> {
    let started = Instant::now();
    let bundle = ModelBundle::open(&args.bundle)?;
    if !IndexFolder::exists(&args.index) {
        target::check_index(&args.index)?;
    }
    let engine = model::load(bundle, common)?;
    let training_set = TrainingSet::open(&engine.bundle)?;
    let fields = FieldNames::new()
        .key(&args.key)
        .texts(&args.text)
        .tags(&args.tags)
        .evidence(&args.evidence)
        .suggestions(&*args.suggestions);
    let fields = if args.no_review_fields { fields.review(None) } else { fields };
    let writer = engine.writer_options(OnFailure::IndexUntagged);
    let options = AdoptOptions::default().fields(fields).writer(writer);
    let progress = JobBar::begin("tag", common);
    let (source, tagger) = (training_set.source(), engine.tagger());
    let show = |at| progress.show(at);
    let (_, report) = IndexFolder::adopt(&args.from, &args.index, &source, tagger, &options, show)?;
    drop(progress);
    let mut adopted = Adopted::from(report);
    adopted.seconds = started.elapsed().as_secs_f64();
    output::print(common.format, &adopted)?;
    Ok(())
}

impl From<AdoptReport> for Adopted {
    fn from(report: AdoptReport) -> Self {
        let AdoptReport { documents, resumed, tagged, failed, failures, .. } = report;
        let failures = failures
            .into_iter()
            .map(|failure| Failure { id: failure.key, error: with_causes(&failure.cause) });
        let failures = failures.collect();
        Adopted { documents, resumed, tagged, failed, failures, seconds: 0.0 }
    }
}

impl Report for Adopted {
    fn to_text(&self) -> String {
        let mut table = output::table(&["documents", "number"], 1);
        table.add_row(["in the index", &self.documents.to_string()]);
        table.add_row(["adopted before", &self.resumed.to_string()]);
        table.add_row(["tagged", &self.tagged.to_string()]);
        table.add_row(["without tags", &self.failed.to_string()]);
        let mut text = format!("{table}\n\n{:.1} seconds\n", self.seconds);
        for Failure { id, error } in &self.failures {
            text += &format!("{} could not be tagged: {}\n", inline(id), inline(error));
        }
        text
    }
}

//! `autotag retag`: documents that are in an index get the tags that they would get now.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use tantivy_autotag::{IndexFolder, OnFailure, RetagReport, TagSettings};

use crate::args::{Common, ReviewArgs, SettingArgs};
use crate::commands::job;
use crate::commands::model;
use crate::output::{self, Report};
use crate::signals::Stop;

/// Tag an index's documents again: after corrections, or with other settings
///
/// Documents whose labels people gave keep them. Texts are not encoded again but where the index
/// does not have the model's answer. Searches go on meanwhile. After an interruption the same command
/// goes on, and so does `--resume`, with the settings that the interrupted one was given; a command
/// with others finishes the interrupted one first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag retag --index index --query 'engine oil'")]
pub(crate) struct RetagArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// The documents to tag, in the language of `autotag search`; all where absent
    #[arg(long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    query: String,

    /// Only go on with what was interrupted, be it tagging again, a change of labels or a move to
    /// another bundle; its settings need not be given again
    #[arg(long, conflicts_with = "query")]
    resume: bool,

    /// The bundle, in place of the one that the index was made with; its model must be the same
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingArgs,

    #[command(flatten)]
    review: ReviewArgs,
}

/// The result, as it is printed.
#[derive(Debug, Serialize)]
struct RetagOutput {
    #[serde(flatten)]
    retagged: RetagReport,
    seconds: f64,
}

pub(crate) fn run(args: &RetagArgs, common: &Common) -> anyhow::Result<()> {
    let started = Instant::now();
    let index = IndexFolder::open(&args.index)?;
    let mut engine = model::of_index(&index, args.bundle.as_deref(), common)?;
    engine.settings = engine.settings.overridden(args.settings.into());
    args.review.put_into(&mut engine.settings.selection);
    let settings = TagSettings::of(&engine.tagger());
    let writer = model::writer(&engine, &index, OnFailure::Skip)?;
    let stop = Stop::watch()?;
    let is_same =
        writer.unfinished_job().is_some_and(|job| job.is_retagging(&args.query, &settings));
    let earlier = job::finish_earlier(&writer, &stop, common)?;
    let retagged = match earlier {
        Some(retagged) if is_same || args.resume => retagged,
        None if args.resume => RetagReport::default(),
        _ => job::run(&writer, &stop, common, |progress| writer.retag(&args.query, progress))?,
    };
    writer.close()?;
    let seconds = started.elapsed().as_secs_f64();
    output::print(common.format, &RetagOutput { retagged, seconds })?;
    Ok(())
}

impl Report for RetagOutput {
    fn to_text(&self) -> String {
        format!("{}\n{:.1} seconds\n", job::retagged_text(&self.retagged), self.seconds)
    }
}

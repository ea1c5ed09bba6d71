//! `autotag labels`: an index's labels, and how they change.

use std::path::{Path, PathBuf};

use autotag::{LabelFate, LabelId, LabelVocabulary};
use serde::Serialize;
use tantivy_autotag::{IndexFolder, LabelChange, OnFailure, RetagReport, SearchRequest, parse_tag};

use crate::args::Common;
use crate::commands::correct::label;
use crate::commands::job;
use crate::commands::model;
use crate::output::{self, Report};
use crate::signals::Stop;

/// List an index's labels, rename, merge and retire them
///
/// A change is made in all documents that have the label, and holds for all that come: whoever gives
/// or predicts the label's old name gets what stands for it now. Interrupted, the same command goes
/// on; any other finishes what was interrupted first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag labels --index index list
  autotag labels --index index rename topic::motors topic::engines
  autotag labels --index index merge topic::cars --into topic::vehicles
  autotag labels --index index retire topic::misc")]
pub(crate) struct LabelsArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// The index's bundle, where it does not lie where it did
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,

    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// List the labels with the number of documents that have each
    List,
    /// Give a label another name
    Rename {
        /// The label's name, or its tag's path
        #[arg(value_parser = label)]
        label: String,
        /// The name that it gets
        #[arg(value_parser = label)]
        name: String,
    },
    /// Let a label stand for another one, wherever that is given or predicted
    Merge {
        /// The label that disappears
        #[arg(value_parser = label)]
        label: String,
        /// The label that stands for it
        #[arg(long, value_parser = label)]
        into: String,
    },
    /// Take a label from all documents; it does not come back by itself
    Retire {
        /// The label
        #[arg(value_parser = label)]
        label: String,
    },
    /// Take a merged or retired label into use again; `autotag retag` brings it back
    Restore {
        /// The label
        #[arg(value_parser = label)]
        label: String,
    },
}

impl What {
    /// Returns the change; `None` where nothing changes.
    fn change(&self) -> Option<LabelChange> {
        match self.clone() {
            What::List => None,
            What::Rename { label, name } => Some(LabelChange::Rename { label, name }),
            What::Merge { label, into } => Some(LabelChange::Merge { label, into }),
            What::Retire { label } => Some(LabelChange::Retire { label }),
            What::Restore { label } => Some(LabelChange::Restore { label }),
        }
    }
}

pub(crate) fn run(args: &LabelsArgs, common: &Common) -> anyhow::Result<()> {
    match args.what.change() {
        None => output::print(common.format, &list(&args.index)?)?,
        Some(change) => {
            let retagged = make(args, &change, common)?;
            output::print(common.format, &Changed(retagged))?;
        }
    }
    Ok(())
}

fn make(args: &LabelsArgs, change: &LabelChange, common: &Common) -> anyhow::Result<RetagReport> {
    let index = IndexFolder::open(&args.index)?;
    let engine = model::of_index(&index, args.bundle.as_deref(), common)?;
    let writer = model::writer(&engine, &index, OnFailure::Skip)?;
    let stop = Stop::watch()?;
    // The same command again after an interruption: its label is changed, its documents are not yet.
    let is_same = writer.unfinished_job().is_some_and(|job| job.is_making(change));
    let retagged = match job::finish_earlier(&writer, &stop, common)? {
        Some(retagged) if is_same => retagged,
        _ => job::run(&writer, &stop, common, |progress| writer.change_labels(change, progress))?,
    };
    writer.close()?;
    Ok(retagged)
}

/// The labels, as they are printed.
#[derive(Debug, Serialize)]
struct LabelList {
    labels: Vec<LabelRow>,
}

#[derive(Debug, Serialize)]
struct LabelRow {
    label: String,
    /// The documents that have it, or one below it.
    documents: usize,
    state: &'static str,
    /// The label that stands for it, where it was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    into: Option<String>,
    /// The names that it had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former: Vec<String>,
}

fn list(path: &Path) -> anyhow::Result<LabelList> {
    let (index, datastore) = IndexFolder::open_with_datastore(path)?;
    let searcher = index.searcher()?;
    let datastore = datastore.reader()?;
    let labels = datastore.labels();
    let mut rows = Vec::with_capacity(labels.len());
    for id in 0..labels.len() as u32 {
        let tag = parse_tag(labels.name(LabelId(id)))?;
        let request = SearchRequest::new().tags([tag]).limit(0);
        rows.push(row(labels, LabelId(id), searcher.search(&request)?.total));
    }
    Ok(LabelList { labels: rows })
}

fn row(labels: &LabelVocabulary, id: LabelId, documents: usize) -> LabelRow {
    let history = labels.history(id);
    let (state, into) = match history.fate {
        LabelFate::Active => ("active", None),
        LabelFate::MergedInto(into) => ("merged", Some(labels.name(into).to_owned())),
        LabelFate::Retired => ("retired", None),
    };
    let documents = if state == "active" { documents } else { 0 };
    LabelRow { label: history.name, documents, state, into, former: history.former }
}

impl Report for LabelList {
    fn to_text(&self) -> String {
        let mut table = output::table(&["label", "changes", "documents"], 2);
        for row in &self.labels {
            let mut notes = Vec::new();
            match &row.into {
                Some(into) => notes.push(format!("merged into {into}")),
                None if row.state != "active" => notes.push(row.state.to_owned()),
                None => {}
            }
            if !row.former.is_empty() {
                notes.push(format!("was {}", row.former.join(", ")));
            }
            table.add_row([row.label.clone(), notes.join("; "), row.documents.to_string()]);
        }
        format!("{table}\n")
    }
}

/// The result of a change, as it is printed.
#[derive(Debug, Serialize)]
struct Changed(RetagReport);

impl Report for Changed {
    fn to_text(&self) -> String {
        job::retagged_text(&self.0)
    }
}

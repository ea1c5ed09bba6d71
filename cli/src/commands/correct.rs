//! `autotag correct`: a person decides labels of documents.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use tantivy_autotag::{Correction, IndexFolder, OnFailure, parse_label, tag_path};

use crate::args::Common;
use crate::commands::model;
use crate::errors::UsageError;
use crate::output::{self, Report, inline};

/// Decide labels of documents: add and reject some, confirm all, or set them
///
/// The documents become neighbors by which others are tagged from now on; they vote with the labels that
/// a person gave or confirmed, and abstain on predicted ones that nobody decided. Decisions stay when a
/// document comes again, also with another text, until a person or a labeled document says otherwise.
/// `autotag retag` lets the documents that are in the index already profit too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag correct --index index 42 --add /topic/engines --reject /topic/ships
  autotag correct --index index 43 44 --confirm
  autotag correct --index index 45 --set topic::engines --set language::en")]
#[command(group(clap::ArgGroup::new("said").required(true).multiple(true)))]
pub(crate) struct CorrectArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// The documents' keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,

    /// A label that the documents have; may be given several times
    #[arg(long, value_name = "LABEL", value_parser = label, group = "said")]
    add: Vec<String>,

    /// A label that the documents do not have; may be given several times
    #[arg(long, value_name = "LABEL", value_parser = label, group = "said")]
    reject: Vec<String>,

    /// All tags of the documents are right, but for what `--add` and `--reject` say
    #[arg(long, group = "said")]
    confirm: bool,

    /// A label that the documents have, and none but those given by this option
    #[arg(long, value_name = "LABEL", value_parser = label, group = "said")]
    #[arg(conflicts_with_all = ["add", "reject", "confirm"])]
    set: Vec<String>,

    /// The documents have no label at all
    #[arg(long, group = "said", conflicts_with_all = ["add", "reject", "confirm", "set"])]
    no_labels: bool,

    /// The index's bundle, where it does not lie where it did
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,
}

/// Reads a label, by its name or by its tag's path.
pub(super) fn label(text: &str) -> Result<String, String> {
    parse_label(text).map_err(|error| error.to_string())
}

impl CorrectArgs {
    fn correction(&self) -> Correction {
        if self.no_labels || !self.set.is_empty() {
            return Correction::set(&self.set);
        }
        let named = Correction::add(&self.add).and(Correction::reject(&self.reject));
        if self.confirm { named.and(Correction::confirm()) } else { named }
    }
}

/// The result, as it is printed.
#[derive(Debug, Serialize)]
struct Corrected {
    generation: u64,
    documents: Vec<CorrectedDocument>,
}

#[derive(Debug, Serialize)]
struct CorrectedDocument {
    id: String,
    tags: Vec<String>,
}

pub(crate) fn run(args: &CorrectArgs, common: &Common) -> anyhow::Result<()> {
    if let Some(both) = args.add.iter().find(|label| args.reject.contains(label)) {
        let problem = format!("{both} cannot be both added and rejected");
        return Err(UsageError::new("correct", problem).into());
    }
    let index = IndexFolder::open(&args.index)?;
    let engine = model::of_index(&index, args.bundle.as_deref(), common)?;
    let writer = model::writer(&engine, &index, OnFailure::Fail)?;
    let correction = args.correction();
    // Each once, so that nothing is committed before all of them are known.
    for key in args.keys.iter().collect::<BTreeSet<_>>() {
        writer.correct(key, &correction)?;
    }
    let generation = writer.commit()?.generation;
    writer.close()?;
    let searcher = index.searcher()?;
    let mut documents = Vec::with_capacity(args.keys.len());
    for key in &args.keys {
        let found = searcher.document(key)?;
        let tags = found.iter().flat_map(|found| &found.tags).map(tag_path).collect();
        documents.push(CorrectedDocument { id: key.clone(), tags });
    }
    output::print(common.format, &Corrected { generation, documents })?;
    Ok(())
}

impl Report for Corrected {
    fn to_text(&self) -> String {
        let mut text = String::new();
        for CorrectedDocument { id, tags } in &self.documents {
            let tags = if tags.is_empty() { "no label".to_owned() } else { tags.join(", ") };
            text += &format!("{}: {}\n", inline(id), inline(&tags));
        }
        text
    }
}

//! `autotag repair`: mends what can be mended of a damaged index.

use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;
use tantivy_autotag::{IndexFolder, RepairReport};

use crate::args::Common;
use crate::commands::job::JobBar;
use crate::commands::model::{self, Settings};
use crate::output::{self, Report, inline};

/// Mend what can be mended of a damaged index, and tell what was lost
///
/// Damaged segments are set aside in the index's folder `autotag/damaged`; index their documents
/// again. A datastore that is damaged, or disagrees with the documents, is made anew from them and
/// the bundle. A sound index is left alone. The exit code is 1 when something is wrong still.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag repair --index index")]
pub(crate) struct RepairArgs {
    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// The index's bundle, where it does not lie where it did
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,
}

/// What was done, as it is printed.
#[derive(Debug, Serialize)]
struct Repaired {
    sound: bool,
    files_set_aside: Vec<String>,
    documents_lost: u64,
    /// The keys of lost documents, as far as they are known.
    lost: Vec<String>,
    datastore_rebuilt: bool,
    texts_encoded: u64,
    /// Documents labelled by people that vote no more.
    not_encodable: Vec<String>,
    /// Whether rejections and changes of labels were lost.
    forgot: bool,
    problems: Vec<String>,
}

pub(crate) fn run(args: &RepairArgs, common: &Common) -> anyhow::Result<()> {
    let mut index = IndexFolder::open(&args.index)?;
    let bundle = model::bundle_of(&index, args.bundle.as_deref())?;
    let tagger = Settings::of(&bundle).tagger(model::encoder(&bundle, common)?);
    let progress = JobBar::begin("rebuild", common);
    let report = index.repair(&tagger, &bundle.datastore()?, |at| progress.show(at))?;
    let repaired = Repaired::from(report);
    output::print(common.format, &repaired)?;
    match repaired.problems.len() {
        0 => Ok(()),
        n => bail!("{n} problems are left in the index {}", args.index.display()),
    }
}

impl From<RepairReport> for Repaired {
    fn from(report: RepairReport) -> Self {
        let rebuilt = report.rebuilt.clone().unwrap_or_default();
        Repaired {
            sound: report.after.is_sound(),
            files_set_aside: report.set_aside.iter().map(|p| p.display().to_string()).collect(),
            documents_lost: report.documents_lost,
            lost: report.lost.into_iter().collect(),
            datastore_rebuilt: report.rebuilt.is_some(),
            texts_encoded: rebuilt.encoded,
            not_encodable: rebuilt.failed,
            forgot: report.forgot,
            problems: report.after.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Report for Repaired {
    fn to_text(&self) -> String {
        let mut text = String::new();
        if self.sound && self.files_set_aside.is_empty() && !self.datastore_rebuilt {
            text += "the index is sound, nothing was changed\n";
        }
        for file in &self.files_set_aside {
            text += &format!("set aside as damaged: {}\n", inline(file));
        }
        if self.documents_lost > 0 {
            let (lost, known) = (self.documents_lost, self.lost.len());
            text += &format!("{lost} documents are lost; index them again. {known} are known:\n");
        }
        for key in &self.lost {
            text += &format!("  {}\n", inline(key));
        }
        if self.datastore_rebuilt {
            let encoded = self.texts_encoded;
            text += &format!("the datastore was made anew; {encoded} texts were encoded for it\n");
        }
        if self.forgot {
            text += "what people rejected, renamed, merged and retired is forgotten\n";
        }
        for key in &self.not_encodable {
            text += &format!("{} cannot be encoded: its labels vote no more\n", inline(key));
        }
        for problem in &self.problems {
            text += &format!("problem left: {}\n", inline(problem));
        }
        text
    }
}

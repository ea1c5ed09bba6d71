//! `autotag repair`: mends what can be mended of a damaged index.

use std::path::PathBuf;

use anyhow::bail;
use autotag_engine::{Engine, TrainingSet};
use autotag_onnx::ModelBundle;
use serde::Serialize;
use tantivy_autotag::{IndexFolder, RepairReport};

use crate::args::Common;
use crate::commands::job::JobBar;
use crate::commands::model;
use crate::output::{self, Report, inline};

/// Mend what can be mended of a damaged index, and tell what was lost
///
/// Damaged segments are set aside in the index's folder `autotag/damaged`; index their documents
/// again. In place of a datastore that is damaged, or disagrees with the documents, one that agrees is
/// taken from those in `autotag/set-aside`; where there is none, it is made anew from the documents and
/// the bundle. Damaged lists of files are made anew. A sound index is left alone. The exit code is 1
/// when something is wrong still.
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

/// The result, as it is printed.
#[derive(Debug, Serialize)]
struct Repaired {
    sound: bool,
    files_restored: Vec<String>,
    files_set_aside: Vec<String>,
    documents_lost: u64,
    /// The keys of lost documents, as far as they are known.
    lost: Vec<String>,
    /// The datastore that was found beside the index's own, and took its place.
    datastore_found: Option<String>,
    datastore_rebuilt: bool,
    texts_encoded: u64,
    /// Documents labeled by people that vote no more.
    not_encodable: Vec<String>,
    /// Rejections and changes of labels were lost.
    forgot: bool,
    problems: Vec<String>,
}

pub(crate) fn run(args: &RepairArgs, common: &Common) -> anyhow::Result<()> {
    let opened = IndexFolder::open(&args.index);
    let is_described = opened.is_ok();
    let bundle = match (&args.bundle, opened) {
        (Some(bundle), _) => ModelBundle::open(bundle)?,
        (None, Ok(index)) => Engine::bundle_of(&index, None)?,
        (None, Err(error)) => {
            return Err(anyhow::Error::from(error).context(
                "the index does not tell where its bundle is: say so with --bundle <BUNDLE>",
            ));
        }
    };
    let training_set = TrainingSet::open(&bundle)?;
    let source = training_set.source();
    let tagger = model::load(bundle, common)?.tagger();
    let mut index = IndexFolder::recover(&args.index, &source)?;
    let progress = JobBar::begin("rebuild", common);
    let mut report = index.repair(&tagger, &source, |at| progress.show(at))?;
    if !is_described {
        report.restored.push("autotag/index.json".into());
    }
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
            files_restored: names(&report.restored),
            files_set_aside: names(&report.set_aside),
            documents_lost: report.documents_lost,
            lost: report.lost.into_iter().collect(),
            datastore_found: report.found.map(|path| path.display().to_string()),
            datastore_rebuilt: report.rebuilt.is_some(),
            texts_encoded: rebuilt.encoded,
            not_encodable: rebuilt.failed,
            forgot: report.forgot,
            problems: report.after.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

impl Repaired {
    fn changed_nothing(&self) -> bool {
        let is_whole = self.files_restored.is_empty() && self.files_set_aside.is_empty();
        is_whole && self.datastore_found.is_none() && !self.datastore_rebuilt
    }
}

impl Report for Repaired {
    fn to_text(&self) -> String {
        let mut text = String::new();
        if self.sound && self.changed_nothing() {
            text += "the index is sound, nothing was changed\n";
        }
        for file in &self.files_restored {
            text += &format!("made anew: {file}\n");
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
        if let Some(found) = &self.datastore_found {
            text += &format!("{found} agrees with the documents and is the datastore now\n");
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

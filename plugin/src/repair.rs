//! Mending a damaged index: what is damaged is set aside, the rest is made to agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use autotag::{Datastore, Encoder, Tagger};
use tantivy::directory::Directory;
use tantivy::{Index, IndexMeta, SegmentMeta};

use crate::folder::{io_error, own_folder};
use crate::rebuild::Rebuilt;
use crate::{
    Error, IndexFolder, JobProgress, Problem, Result, VerifyReport, WriterOptions, verify,
};

/// What [`IndexFolder::repair`] did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// The files that were set aside, by their path inside the index's folder.
    pub set_aside: Vec<PathBuf>,
    /// The number of documents that were lost with them, where that is known.
    pub documents_lost: u64,
    /// The keys of lost documents, as far as the datastore knows them.
    pub lost: BTreeSet<String>,
    /// What was done to the datastore, where it was made anew.
    pub rebuilt: Option<Rebuilt>,
    /// Whether rejections, and changes of labels, were lost with the old datastore.
    pub forgot: bool,
    /// What verifying the index finds now.
    pub after: VerifyReport,
}

/// The folder that damaged files are moved to, inside autotag's own.
const DAMAGED: &str = "damaged";

pub(crate) fn repair<E: Encoder + 'static>(
    folder: &mut IndexFolder,
    tagger: &Tagger<E>,
    seed: &Datastore,
    progress: impl FnMut(JobProgress),
) -> Result<RepairReport> {
    let (found, expected) = (tagger.encoder().fingerprint(), folder.encoder());
    if found != expected {
        return Err(Error::EncoderMismatch { index: expected, tagger: found });
    }
    let before = folder.verify()?;
    if before.is_sound() {
        return Ok(RepairReport { after: before, ..RepairReport::default() });
    }
    let mut report = RepairReport::default();
    set_damaged_segments_aside(folder, &mut report)?;
    let is_readable = before.neighbors.is_some();
    if is_readable && !report.set_aside.is_empty() {
        report.lost = keys_without_document(folder)?;
    }
    // What was set aside took documents away of which the datastore knows.
    if !report.set_aside.is_empty() || before.problems.iter().any(is_of_datastore) {
        let name = other_name(folder);
        let bundle = folder.bundle().to_owned();
        let rebuilt = folder.replace_datastore(&name, tagger, seed, &bundle, progress)?;
        report.rebuilt = Some(rebuilt);
        report.forgot = !is_readable;
    }
    // The next commit is later than whatever the datastore counts.
    let writer = folder.writer(tagger.clone(), WriterOptions::default())?;
    writer.commit()?;
    writer.close()?;
    report.after = folder.verify()?;
    Ok(report)
}

/// Tells whether making the datastore anew mends a problem.
fn is_of_datastore(problem: &Problem) -> bool {
    match problem {
        Problem::DamagedFile { path } => path.starts_with("autotag"),
        Problem::Unreadable { what, .. } => {
            ["the datastore", "the neighbors", "the journal", "the last commit"].contains(what)
        }
        Problem::Datastore(_)
        | Problem::DatastoreAhead { .. }
        | Problem::NoNeighbor { .. }
        | Problem::NoDocument { .. }
        | Problem::Forgotten { .. }
        | Problem::Labels { .. } => true,
        Problem::NoKey | Problem::Twice { .. } | Problem::Evidence { .. } => false,
    }
}

/// Takes segments with damaged files out of the index, and moves their files away.
fn set_damaged_segments_aside(folder: &IndexFolder, report: &mut RepairReport) -> Result<()> {
    let (index, _) = folder.index()?;
    let _lock = verify::lock(&index)?;
    let damaged = verify::damaged_files(folder, &index)?;
    if damaged.is_empty() {
        return Ok(());
    }
    let mut metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
    let files = metas.list_segment_files();
    let is_damaged = |segment: &SegmentMeta| damaged.iter().any(|file| is_of(file, segment));
    let (lost, kept): (Vec<_>, Vec<_>) = metas.segments.drain(..).partition(is_damaged);
    metas.segments = kept;
    report.documents_lost = lost.iter().map(|segment| u64::from(segment.num_docs())).sum();
    let aside = own_folder(folder.path()).join(DAMAGED);
    fs::create_dir_all(&aside).map_err(io_error("create", &aside))?;
    copy(&folder.path().join("meta.json"), &aside.join("meta.json"))?;
    write_metas(&index, &metas)?;
    for file in files {
        let (from, to) = (folder.path().join(&file), aside.join(&file));
        if lost.iter().any(|segment| is_of(&file, segment)) && from.is_file() {
            fs::rename(&from, to).map_err(io_error("set aside", &from))?;
            report.set_aside.push(file);
        }
    }
    report.set_aside.sort();
    Ok(())
}

/// Tells whether a file is a segment's: its name begins with the segment's id.
fn is_of(file: &Path, segment: &SegmentMeta) -> bool {
    file.to_str().is_some_and(|name| name.starts_with(&segment.id().uuid_string()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(io_error("copy", from))
}

fn write_metas(index: &Index, metas: &IndexMeta) -> Result<()> {
    let json = serde_json::to_vec(metas).expect("what was read from JSON can be written");
    let written = index.directory().atomic_write(Path::new("meta.json"), &json);
    written.map_err(|source| Error::Io { path: "meta.json".into(), action: "write", source })
}

/// Returns the keys that the datastore knows and the index has not.
fn keys_without_document(folder: &IndexFolder) -> Result<BTreeSet<String>> {
    let problems = folder.verify()?.problems;
    let key = |problem| match problem {
        Problem::NoDocument { key } | Problem::Forgotten { key } => Some(key),
        _ => None,
    };
    Ok(problems.into_iter().filter_map(key).collect())
}

/// Returns a name for a datastore that the index does not use.
fn other_name(folder: &IndexFolder) -> String {
    let own = own_folder(folder.path());
    let names = (1..).map(|number: u32| format!("datastore-repaired-{number}"));
    let free = |name: &String| !own.join(name).exists();
    names.into_iter().find(free).expect("there are more numbers than folders")
}

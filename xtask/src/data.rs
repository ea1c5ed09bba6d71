//! The demo's data set: made once, then reused.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::apt::{Apt, List};
use crate::dataset::{self, Counts, Document};
use crate::debtags::{self, Descriptions, Packages};
use crate::tour::{self, Tour};
use crate::{user_data, wheel};

/// The version of the files; older ones are made again.
const VERSION: u32 = 1;

/// The marker file, written last: a folder without it is incomplete.
const COMPLETE: &str = "complete.json";

/// The documents' origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Debtags,
    File(PathBuf),
}

/// A data set on disk.
#[derive(Debug)]
pub(crate) struct Data {
    folder: PathBuf,
    /// Identifies the files' content.
    pub(crate) fingerprint: String,
    pub(crate) tour: Tour,
}

impl Data {
    /// Returns the path of one part: `train`, `dev`, `test`, `tagged`, `untagged` or `explained`.
    pub(crate) fn file(&self, part: &str) -> PathBuf {
        self.folder.join(part).with_extension("jsonl")
    }
}

/// Makes the data set in `out`, unless the one from this source is there already.
pub(crate) fn prepare(source: &Source, out: &Path) -> Result<Data> {
    let folder = out.join("data");
    let origin = origin(source)?;
    if let Some(data) = open(&folder, &origin) {
        eprintln!("{} is there: not made again", folder.display());
        return Ok(data);
    }
    let partial = out.join("data.partial");
    wheel::remove(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    let documents = read(source, out)?;
    let counts = dataset::write(&documents, min_count(source), &partial)?;
    print_counts(&counts, min_count(source));
    let tour = match source {
        Source::Debtags => tour::of_debtags(&documents),
        Source::File(_) => tour::of(&documents),
    };
    dataset::write_chosen(&documents, &tour.explained, &partial.join("explained.jsonl"))?;
    let record = json!({
        "origin": origin,
        "fingerprint": fingerprint(&partial)?,
        "tour": tour.to_json(),
    });
    write_whole(&partial.join(COMPLETE), &format!("{record:#}\n"))?;
    wheel::remove(&folder)?;
    fs::rename(&partial, &folder).with_context(|| format!("cannot create {}", folder.display()))?;
    open(&folder, &origin).with_context(|| format!("cannot read {} back", folder.display()))
}

/// Writes a file atomically.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_added_extension("partial");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Describes what the files are made from.
fn origin(source: &Source) -> Result<Value> {
    Ok(match source {
        Source::Debtags => json!({ "version": VERSION, "debtags": true }),
        Source::File(path) => json!({ "version": VERSION, "sha256": wheel::sha256(path)? }),
    })
}

/// Opens a complete data set of the same origin.
fn open(folder: &Path, origin: &Value) -> Option<Data> {
    let text = fs::read_to_string(folder.join(COMPLETE)).ok()?;
    let record: Value = serde_json::from_str(&text).ok()?;
    if record["origin"] != *origin {
        return None;
    }
    Some(Data {
        folder: folder.to_owned(),
        fingerprint: record["fingerprint"].as_str()?.to_owned(),
        tour: Tour::from_json(&record["tour"])?,
    })
}

fn read(source: &Source, out: &Path) -> Result<Vec<Document>> {
    match source {
        Source::Debtags => read_debtags(&out.join("apt")),
        Source::File(path) => user_data::read(path),
    }
}

fn read_debtags(folder: &Path) -> Result<Vec<Document>> {
    let apt = Apt::new(folder)?;
    apt.update()?;
    let mut packages = Packages::default();
    let mut descriptions = Descriptions::default();
    for list in apt.lists()? {
        eprintln!("reading {}", list.path().display());
        match list {
            List::Packages(_) => list.read(|lines| packages.read(lines))?,
            List::Translations(_) => list.read(|lines| descriptions.read(lines))?,
        }
    }
    Ok(packages.into_documents(&descriptions))
}

fn min_count(source: &Source) -> usize {
    match source {
        Source::Debtags => debtags::MIN_PACKAGES,
        Source::File(_) => user_data::MIN_DOCUMENTS,
    }
}

fn print_counts(counts: &Counts, min_count: usize) {
    let Counts { train, dev, test, tagged, untagged, labels } = counts;
    eprintln!("{tagged} documents are indexed with their labels, {untagged} are to be tagged");
    eprintln!("{labels} labels are carried by {min_count} or more training documents");
    eprintln!("train {train}, dev {dev}, test {test} documents with these labels");
}

fn fingerprint(folder: &Path) -> Result<String> {
    let mut digests = String::new();
    for part in ["train", "dev", "test", "tagged", "untagged"] {
        digests += &wheel::sha256(&folder.join(part).with_extension("jsonl"))?;
    }
    Ok(wheel::sha256_of(digests.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets() -> String {
        let line = |i: u32| {
            let labels = if i.is_multiple_of(7) { "[]" } else { r#"["kind::question"]"# };
            format!(r#"{{"id": "t{i}", "text": "ticket {i}", "labels": {labels}}}"#)
        };
        (0..200).map(|i| line(i) + "\n").collect()
    }

    #[test]
    fn a_data_set_is_made_once_and_again_when_its_source_changes_or_it_was_interrupted() {
        let out = std::env::temp_dir().join(format!("xtask-data-{}", std::process::id()));
        wheel::remove(&out).unwrap();
        fs::create_dir_all(&out).unwrap();
        let source = out.join("tickets.jsonl");
        fs::write(&source, tickets()).unwrap();
        let prepare = || prepare(&Source::File(source.clone()), &out).unwrap();

        let first = prepare();
        assert_eq!(fs::read_to_string(first.file("untagged")).unwrap().lines().count(), 29);
        fs::write(first.file("dev"), "kept").unwrap();
        assert_eq!(prepare().fingerprint, first.fingerprint);
        assert_eq!(fs::read_to_string(first.file("dev")).unwrap(), "kept");

        fs::remove_file(out.join("data").join(COMPLETE)).unwrap();
        assert_eq!(prepare().fingerprint, first.fingerprint);
        assert_ne!(fs::read_to_string(first.file("dev")).unwrap(), "kept");

        fs::write(&source, tickets().replace("question", "answer")).unwrap();
        let changed = prepare();
        assert_ne!(changed.fingerprint, first.fingerprint);
        assert_eq!(changed.tour.drill_down.1, "/kind/answer");
        wheel::remove(&out).unwrap();
    }
}

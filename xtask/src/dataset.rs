//! Documents with labels, divided into the files that the demo trains, tunes, tests and indexes on.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha1::{Digest, Sha1};

/// One document before the split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) text: String,
    /// Empty for a document that nobody has labeled.
    pub(crate) labels: Vec<String>,
    /// Documents of one group are near copies and always land in the same part.
    pub(crate) group: String,
}

/// The part of the data set that a labeled document belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Dev,
    Test,
}

impl Part {
    /// Chooses a tenth for test, a tenth for dev and the rest for train: `sha1(group) mod 10`.
    ///
    /// Why a hash? The part of a document then depends on nothing else in the data set, so that
    /// figures of different days and programs compare.
    pub(crate) fn of(group: &str) -> Self {
        let digest = Sha1::digest(group.as_bytes());
        match digest.iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % 10) {
            0 => Self::Test,
            1 => Self::Dev,
            _ => Self::Train,
        }
    }
}

/// How many documents and labels [`write()`] put where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) train: usize,
    pub(crate) dev: usize,
    pub(crate) test: usize,
    pub(crate) tagged: usize,
    pub(crate) untagged: usize,
    pub(crate) labels: usize,
}

/// Writes `train.jsonl`, `dev.jsonl`, `test.jsonl`, `tagged.jsonl` and `untagged.jsonl`.
///
/// The first three keep only labels that at least `min_count` training documents carry, and only
/// documents that keep a label; `tagged.jsonl` has every labeled document with all of its labels.
/// `folder` must exist.
pub(crate) fn write(documents: &[Document], min_count: usize, folder: &Path) -> Result<Counts> {
    let kept = frequent_labels(documents, min_count);
    ensure!(
        !kept.is_empty(),
        "no label is carried by {min_count} or more of the training documents: \
         more labeled documents are needed"
    );
    let mut train = JsonLines::create(folder, "train.jsonl")?;
    let mut dev = JsonLines::create(folder, "dev.jsonl")?;
    let mut test = JsonLines::create(folder, "test.jsonl")?;
    let mut tagged = JsonLines::create(folder, "tagged.jsonl")?;
    let mut untagged = JsonLines::create(folder, "untagged.jsonl")?;
    for document in documents {
        let all: Vec<&str> = document.labels.iter().map(String::as_str).collect();
        if all.is_empty() {
            untagged.push(document, &all)?;
            continue;
        }
        tagged.push(document, &all)?;
        let labels: Vec<&str> = all.into_iter().filter(|label| kept.contains(label)).collect();
        if labels.is_empty() {
            continue;
        }
        match Part::of(&document.group) {
            Part::Train => train.push(document, &labels)?,
            Part::Dev => dev.push(document, &labels)?,
            Part::Test => test.push(document, &labels)?,
        }
    }
    Ok(Counts {
        train: train.finish()?,
        dev: dev.finish()?,
        test: test.finish()?,
        tagged: tagged.finish()?,
        untagged: untagged.finish()?,
        labels: kept.len(),
    })
}

/// Returns the labels that at least `min_count` documents of the training part carry.
fn frequent_labels(documents: &[Document], min_count: usize) -> HashSet<&str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for document in documents.iter().filter(|d| Part::of(&d.group) == Part::Train) {
        for label in &document.labels {
            *counts.entry(label).or_default() += 1;
        }
    }
    counts.into_iter().filter(|&(_, count)| count >= min_count).map(|(label, _)| label).collect()
}

/// A file of documents, one JSON object per line.
struct JsonLines {
    out: BufWriter<File>,
    len: usize,
}

impl JsonLines {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { out: BufWriter::new(file), len: 0 })
    }

    fn push(&mut self, document: &Document, labels: &[&str]) -> Result<()> {
        let line = json!({ "id": document.id, "text": document.text, "labels": labels });
        writeln!(self.out, "{line}")?;
        self.len += 1;
        Ok(())
    }

    /// Writes what is buffered to the disk and returns the number of documents.
    fn finish(self) -> Result<usize> {
        let file = self.out.into_inner()?;
        file.sync_all()?;
        Ok(self.len)
    }
}

/// Removes `folder` and everything in it, where it exists.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

//! Documents with labels, divided into the files that the demo trains, tunes, tests and indexes on.

use std::collections::{HashMap, HashSet};
use std::fs::File;
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

/// The numbers of documents and labels that [`write()`] put into each file.
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
/// `untagged.jsonl` has those that [`is_to_be_tagged`] names.
/// `folder` must exist.
pub(crate) fn write(documents: &[Document], min_count: usize, folder: &Path) -> Result<Counts> {
    let kept = frequent_labels(documents, min_count);
    ensure!(
        !kept.is_empty(),
        "no label is carried by {min_count} or more of the training documents: \
         more labeled documents are needed"
    );
    let create = |name: &str| JsonLines::create(&folder.join(name));
    let mut train = create("train.jsonl")?;
    let mut dev = create("dev.jsonl")?;
    let mut test = create("test.jsonl")?;
    let mut tagged = create("tagged.jsonl")?;
    let mut untagged = create("untagged.jsonl")?;
    let is_to_be_tagged = is_to_be_tagged(documents);
    for document in documents {
        let all: Vec<&str> = document.labels.iter().map(String::as_str).collect();
        if is_to_be_tagged(document) {
            untagged.push(document, &[])?;
        } else {
            tagged.push(document, &all)?;
        }
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
    let counts = Counts {
        train: train.finish()?,
        dev: dev.finish()?,
        test: test.finish()?,
        tagged: tagged.finish()?,
        untagged: untagged.finish()?,
        labels: kept.len(),
    };
    ensure!(
        counts.dev > 0 && counts.test > 0,
        "of {} labeled documents none fell into the dev or the test part: more are needed",
        counts.tagged
    );
    Ok(counts)
}

/// Tells which documents are indexed without labels, to be tagged: those that have none, or where
/// there is no such document those of the test part.
pub(crate) fn is_to_be_tagged(documents: &[Document]) -> impl Fn(&Document) -> bool + use<> {
    let all_are_labeled = documents.iter().all(|document| !document.labels.is_empty());
    move |document| match all_are_labeled {
        true => Part::of(&document.group) == Part::Test,
        false => document.labels.is_empty(),
    }
}

/// Writes the documents with these keys, without labels, to one file.
pub(crate) fn write_chosen(documents: &[Document], keys: &[String], path: &Path) -> Result<()> {
    let mut file = JsonLines::create(path)?;
    for document in documents.iter().filter(|document| keys.contains(&document.id)) {
        file.push(document, &[])?;
    }
    file.finish()?;
    Ok(())
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
    fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::wheel;

    fn document(id: &str, group: &str, labels: &[&str]) -> Document {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        Document { id: id.to_owned(), text: format!("{id}: text"), labels, group: group.to_owned() }
    }

    /// Returns the `n`th made-up group name that belongs to `part`.
    fn group_of(part: Part, n: usize) -> String {
        let names = (0..).map(|i| format!("group-{i}"));
        names.filter(|name| Part::of(name) == part).nth(n).unwrap()
    }

    fn ids(path: &Path) -> Vec<(String, Vec<String>)> {
        let to_id = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let labels = value["labels"].as_array().unwrap().iter();
            let labels = labels.map(|label| label.as_str().unwrap().to_owned()).collect();
            (value["id"].as_str().unwrap().to_owned(), labels)
        };
        fs::read_to_string(path).unwrap().lines().map(to_id).collect()
    }

    #[test]
    fn the_part_is_the_group_s_sha1_modulo_ten() {
        // Remainders computed with Python: int(sha1(name).hexdigest(), 16) % 10.
        for (name, remainder) in [
            ("bash", 2),
            ("coreutils", 3),
            ("tantivy", 2),
            ("gimp", 6),
            ("ripgrep", 0),
            ("firefox-esr", 5),
            ("vim", 3),
            ("zlib", 7),
            ("pkg0", 1),
        ] {
            let expected = match remainder {
                0 => Part::Test,
                1 => Part::Dev,
                _ => Part::Train,
            };
            assert_eq!(Part::of(name), expected, "{name}");
        }
    }

    #[test]
    fn about_a_tenth_each_goes_to_test_and_dev() {
        let count = |part| (0..10_000).filter(|i| Part::of(&format!("p{i}")) == part).count();
        assert!((900..1100).contains(&count(Part::Test)));
        assert!((900..1100).contains(&count(Part::Dev)));
    }

    #[test]
    fn files_hold_their_part_with_frequent_labels_only() {
        let (train, dev, test) =
            (group_of(Part::Train, 0), group_of(Part::Dev, 0), group_of(Part::Test, 0));
        let documents = [
            document("t1", &train, &["often", "rare"]),
            document("t2", &group_of(Part::Train, 1), &["often"]),
            document("t3", &train, &["rare-too"]),
            document("d1", &dev, &["often", "dev-only"]),
            document("e1", &test, &["often"]),
            document("e2", &test, &["dev-only"]),
            document("u1", &train, &[]),
        ];
        let folder = std::env::temp_dir().join(format!("xtask-dataset-{}", std::process::id()));
        wheel::remove(&folder).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let counts = write(&documents, 2, &folder).unwrap();
        let expected = Counts { train: 2, dev: 1, test: 1, tagged: 6, untagged: 1, labels: 1 };
        assert_eq!(counts, expected);
        let only = |id: &str| (id.to_owned(), vec!["often".to_owned()]);
        assert_eq!(ids(&folder.join("train.jsonl")), [only("t1"), only("t2")]);
        assert_eq!(ids(&folder.join("dev.jsonl")), [only("d1")]);
        assert_eq!(ids(&folder.join("test.jsonl")), [only("e1")]);
        assert_eq!(ids(&folder.join("tagged.jsonl"))[0].1, ["often", "rare"]);
        assert_eq!(ids(&folder.join("untagged.jsonl"))[0].0, "u1");
        assert!(write(&documents, 3, &folder).unwrap_err().to_string().contains("3 or more"));

        // Without a document that lacks labels, the test part stands in.
        let counts = write(&documents[..6], 2, &folder).unwrap();
        assert_eq!((counts.tagged, counts.untagged, counts.test), (4, 2, 1));
        let untagged = ids(&folder.join("untagged.jsonl"));
        assert_eq!(untagged[0], ("e1".to_owned(), Vec::new()));
        wheel::remove(&folder).unwrap();
    }
}

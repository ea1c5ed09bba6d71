//! Mutations of an index's files: each is reported or changes no answer, none crashes or panics, and a
//! repair ends sound or reports its losses.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tantivy_autotag::{IndexFolder, Result, SearchRequest, WriterOptions};
use tempfile::TempDir;

use crate::support::{LABELS, Words, bundle, copy, document, tagger};
use crate::verify::{Sample, files};

/// The number of mutations in the short version.
const CHANGES: u64 = 60;

/// Set by whoever wants more.
const N_CHANGES: &str = "AUTOTAG_MUTATIONS";

/// So many are made by one process.
const BATCH: u64 = 20;

const TASK: &str = "AUTOTAG_TEST_MUTATIONS";

#[derive(Serialize, Deserialize)]
struct Task {
    /// The folder with the index, and the training set beside it.
    original: PathBuf,
    seeds: std::ops::Range<u64>,
}

/// The outcomes of the mutations.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Outcomes {
    refused: u64,
    told: u64,
    harmless: u64,
    repaired: u64,
    unrepaired: u64,
}

/// Changes a file; returns what was done.
fn change(files: &[PathBuf], random: &mut SmallRng) -> String {
    let file = files.choose(random).unwrap();
    let mut bytes = fs::read(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let position = |random: &mut SmallRng, bytes: &[u8]| random.random_range(0..bytes.len().max(1));
    let at = position(random, &bytes);
    let done = match random.random_range(0..6) {
        0 if !bytes.is_empty() => {
            bytes.truncate(at);
            format!("{name} cut to {at} bytes")
        }
        1 => {
            let other = files.choose(random).unwrap();
            bytes = fs::read(other).unwrap();
            format!("{name} replaced by {}", other.display())
        }
        2 if bytes.len() > 8 => {
            let length = random.random_range(1..64.min(bytes.len() - at + 1));
            let end = (at + length).min(bytes.len());
            random.fill_bytes(&mut bytes[at..end]);
            format!("{name}: {length} random bytes at {at}")
        }
        3 if bytes.len() > 8192 => {
            // Two pages.
            let pages = bytes.len() / 4096;
            let (a, b) = (random.random_range(0..pages), random.random_range(0..pages));
            for offset in 0..4096 {
                bytes.swap(a * 4096 + offset, b * 4096 + offset);
            }
            format!("{name}: pages {a} and {b} swapped")
        }
        4 => {
            bytes.insert(at, random.random());
            format!("{name}: a byte more at {at}")
        }
        _ if !bytes.is_empty() => {
            let bit = random.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("{name}: bit {bit} of byte {at}")
        }
        _ => format!("{name} as it is"),
    };
    fs::write(file, bytes).unwrap();
    done
}

/// All that an index answers.
#[derive(Debug, PartialEq)]
struct Answers {
    documents: BTreeMap<String, (Vec<String>, String)>,
    neighbors: BTreeMap<String, (Vec<u32>, Vec<u32>)>,
}

fn answers(path: &Path) -> Result<Answers> {
    let (index, datastore) = IndexFolder::open_with_datastore(path)?;
    let request = SearchRequest::new().limit(usize::MAX);
    let mut documents = BTreeMap::new();
    for found in index.searcher()?.search(&request)?.documents {
        documents.insert(found.key, (found.texts, format!("{:?}", found.evidence)));
    }
    let mut neighbors = BTreeMap::new();
    datastore.reader()?.for_each(|key, item| -> autotag::Result<()> {
        let labels = item.labels.ids().iter().map(|label| label.0).collect();
        let values = item.embedding.values().iter().map(|value| value.to_bits()).collect();
        neighbors.insert(key.to_owned(), (labels, values));
        Ok(())
    })?;
    Ok(Answers { documents, neighbors })
}

#[test]
#[ignore = "the other test starts it as a process of its own"]
// The other test reads it.
#[allow(clippy::print_stdout, clippy::print_stderr)]
fn process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Task = serde_json::from_str(&task).unwrap();
    let mut outcomes = Outcomes::default();
    for seed in task.seeds {
        let mut random = SmallRng::seed_from_u64(seed);
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        copy(&task.original, folder.path());
        let path = folder.path().join("index");
        // As if its last writer had been killed: then no checksum covers the datastore as a whole.
        if random.random_bool(0.3) {
            fs::remove_file(path.join("autotag/datastore/data.seal")).unwrap();
        }
        let expected = answers(&path).unwrap();
        let what = change(&files(&path), &mut random);
        eprintln!("{seed}: {what}");
        outcomes.look_at(&path, &expected, &what);
        if random.random_bool(0.3) {
            write_over(&path);
        }
        outcomes.repair(&path, &what);
    }
    println!("outcomes {}", serde_json::to_string(&outcomes).unwrap());
}

/// Does what `autotag index` does, whatever lies there; damage must still be told afterwards.
fn write_over(path: &Path) {
    let was_sound = IndexFolder::open(path)
        .is_ok_and(|index| index.verify().is_ok_and(|report| report.is_sound()));
    let write = || -> Result<()> {
        let index = IndexFolder::open(path)?;
        let (_, fields) = index.index()?;
        let writer = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default())?;
        for number in 0..3 {
            writer.add(document(&fields, &format!("over {number}"), "program"))?;
            writer.commit()?;
        }
        writer.close()
    };
    let is_written = write().is_ok();
    if is_written && !was_sound {
        let report = IndexFolder::open(path).unwrap().verify().unwrap();
        let is_healed = report.documents == Some(42);
        assert!(!report.is_sound() || is_healed, "damage was taken for sound: {report:#?}");
    }
}

impl Outcomes {
    fn look_at(&mut self, path: &Path, expected: &Answers, what: &str) {
        let Ok(index) = IndexFolder::open(path) else {
            self.refused += 1;
            return;
        };
        let is_sound = index.verify().is_ok_and(|report| report.is_sound());
        let answered = answers(path);
        match (is_sound, answered) {
            (false, Ok(_)) => self.told += 1,
            (_, Err(_)) => self.refused += 1,
            (true, Ok(answered)) => {
                assert_eq!(&answered, expected, "{what}: other answers, and nothing is told");
                self.harmless += 1;
            }
        }
    }

    fn repair(&mut self, path: &Path, what: &str) {
        let seed = path.with_file_name("seed");
        let encoder = autotag::Encoder::fingerprint(&Words::new(&LABELS));
        let seed = autotag::Datastore::open_read_only(&seed, &encoder).unwrap();
        let source = bundle("bundle", &seed);
        let mend = || -> Result<bool> {
            let mut index = IndexFolder::recover(path, &source)?;
            let report = index.repair(&tagger(Words::new(&LABELS)), &source, |_| {})?;
            Ok(report.after.is_sound())
        };
        match catch_unwind(AssertUnwindSafe(mend)) {
            Ok(Ok(true)) => {
                self.repaired += 1;
                let report = IndexFolder::open(path).unwrap().verify().unwrap();
                assert!(report.is_sound(), "{what}: {report:#?}");
                answers(path).unwrap();
            }
            Ok(Ok(false)) => self.unrepaired += 1,
            Ok(Err(error)) => {
                assert!(!error.to_string().is_empty());
                self.unrepaired += 1;
            }
            Err(_) => panic!("{what}: the repair panicked"),
        }
    }
}

#[test]
// Shown to whoever runs it by itself.
#[allow(clippy::print_stdout)]
fn changed_files_are_told_or_change_nothing() {
    let n_changes = std::env::var(N_CHANGES).map_or(CHANGES, |n| n.parse().expect("a number"));
    let sample = Sample::new();
    let original = sample.path().parent().unwrap().to_owned();
    let mut all = Outcomes::default();
    for begin in (0..n_changes).step_by(BATCH as usize) {
        let seeds = begin..(begin + BATCH).min(n_changes);
        let task = Task { original: original.clone(), seeds };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "mutations::process", "--ignored", "--nocapture"]);
        command.env(TASK, serde_json::to_string(&task).unwrap());
        command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        let output = command.output().unwrap();
        let (said, log) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{:?}: {log}", output.status);
        let json = said.lines().find_map(|line| line.split_once("outcomes ")).unwrap().1;
        let Outcomes { refused, told, harmless, repaired, unrepaired } =
            serde_json::from_str(json).unwrap();
        all.refused += refused;
        all.told += told;
        all.harmless += harmless;
        all.repaired += repaired;
        all.unrepaired += unrepaired;
    }
    println!("{n_changes} changes: {all:?}");
    assert_eq!(all.refused + all.told + all.harmless, n_changes);
    assert!(all.repaired > n_changes / 2, "{all:?}");
}

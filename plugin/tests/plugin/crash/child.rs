//! The process that is killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

use autotag::{Datastore, Encoder, Fingerprint, StorageOptions};
use serde::{Deserialize, Serialize};
use tantivy::Index;
use tantivy_autotag::{
    Correction, Error, IndexFolder, SearchRequest, TagFields, TaggingWriter, Ticket, WriterOptions,
};

use super::model::{Entry, Operation, batch_size, operation};
use crate::support::{LABELS, Words, bundle, document, schema, tagger};

/// A child's task.
#[derive(Serialize, Deserialize)]
pub(super) struct Storm {
    pub(super) index: PathBuf,
    pub(super) seed: PathBuf,
    pub(super) log: PathBuf,
    pub(super) round: u64,
    /// It ends by itself after so many commits.
    pub(super) commits: u64,
    /// The pause before each operation.
    pub(super) delay_us: u64,
    /// Whether it makes the index first.
    pub(super) create: bool,
}

/// The log of a child, written until it died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) is_open: bool,
    /// The numbers of operations before the points, since the last acknowledgement, at which a
    /// commit was begun or may have been made.
    pub(super) may_be_committed: Vec<u64>,
    /// The number of operations before the last commit that was begun, and acknowledged.
    pub(super) begun: u64,
    pub(super) acknowledged: u64,
    pub(super) n_acknowledged: u64,
}

const TASK: &str = "AUTOTAG_TEST_STORM";

/// Names the index that is read.
const WATCHED: &str = "AUTOTAG_TEST_WATCHED";

/// Starts a child; where a failpoint is given it stops there.
pub(super) fn start(storm: &Storm, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child::storm", "--ignored", "--nocapture"]);
    command.env(TASK, serde_json::to_string(storm).unwrap());
    command.env("AUTOTAG_FAILPOINT", failpoint.unwrap_or_default());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until a child stops at its failpoint, and kills it there.
///
/// Where it ends before, its standard error is returned.
pub(super) fn kill_at_failpoint(child: &mut Child) -> Result<(), String> {
    let mut said = String::new();
    let stderr: ChildStderr = child.stderr.take().unwrap();
    for line in BufReader::new(stderr).lines() {
        let line = line.unwrap();
        if line.starts_with("failpoint ") {
            child.kill().unwrap();
            child.wait().unwrap();
            return Ok(());
        }
        said += &line;
        said.push('\n');
    }
    child.wait().unwrap();
    Err(said)
}

/// Waits for a child that ends by itself.
pub(super) fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Log {
    /// Reads a log; a line that was cut by the kill does not count.
    pub(super) fn read(path: &Path) -> Log {
        let text = fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut log = Log::default();
        for line in whole.lines() {
            let number = || line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
            match line.split(' ').next() {
                Some("open") => log.is_open = true,
                Some("begin") => {
                    log.begun = number();
                    log.may_be_committed.push(log.begun);
                }
                Some("maybe") => log.may_be_committed.push(number()),
                Some("ack") => {
                    log.may_be_committed.clear();
                    log.acknowledged = number();
                    log.n_acknowledged += 1;
                }
                _ => panic!("{line:?} in {}", path.display()),
            }
        }
        log
    }
}

/// Opens the index so that its map grows and its changes spill.
pub(super) fn open(folder: &IndexFolder) -> TaggingWriter<Words> {
    let encoder = Words::new(&LABELS);
    let storage = StorageOptions { initial_map_bytes: 1, staged_bytes: 2048, indexed_from: 0 };
    let path = folder.datastore_path();
    let datastore = Datastore::open_with(&path, &encoder.fingerprint(), storage).unwrap();
    let (index, fields): (Index, _) = folder.index().unwrap();
    let options = WriterOptions::new()
        .threads(2.try_into().ok())
        .chunk_operations(4.try_into().unwrap())
        .job_documents(10.try_into().unwrap())
        .tantivy_memory(15_000_000);
    TaggingWriter::open(index, datastore, tagger(encoder), fields, options).unwrap()
}

/// Starts a process that reads both stores over and over, until it is killed.
pub(super) fn start_watching(index: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child::watch", "--ignored", "--nocapture"]);
    command.env(WATCHED, index).env_remove("AUTOTAG_FAILPOINT");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn watch() {
    let Some(path) = std::env::var_os(WATCHED) else { return };
    let path = Path::new(&path);
    // A test that failed can no longer kill it.
    let parent = parent_id();
    while !IndexFolder::exists(path) && parent_id() == parent {
        thread::sleep(Duration::from_millis(10));
    }
    let folder = IndexFolder::open(path).unwrap();
    while parent_id() == parent {
        let datastore = folder.datastore().unwrap();
        for _ in 0..20 {
            let report = datastore.verify().unwrap();
            assert_eq!(report.problems, []);
            let reader = datastore.reader().unwrap();
            assert!(reader.generation() >= report.generation);
            let searcher = folder.searcher().unwrap();
            let request = SearchRequest::new().limit(usize::MAX);
            searcher.search(&request).unwrap();
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn storm() {
    let Ok(task) = std::env::var(TASK) else { return };
    let storm: Storm = serde_json::from_str(&task).unwrap();
    if storm.create {
        let encoder = Fingerprint([7; 32]);
        let seed = Datastore::open_read_only(&storm.seed, &encoder).unwrap();
        let (schema, fields, _) = schema();
        IndexFolder::create(&storm.index, schema, &fields, &bundle("bundle", &seed)).unwrap();
    }
    let log = File::options().create(true).append(true).open(&storm.log).unwrap();
    let folder = IndexFolder::open(&storm.index).unwrap();
    let (_, fields) = folder.index().unwrap();
    let writer = open(&folder);
    let mut storming = Storming { log, writer, fields, next: 0 };
    // What an earlier round began to tag again.
    storming.writer.resume(|_| {}).unwrap();
    storming.note("open");
    for batch in 0..storm.commits {
        storming.run_batch(&storm, batch);
    }
    storming.writer.close().unwrap();
}

struct Storming {
    log: File,
    writer: TaggingWriter<Words>,
    fields: TagFields,
    next: u64,
}

impl Storming {
    fn note(&mut self, line: &str) {
        self.log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Does what another round would do, and drops it.
    fn roll_back(&self, round: u64) {
        for number in 0..20 {
            let (key, operation) = operation(round + 1_000_000, number);
            match self.try_apply(&key, &operation) {
                Ok(_) | Err(Error::NotCommitted { .. } | Error::NoSuchDocument { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.writer.rollback().unwrap();
    }

    fn run_batch(&mut self, storm: &Storm, batch: u64) {
        if batch % 4 == 2 {
            self.roll_back(storm.round + batch);
        }
        let mut keys = BTreeSet::new();
        let end = self.next + batch_size(storm.round, batch);
        for number in self.next..end {
            thread::sleep(Duration::from_micros(storm.delay_us));
            let (key, operation) = operation(storm.round, number);
            let is_new = keys.insert(key.clone());
            // What a person says of a document, or said of one that comes again, is about a commit.
            if !is_new || matches!(operation, Operation::Correct(_)) {
                self.note(&format!("maybe {number}"));
            }
            self.apply(&key, operation);
        }
        self.next = end;
        self.note(&format!("begin {end}"));
        if batch % 5 == 3 {
            self.writer.retag("", |_| {}).unwrap();
        }
        let generation = self.writer.commit().unwrap().generation;
        self.note(&format!("ack {end} {generation}"));
    }

    /// Does an operation; commits first where it depends on an uncommitted one.
    fn apply(&self, key: &str, operation: Operation) {
        let mut outcome = self.try_apply(key, &operation);
        if let Err(Error::NotCommitted { .. }) = outcome {
            self.writer.commit().unwrap();
            outcome = self.try_apply(key, &operation);
        }
        match outcome {
            Ok(_) | Err(Error::NoSuchDocument { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn try_apply(&self, key: &str, operation: &Operation) -> Result<Ticket, Error> {
        let writer = &self.writer;
        match operation {
            Operation::Put(Entry { text, labels, .. }) => {
                let document = document(&self.fields, key, text);
                match labels {
                    Some(labels) => writer.add_labeled(document, labels),
                    None => writer.add(document),
                }
            }
            Operation::Delete => writer.delete(key),
            Operation::Correct(labels) => writer.correct(key, &Correction::set(labels)),
        }
    }
}

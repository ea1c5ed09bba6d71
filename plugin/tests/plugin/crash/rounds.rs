//! Many processes on one index at once: they create it, write to it, correct, migrate and repair it, and
//! some are killed. After each round all acknowledged work is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use autotag::{Datastore, Fingerprint, Source};
use serde::{Deserialize, Serialize};
use tantivy_autotag::{
    BundleSource, Correction, Error, IndexFolder, InitialNeighbors, Result, TaggingWriter,
    WriterOptions, tag_path,
};
use tempfile::TempDir;

use super::model::Random;
use crate::support::{LABELS, Words, datastore_options, document, schema, tagger};
use crate::verify::embedding;

/// The number of rounds in the short version.
const ROUNDS: u64 = 30;

/// Set by whoever wants more.
const N_ROUNDS: &str = "AUTOTAG_STORM_ROUNDS";

const TASK: &str = "AUTOTAG_TEST_ROUND";

/// The bundles that an index is moved between: the first and the last have the same encoder.
const BUNDLES: [Bundle; 3] = [
    Bundle { name: "first", encoder: 7, fingerprint: 1 },
    Bundle { name: "second", encoder: 9, fingerprint: 2 },
    Bundle { name: "retrained", encoder: 7, fingerprint: 3 },
];

#[derive(Clone, Copy)]
struct Bundle {
    name: &'static str,
    encoder: u8,
    fingerprint: u8,
}

impl Bundle {
    fn encoder(self) -> Fingerprint {
        Fingerprint([self.encoder; 32])
    }

    fn make(self, folder: &Path) {
        let mut options = datastore_options(&LABELS);
        options.encoder = self.encoder();
        let seed = Datastore::create(&folder.join(self.name), &options).unwrap();
        let mut writer = seed.writer().unwrap();
        writer.put(self.name, &embedding(), &["role::program"], Source::Training).unwrap();
        writer.commit().unwrap();
    }

    fn words(self) -> Words {
        Words::new(&LABELS).with_fingerprint(self.encoder)
    }

    /// Opens its training set for what is done with it.
    fn with<T>(self, folder: &Path, run: impl FnOnce(&BundleSource<'_>) -> T) -> T {
        let seed = Datastore::open_read_only(&folder.join(self.name), &self.encoder()).unwrap();
        let fingerprint = Fingerprint([self.fingerprint; 32]);
        run(&BundleSource {
            path: Path::new(self.name),
            fingerprint,
            neighbors: InitialNeighbors::TrainingSet(&seed),
        })
    }

    /// Returns one with an index's encoder.
    fn of(index: &IndexFolder) -> Bundle {
        *BUNDLES.iter().find(|bundle| bundle.encoder() == index.encoder()).unwrap()
    }
}

/// A process's task.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Role {
    /// Make the index where there is none, and add documents under keys that begin with this.
    Index(String),
    /// Give documents a label.
    Correct(Vec<String>, String),
    /// Move the index to a bundle, by its number.
    Migrate(usize),
    Repair,
    /// Search, and read the neighbors.
    Read,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    folder: PathBuf,
    log: PathBuf,
    role: Role,
    /// The time between reading what the index is and locking it, as loading a model takes.
    loading: Duration,
}

impl Task {
    fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    fn start(&self) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "crash::rounds::process", "--ignored", "--nocapture"]);
        command.env(TASK, serde_json::to_string(self).unwrap()).env_remove("AUTOTAG_FAILPOINT");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Opens the index, and loads a model.
    fn open(&self) -> Result<IndexFolder> {
        let index = IndexFolder::open(&self.index())?;
        thread::sleep(self.loading);
        Ok(index)
    }

    fn note(&self, event: &Event) {
        let mut log = File::options().create(true).append(true).open(&self.log).unwrap();
        let line = serde_json::to_string(event).unwrap() + "\n";
        log.write_all(line.as_bytes()).unwrap();
    }
}

/// A process's report.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    /// A document may have a label from here on; without one it was only added.
    Begun(String, Option<String>),
    /// It has.
    Done(String, Option<String>),
}

#[test]
#[ignore = "the other test starts it as a process of its own"]
fn process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Task = serde_json::from_str(&task).unwrap();
    match run(&task) {
        // Somebody else is at work, or there is nothing to work on yet.
        Ok(()) | Err(Error::InUse | Error::NoIndex { .. } | Error::IndexUnfinished { .. }) => {}
        // Between reading the description and locking the index, another process moved it.
        Err(Error::EncoderMismatch { .. }) => {}
        Err(error) => panic!("{:?}: {:#}", task.role, anyhow::Error::from(error)),
    }
}

fn run(task: &Task) -> Result<()> {
    match &task.role {
        Role::Index(prefix) => index(task, prefix),
        Role::Correct(keys, label) => correct(task, keys, label),
        Role::Migrate(bundle) => migrate(task, BUNDLES[*bundle]),
        Role::Repair => repair(task),
        Role::Read => read(task),
    }
}

fn open_or_create(task: &Task) -> Result<IndexFolder> {
    let path = task.index();
    if IndexFolder::exists(&path) {
        return task.open();
    }
    thread::sleep(task.loading);
    let (schema, fields, _) = schema();
    let made =
        BUNDLES[0].with(&task.folder, |bundle| IndexFolder::create(&path, schema, &fields, bundle));
    match made {
        Err(Error::IndexExists { .. }) => task.open(),
        made => made,
    }
}

fn writer(index: &IndexFolder) -> Result<TaggingWriter<Words>> {
    let options = WriterOptions::new().job_documents(7.try_into().unwrap());
    index.writer(tagger(Bundle::of(index).words()), options)
}

fn index(task: &Task, prefix: &str) -> Result<()> {
    let index = open_or_create(task)?;
    let writer = writer(&index)?;
    let (_, fields) = index.index()?;
    for batch in 0..3 {
        let keys: Vec<String> = (0..4).map(|n| format!("{prefix}-{batch}-{n}")).collect();
        for (number, key) in keys.iter().enumerate() {
            let document = document(&fields, key, "program oven");
            match number % 2 {
                0 => writer.add(document)?,
                _ => writer.add_labeled(document, ["dog"])?,
            };
        }
        writer.commit()?;
        for key in keys {
            task.note(&Event::Done(key, None));
        }
    }
    writer.close()
}

fn correct(task: &Task, keys: &[String], label: &str) -> Result<()> {
    let index = task.open()?;
    let writer = writer(&index)?;
    for key in keys {
        task.note(&Event::Begun(key.clone(), Some(label.to_owned())));
        writer.correct(key, &Correction::set([label]))?;
    }
    writer.commit()?;
    for key in keys {
        task.note(&Event::Done(key.clone(), Some(label.to_owned())));
    }
    writer.close()
}

fn migrate(task: &Task, to: Bundle) -> Result<()> {
    let mut index = task.open()?;
    let options = WriterOptions::new().job_documents(7.try_into().unwrap());
    let moved =
        to.with(&task.folder, |bundle| index.migrate(tagger(to.words()), bundle, options, |_| {}));
    let (writer, _) = moved?;
    let fingerprint = Fingerprint([to.fingerprint; 32]);
    let is_same = writer.unfinished_job().is_some_and(|job| job.is_moving_to(fingerprint));
    writer.resume(|_| {})?;
    if !is_same {
        writer.retag_moved(fingerprint, |_| {})?;
    }
    writer.close()
}

fn repair(task: &Task) -> Result<()> {
    let index = task.open()?;
    let bundle = Bundle::of(&index);
    bundle.with(&task.folder, |source| {
        let mut index = IndexFolder::recover(&task.index(), source)?;
        let report = index.repair(&tagger(bundle.words()), source, |_| {})?;
        assert!(report.after.is_sound(), "{report:#?}");
        assert!(report.rebuilt.is_none() && report.restored.is_empty(), "{report:#?}");
        Ok(())
    })
}

fn read(task: &Task) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(150) {
        if IndexFolder::exists(&task.index()) {
            let (index, datastore) = IndexFolder::open_with_datastore(&task.index())?;
            datastore.reader()?;
            index.searcher()?;
        }
        thread::sleep(Duration::from_millis(3));
    }
    Ok(())
}

/// The possible labels of documents, by key; `None` where people gave none.
type Known = BTreeMap<String, BTreeSet<Option<String>>>;

struct Rounds {
    folder: TempDir,
    random: Random,
    known: Known,
    n_killed: u64,
    n_processes: u64,
    n_corrections: u64,
}

impl Rounds {
    fn new(seed: u64) -> Self {
        let folder = TempDir::new().unwrap();
        for bundle in BUNDLES {
            bundle.make(folder.path());
        }
        let (random, known) = (Random::new(seed), Known::new());
        Rounds { folder, random, known, n_killed: 0, n_processes: 0, n_corrections: 0 }
    }

    fn index(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    fn role(&mut self, round: u64, number: u64) -> Role {
        match self.random.below(8) {
            0..2 => Role::Index(format!("{round}-{number}")),
            2..4 if !self.known.is_empty() => {
                // No two processes of a round correct the same document.
                let mine = self.known.keys().skip(number as usize).step_by(7);
                let keys: Vec<String> = mine.take(3).cloned().collect();
                Role::Correct(keys, format!("said::in {round} by {number}"))
            }
            4..6 => Role::Migrate(self.random.below(3) as usize),
            6 => Role::Repair,
            7 => Role::Read,
            _ => Role::Index(format!("{round}-{number}")),
        }
    }

    fn run(&mut self, round: u64) {
        let n_processes = 2 + self.random.below(4);
        let mut children = Vec::new();
        for number in 0..n_processes {
            let log = self.folder.path().join(format!("log-{round}-{number}"));
            let role = self.role(round, number);
            let loading = Duration::from_micros(self.random.below(60_000));
            let task = Task { folder: self.folder.path().to_owned(), log, role, loading };
            children.push((task.start(), task));
            thread::sleep(Duration::from_micros(self.random.below(40_000)));
        }
        self.n_processes += n_processes;
        for (mut child, task) in children {
            if self.random.below(3) == 0 {
                thread::sleep(Duration::from_micros(self.random.below(120_000)));
                // It may have ended already.
                let _ = child.kill();
            }
            let output = child.wait_with_output().unwrap();
            match output.status.code() {
                None => self.n_killed += 1,
                Some(code) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(code, 0, "round {round}: {:?}: {said}", task.role);
                }
            }
            self.learn(&task.log);
        }
    }

    fn learn(&mut self, log: &Path) {
        let text = fs::read_to_string(log).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            match serde_json::from_str(line).unwrap() {
                Event::Begun(key, label) => drop(self.known.entry(key).or_default().insert(label)),
                Event::Done(key, label) => {
                    self.n_corrections += u64::from(label.is_some());
                    self.known.insert(key, BTreeSet::from([label]));
                }
            }
        }
    }

    fn check(&mut self, round: u64) {
        if !IndexFolder::exists(&self.index()) {
            assert!(self.known.is_empty());
            return;
        }
        let index = IndexFolder::open(&self.index()).unwrap();
        let report = index.verify().unwrap();
        assert!(report.is_sound(), "round {round}: {report:#?}");
        // Whoever writes next leaves the index as sound, and nothing beside it.
        writer(&index).unwrap().close().unwrap();
        let report = index.verify().unwrap();
        assert!(report.is_sound(), "round {round}: {report:#?}");
        let own = self.index().join("autotag");
        for odd in ["set-aside", "damaged", "unfinished"] {
            assert!(!own.join(odd).exists(), "round {round}: {odd}");
        }
        let searcher = index.searcher().unwrap();
        for (key, may) in &mut self.known {
            let found = searcher.document(key).unwrap();
            let found = found.unwrap_or_else(|| panic!("round {round}: {key} is lost"));
            let said =
                found.tags.iter().map(tag_path).find_map(|path| {
                    path.strip_prefix("/said/").map(|label| format!("said::{label}"))
                });
            assert!(may.contains(&said), "round {round}: {key} is {said:?}, may be {may:?}");
            *may = BTreeSet::from([said]);
        }
    }
}

#[test]
// Shown to whoever runs it by itself.
#[allow(clippy::print_stdout)]
fn rounds_of_many_processes_lose_nothing() {
    let n_rounds = std::env::var(N_ROUNDS).map_or(ROUNDS, |n| n.parse().expect("a number"));
    let mut rounds = Rounds::new(n_rounds);
    let started = Instant::now();
    for round in 1..=n_rounds {
        // A new index now and then: making one at once is part of it.
        if round % 20 == 0 {
            fs::remove_dir_all(rounds.index()).unwrap();
            rounds.known.clear();
        }
        rounds.run(round);
        rounds.check(round);
        if round % 50 == 0 || round == n_rounds {
            let Rounds { n_processes, n_killed, n_corrections, .. } = &rounds;
            println!(
                "{round} rounds in {:.0} s: {n_processes} processes, {n_killed} of them killed; \
                 {n_corrections} acknowledged corrections and all documents are there",
                started.elapsed().as_secs_f64()
            );
        }
    }
}

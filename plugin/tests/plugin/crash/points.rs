//! A process is killed at every step of a commit, of its recovery, and of an index's creation.

use std::path::PathBuf;

use autotag::{Datastore, Embedding, Source};
use tantivy_autotag::{IndexFolder, Interrupted, VerifyReport};
use tempfile::TempDir;

use super::child::{self, Log, Storm};
use super::model::{State, advance};
use super::observe::{SEED_KEY, observe};
use crate::support::{DIMENSIONS, LABELS, datastore_options};

/// An index that children write to and die of, and the states that it may be in.
pub(super) struct Victim {
    folder: TempDir,
    round: u64,
    /// One of them is what the index holds.
    pub(super) candidates: Vec<State>,
    pub(super) n_acknowledged: u64,
}

impl Victim {
    /// Has no index yet, but what one begins with.
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("seed");
        let datastore = Datastore::create(&path, &datastore_options(&LABELS)).unwrap();
        let mut writer = datastore.writer().unwrap();
        let embedding = Embedding::new(vec![1.0; DIMENSIONS]).unwrap();
        writer.put(SEED_KEY, &embedding, &["role::program"], Source::Training).unwrap();
        writer.commit().unwrap();
        Victim { folder, round: 0, candidates: vec![State::new()], n_acknowledged: 0 }
    }

    pub(super) fn index(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    /// Begins a round, with new operations and a log of its own.
    pub(super) fn storm(&mut self, commits: u64) -> Storm {
        self.round += 1;
        Storm {
            index: self.index(),
            seed: self.folder.path().join("seed"),
            log: self.log(),
            round: self.round,
            commits,
            delay_us: 0,
            create: !IndexFolder::exists(&self.index()),
        }
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.path().join(format!("log-{}", self.round))
    }

    /// Works out from the log what the index may hold now.
    pub(super) fn died(&mut self) -> Log {
        let log = Log::read(&self.log());
        self.n_acknowledged += log.n_acknowledged;
        let mut candidates = Vec::new();
        for state in &self.candidates {
            for end in log.may_be_committed.iter().chain([&log.acknowledged]) {
                let state = advance(state, self.round, 0..*end);
                if !candidates.contains(&state) {
                    candidates.push(state);
                }
            }
        }
        self.candidates = candidates;
        log
    }

    /// Checks the index as it lies there.
    pub(super) fn verify(&self, what: &str) -> VerifyReport {
        let report = IndexFolder::open(&self.index()).unwrap().verify().unwrap();
        assert!(report.is_sound(), "{what}: {report:#?}");
        report
    }

    /// Opens the index for writing, as the next process would, and compares it with the model.
    pub(super) fn check(&mut self, what: &str) {
        if !IndexFolder::exists(&self.index()) {
            return;
        }
        self.verify(what);
        drop(child::open(&IndexFolder::open(&self.index()).unwrap()));
        let report = self.verify(what);
        assert_eq!(report.interrupted, None, "{what}");
        let state = observe(&self.index());
        let n_candidates = self.candidates.len();
        assert!(self.candidates.contains(&state), "{what}: none of {n_candidates}: {state:#?}");
        self.candidates = vec![state];
    }

    /// Kills a child at a failpoint.
    #[track_caller]
    fn kill_at(&mut self, failpoint: &str) -> Log {
        let storm = self.storm(12);
        let mut child = child::start(&storm, Some(failpoint));
        if let Err(said) = child::kill_at_failpoint(&mut child) {
            panic!("{failpoint} was not reached: {said}");
        }
        self.died()
    }

    /// Lets a child write and end by itself.
    fn go_on(&mut self) {
        let storm = self.storm(3);
        child::finish(child::start(&storm, None));
        let log = self.died();
        assert_eq!((log.n_acknowledged, log.begun), (3, log.acknowledged));
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // For whoever looks into the failure.
            self.folder.disable_cleanup(true);
        }
    }
}

/// Kills processes at these points one after another, then lets one live.
#[track_caller]
fn check(failpoints: &[&str]) {
    let mut victim = Victim::new();
    for failpoint in failpoints {
        victim.kill_at(failpoint);
    }
    victim.check(&failpoints.join(", then "));
    victim.go_on();
    victim.check("a round in peace");
}

#[test]
fn at_every_step_of_a_commit() {
    for step in ["begun", "prepared", "journaled", "published", "applied"] {
        check(&[&format!("commit::{step}:1")]);
        check(&[&format!("commit::{step}:4")]);
    }
}

#[test]
fn at_every_step_of_the_datastore() {
    for step in ["spilled", "preparing", "prepared", "apply", "applying", "built", "applied"] {
        check(&[&format!("datastore::{step}:3")]);
    }
    for count in 1..8 {
        check(&[&format!("datastore::committed:{count}")]);
    }
}

#[test]
fn at_every_step_of_a_recovery() {
    for step in ["open::locked", "datastore::apply", "datastore::applying", "datastore::built"] {
        check(&["commit::published:3", step]);
    }
    for step in ["datastore::committed", "datastore::applied", "open::settled", "open::collected"] {
        check(&["commit::published:3", step]);
    }
    for step in ["open::locked", "datastore::discard", "datastore::discarded", "open::settled"] {
        check(&["commit::journaled:3", step]);
    }
    check(&["commit::published:3", "datastore::built", "datastore::apply", "commit::journaled"]);
    check(&["commit::prepared:2", "open::settled", "commit::published", "commit::prepared"]);
}

#[test]
fn at_every_step_of_a_rollback() {
    for step in ["rollback::begun", "rollback::tantivy", "rollback::datastore"] {
        check(&[&format!("{step}:1")]);
        check(&[&format!("{step}:2")]);
    }
    for step in ["datastore::discard:1", "datastore::discarded:2"] {
        check(&[step]);
    }
    check(&["rollback::tantivy:2", "open::settled", "commit::published", "rollback::datastore"]);
}

#[test]
fn at_every_step_of_tagging_again() {
    for count in 1..5 {
        check(&[&format!("job::committed:{count}")]);
    }
    check(&["job::committed:2", "open::settled", "job::committed:1"]);
}

#[test]
fn at_every_step_of_an_indexs_making() {
    for step in ["marked", "seeded", "indexed", "described"] {
        check(&[&format!("create::{step}")]);
    }
}

#[test]
fn a_commit_is_there_from_the_instant_that_tantivy_publishes_it() {
    for (failpoint, is_there) in [("commit::journaled:2", false), ("commit::published:2", true)] {
        let mut victim = Victim::new();
        let log = victim.kill_at(failpoint);
        let begun = *log.may_be_committed.last().unwrap();
        assert!(begun > log.acknowledged);
        let end = if is_there { begun } else { log.acknowledged };
        let interrupted = if is_there { Interrupted::Completed } else { Interrupted::Dropped };
        assert_eq!(victim.verify(failpoint).interrupted, Some(interrupted));
        let expected = advance(&State::new(), victim.round, 0..end);
        victim.check(failpoint);
        assert_eq!(victim.candidates, [expected], "{failpoint}");
    }
}

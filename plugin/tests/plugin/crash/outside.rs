//! A process is killed while it opens an index that another program changed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use autotag::Datastore;
use tantivy_autotag::{IndexFolder, Problem, WriterOptions};

use super::child;
use crate::outside::changed;
use crate::support::{LABELS, Words, neighbor_keys, tagger};

/// Names the index that is opened.
const OPENED: &str = "AUTOTAG_TEST_OPENED";

fn start(path: &Path, failpoint: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::outside::opening", "--ignored", "--nocapture"]);
    command.env(OPENED, path).env("AUTOTAG_FAILPOINT", failpoint);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn open(path: &Path) -> Datastore {
    let folder = IndexFolder::open(path).unwrap();
    drop(folder.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap());
    folder.datastore().unwrap()
}

#[test]
#[ignore = "the other test starts it as a process of its own"]
fn opening() {
    if let Some(path) = std::env::var_os(OPENED) {
        open(Path::new(&path));
    }
}

#[test]
fn the_neighbors_of_gone_documents_are_removed_whenever_an_opening_dies() {
    let steps = ["begun", "prepared", "journaled", "published", "synced", "applied"];
    for step in steps {
        let sample = changed();
        let mut child = start(&sample.path(), &format!("commit::{step}"));
        if let Err(said) = child::kill_at_failpoint(&mut child) {
            panic!("{step} was not reached: {said}");
        }
        assert_eq!(neighbor_keys(&open(&sample.path())), ["seed"], "{step}");
        let problems = sample.verify().problems;
        // Of a document without a key, which is still there.
        let is_of_key =
            |problem: &Problem| matches!(problem, Problem::NoKey | Problem::Count { .. });
        assert!(problems.iter().all(is_of_key), "{step}: {problems:?}");
    }
}

//! The order in which the creation and the migration of an index reach the disk, by system calls.
//!
//! A power cut may undo whatever was not synced: a name must not lead to a file before that file is
//! durable.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use autotag::Datastore;
use tantivy_autotag::{IndexFolder, WriterOptions};
use tempfile::TempDir;

use crate::mending::{other_encoder, other_seed};
use crate::support::{LABELS, bundle, datastore_options, schema, tagger};

const TASK: &str = "AUTOTAG_TEST_POWER";

#[test]
#[ignore = "the other test starts it as a process of its own"]
fn process() {
    let Some(folder) = std::env::var_os(TASK) else { return };
    let folder = Path::new(&folder);
    let seed = Datastore::create(&folder.join("seed"), &datastore_options(&LABELS)).unwrap();
    let (schema, fields, _) = schema();
    let path = folder.join("index");
    let mut index = IndexFolder::create(&path, schema, &fields, &bundle("a", &seed)).unwrap();
    let other = other_seed(folder);
    let options = WriterOptions::default();
    let moved = index.migrate(tagger(other_encoder()), &bundle("b", &other), options, |_| {});
    moved.unwrap().0.close().unwrap();
}

/// Returns the calls that matter, one a line, with the names of files.
// A test that did not run must say so.
#[allow(clippy::print_stderr)]
fn traced(folder: &Path) -> Option<Vec<String>> {
    let trace = folder.join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o"]);
    command.arg(&trace).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::power::process", "--ignored"]);
    command.env(TASK, folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
        Err(error) => {
            eprintln!("SKIPPED, the order of syncs was not checked: strace cannot be run: {error}");
            return None;
        }
    }
    Some(fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn nothing_is_named_before_it_is_durable() {
    let folder = TempDir::new().unwrap();
    let Some(calls) = traced(folder.path()) else { return };
    let published: Vec<usize> = (0..calls.len())
        .filter(|&n| calls[n].contains("rename") && calls[n].contains("autotag/index.json\""))
        .collect();
    assert_eq!(published.len(), 2, "made, and moved: {calls:#?}");
    let index = IndexFolder::open(&folder.path().join("index")).unwrap();
    let moved = index.datastore_path();
    for (at, datastore) in published.into_iter().zip(["datastore", moved.to_str().unwrap()]) {
        let datastore = datastore.rsplit('/').next().unwrap();
        let own = "index/autotag";
        let is_synced = |calls: &[String], path: &str| {
            calls.iter().any(|call| call.contains("sync(") && call.contains(&format!("{path}>")))
        };
        let (before, after) = calls.split_at(at);
        for path in [format!("{own}/{datastore}"), own.to_owned()] {
            assert!(is_synced(before, &path), "{path} before: {before:#?}");
        }
        let data = format!("{own}/{datastore}/data.mdb");
        let is_written = is_synced(before, &data) || is_synced(before, &(data + ".partial"));
        assert!(is_written, "the datastore's file before: {before:#?}");
        for path in [own, "index"] {
            assert!(is_synced(after, path), "{path} after: {after:#?}");
        }
    }
}

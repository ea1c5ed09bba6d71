//! Processes that die while they read.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::*;
use crate::datastore::environment::open_env;

/// Names the datastore that a child reads.
const TASK: &str = "AUTOTAG_TEST_READ";

const VERSIONS: usize = 40;

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn read_forever() {
    let Some(folder) = std::env::var_os(TASK) else { return };
    let datastore = Datastore::open(Path::new(&folder), &ENCODER).unwrap();
    let read = datastore.shared.store.read(|txn| {
        datastore.shared.store.header(txn)?;
        std::io::Write::write_all(&mut std::io::stderr(), b"reading\n").unwrap();
        // A test that failed can no longer kill it.
        thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    read.unwrap();
}

/// Starts a process with a transaction that ends only when it is killed.
fn start_reading(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "datastore::tests::processes::read_forever", "--ignored"]);
    command.arg("--nocapture").env(TASK, folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.map(Result::unwrap).any(|line| line == "reading"), "it never reads");
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Writes the same items over and over; returns by how many bytes the file grew.
fn growth(datastore: &Datastore) -> u64 {
    let length = || fs::metadata(datastore.shared.store.folder().join("data.mdb")).unwrap().len();
    // Until as many pages are free as a commit needs.
    (0..5).for_each(|_| drop(fill(datastore, &clustered(100, 32, 1))));
    let before = length();
    for version in 0..VERSIONS {
        fill(datastore, &clustered(100, 32, version as u64));
    }
    length() - before
}

#[test]
fn a_killed_reader_keeps_no_pages_from_being_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 32);
    let usual = growth(&datastore);
    let reading = start_reading(folder.path());
    let hindered = growth(&datastore);
    assert!(hindered > 10 * usual.max(32 << 10), "a live reader hinders: {hindered}, {usual}");
    kill(reading);
    // The writer goes on without being opened again.
    let after = growth(&datastore);
    assert!(after < hindered / 10, "{after} after {hindered}");
    assert_eq!(datastore.verify().unwrap().problems, []);
}

#[test]
fn opening_clears_the_slots_of_killed_readers() {
    let folder = tempfile::tempdir().unwrap();
    drop(create(folder.path(), 32));
    // While one process has it open, LMDB itself clears nothing.
    let reading = start_reading(folder.path());
    (0..2).for_each(|_| kill(start_reading(folder.path())));
    let env = open_env(folder.path(), Access::ReadWrite, StorageOptions::default()).unwrap();
    assert_eq!(env.clear_stale_readers().unwrap(), 0);
    kill(reading);
    assert_eq!(env.clear_stale_readers().unwrap(), 1);
}

use std::fs;
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, PutFlags, WithoutTls};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::StorageOptions;
use crate::datastore::environment::{Access, open_env};

type Entries = Database<'static, Bytes, Bytes>;

fn open(folder: &Path) -> (Env<WithoutTls>, Vec<Entries>) {
    let storage = StorageOptions { initial_map_bytes: 1 << 30, ..StorageOptions::default() };
    let env = open_env(folder, Access::ReadWrite, storage).unwrap();
    let txn = env.write_txn().unwrap();
    let created = env.create_databases_and_commit(txn, |opener, txn| -> heed::Result<_> {
        let a = opener.create_database::<Bytes, Bytes>(txn, Some("a"))?;
        let b = opener.create_database::<Bytes, Bytes>(txn, Some("b"))?;
        let c = opener.create_database::<Bytes, Bytes>(txn, Some("a name of some length"))?;
        Ok(CommitOrAbort::<_, ()>::Commit((a, b, c)))
    });
    let (a, b, c) = created.unwrap().unwrap_commit();
    (env, vec![a, b, c])
}

/// A key whose length and order follow from a number.
fn key(number: u16) -> Vec<u8> {
    let mut key = number.wrapping_mul(25_717).to_be_bytes().to_vec();
    key.resize(2 + usize::from(number) * 7 % 480, b'k');
    key
}

#[derive(Clone, Debug)]
enum Change {
    Put(u16, u16),
    Delete(u16),
    Clear,
}

fn change() -> impl Strategy<Value = Change> {
    let length = prop_oneof![0u16..40, 1_500u16..2_500, 0u16..30_000];
    prop_oneof![
        12 => (0u16..300, length).prop_map(|(key, length)| Change::Put(key, length)),
        8 => (0u16..300).prop_map(Change::Delete),
        1 => Just(Change::Clear),
    ]
}

fn apply(env: &Env<WithoutTls>, databases: &[Entries], changes: &[(usize, Change)], keep: bool) {
    let mut txn = env.write_txn().unwrap();
    for (database, change) in changes {
        let database = databases[database % databases.len()];
        match change {
            Change::Put(number, length) => {
                let value = vec![*number as u8; usize::from(*length)];
                database.put(&mut txn, &key(*number), &value).unwrap();
            }
            Change::Delete(number) => drop(database.delete(&mut txn, &key(*number)).unwrap()),
            Change::Clear => database.clear(&mut txn).unwrap(),
        }
    }
    if keep {
        txn.commit().unwrap();
    } else {
        txn.abort();
    }
}

fn check_copy(env: &Env<WithoutTls>, folder: &Path) {
    let copy = folder.join("copy");
    fs::create_dir_all(&copy).unwrap();
    for option in [heed::CompactionOption::Enabled, heed::CompactionOption::Disabled] {
        drop(env.copy_to_path(copy.join("data.mdb"), option).unwrap());
        check(&copy).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_lmdb_writes_is_sound(
        transactions in proptest::collection::vec(
            (proptest::collection::vec((0usize..3, change()), 1..120), 0u8..8),
            1..25,
        ),
    ) {
        let folder = fast_folder();
        let (env, databases) = open(folder.path());
        let mut reading = None;
        for (changes, dice) in &transactions {
            // Now and then a reader keeps pages from being used again.
            match dice {
                0 => reading = Some(env.read_txn().unwrap()),
                1 => reading = None,
                _ => {}
            }
            apply(&env, &databases, changes, *dice != 2);
            check(folder.path()).unwrap();
        }
        drop(reading);
        check_copy(&env, folder.path());
    }
}

/// A folder in memory, where there is one: LMDB waits for the disk at every commit.
fn fast_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn deep_trees_and_long_lists_of_free_pages_are_sound() {
    let folder = fast_folder();
    let (env, databases) = open(folder.path());
    let mut rng = StdRng::seed_from_u64(1);
    let mut txn = env.write_txn().unwrap();
    for number in 0u32..30_000 {
        let value = vec![1; rng.random_range(0..600)];
        databases[0]
            .put_with_flags(&mut txn, PutFlags::APPEND, &number.to_be_bytes(), &value)
            .unwrap();
    }
    txn.commit().unwrap();
    check(folder.path()).unwrap();
    for round in 0..12u32 {
        let mut txn = env.write_txn().unwrap();
        for _ in 0..4_000 {
            let key = rng.random_range(0u32..30_000).to_be_bytes();
            if round % 3 == 0 {
                databases[0].delete(&mut txn, &key).unwrap();
            } else {
                let value = vec![2; rng.random_range(0..5_000) >> rng.random_range(0..4)];
                databases[round as usize % 2].put(&mut txn, &key, &value).unwrap();
            }
        }
        txn.commit().unwrap();
        check(folder.path()).unwrap();
    }
    let mut txn = env.write_txn().unwrap();
    databases[0].clear(&mut txn).unwrap();
    txn.commit().unwrap();
    assert_eq!(check(folder.path()).unwrap(), Structure { n_databases: 3 });
    check_copy(&env, folder.path());
}

#[test]
fn what_earlier_versions_wrote_is_sound() {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with(DATA_FILE) {
                check(&folder).unwrap();
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 2, "{found:?}");
}

/// A small file with some commits behind it, and its bytes.
fn sample() -> (tempfile::TempDir, Vec<u8>) {
    sample_after(3)
}

fn sample_after(n_commits: u16) -> (tempfile::TempDir, Vec<u8>) {
    let folder = fast_folder();
    let (env, databases) = open(folder.path());
    for round in 0..n_commits {
        let put = |number: u16| (usize::from(number), Change::Put(number * 3 + round, number * 40));
        apply(&env, &databases, &(0..100).map(put).collect::<Vec<_>>(), true);
    }
    drop((databases, env));
    let bytes = fs::read(folder.path().join(DATA_FILE)).unwrap();
    (folder, bytes)
}

fn check_refused(change: impl Fn(&mut Vec<u8>)) {
    let (folder, mut bytes) = sample();
    change(&mut bytes);
    fs::write(folder.path().join(DATA_FILE), &bytes).unwrap();
    let outcome = check(folder.path());
    assert!(matches!(outcome, Err(Error::DatastoreDamaged { .. })), "{outcome:?}");
}

const PAGE_SIZE: usize = 4096;

/// Where a meta page keeps the number of its transaction, on machines of 64 bits.
#[cfg(target_pointer_width = "64")]
const TRANSACTION: usize = 16 + 128;

#[test]
#[cfg(target_pointer_width = "64")]
fn an_older_commit_is_never_taken_for_the_newest() {
    // So many that the numbers of transactions have all endings.
    for n_commits in 0..9 {
        let (folder, bytes) = sample_after(n_commits);
        check(folder.path()).unwrap();
        for (page, bit) in (0..2).flat_map(|page| (0..64).map(move |bit| (page, bit))) {
            let mut bytes = bytes.clone();
            bytes[page * PAGE_SIZE + TRANSACTION + bit / 8] ^= 1 << (bit % 8);
            fs::write(folder.path().join(DATA_FILE), &bytes).unwrap();
            let outcome = check(folder.path());
            let is_refused = matches!(outcome, Err(Error::DatastoreDamaged { .. }));
            assert!(is_refused, "{n_commits} commits, page {page}, bit {bit}: {outcome:?}");
        }
    }
}

#[test]
fn files_that_are_no_environment_are_refused() {
    check_refused(|bytes| bytes.clear());
    check_refused(|bytes| bytes.truncate(100));
    check_refused(|bytes| bytes.truncate(2 * PAGE_SIZE));
    check_refused(|bytes| bytes.fill(0));
    check_refused(|bytes| bytes.fill(0xff));
    check_refused(|bytes| bytes.copy_within(0..PAGE_SIZE, PAGE_SIZE));
}

#[test]
fn a_page_that_another_one_lies_over_is_refused() {
    let (_folder, bytes) = sample();
    let n_pages = bytes.len() / PAGE_SIZE;
    let mut n_refused = 0;
    for page in 2..n_pages {
        let (folder, mut bytes) = sample();
        let other = if page + 1 < n_pages { page + 1 } else { 2 };
        bytes.copy_within(other * PAGE_SIZE..(other + 1) * PAGE_SIZE, page * PAGE_SIZE);
        fs::write(folder.path().join(DATA_FILE), &bytes).unwrap();
        n_refused += usize::from(check(folder.path()).is_err());
    }
    // The others are free, or the later pages of long values.
    assert!(n_refused > n_pages / 3, "{n_refused} of {n_pages}");
}

//! Any change of the datastore's file: it is told, or changes no answer, and never kills the process.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::{Encoded, LabelId, Scores};

/// Names what a child does: how it opens the file, how many changes it tries, and the first one's seed.
const TASK: &str = "AUTOTAG_TEST_DAMAGE";

/// How many changes are tried in each way, where more are wanted than the usual number.
const N_CHANGES: &str = "AUTOTAG_MUTATIONS";

const DIMENSIONS: usize = 16;
const PAGE_SIZE: usize = 4096;

/// The use that is made of a changed file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Use {
    /// Opened for writing, with the seal that its last writer left.
    Sealed,
    /// Opened for writing after a writer that was killed.
    Unsealed,
    /// Opened for reading.
    ReadOnly,
}

fn scores(seed: u64, n_labels: usize) -> Scores {
    let mut rng = StdRng::seed_from_u64(seed);
    Scores::new((0..n_labels).map(|_| rng.random_range(0.0f32..1.0)).collect::<Vec<_>>()).unwrap()
}

/// Items, trees, documents that need pages of their own, free pages, and changes that wait.
fn make_sample(folder: &Path) {
    let datastore = create(folder, DIMENSIONS);
    let mut writer = datastore.writer().unwrap();
    for round in 0..3u64 {
        for (position, vector) in clustered(250, DIMENSIONS, round).iter().enumerate() {
            let (key, labels) =
                (format!("key {position}"), ["red", &format!("label {}", position % 30)]);
            let embedding = embedding(vector);
            writer.put(&key, &embedding, &labels[..1 + position % 2], Source::Human).unwrap();
            if position % 9 == 0 {
                let n_labels = if position % 18 == 0 { 900 } else { 30 };
                let scores = Some(scores(position as u64, n_labels));
                let encoded = Some(Encoded { embedding, scores });
                let rejected = [LabelId(1)].into_iter().collect();
                let content = [position as u8; 16];
                let record =
                    DocumentRecord { content, review: Review::Complete, rejected, encoded };
                writer.put_document(&key, record).unwrap();
            }
        }
        (0..30).for_each(|n| writer.delete(&format!("key {}", n * 7 + round as usize)).unwrap());
        writer.commit().unwrap();
    }
    writer.put("waiting", &embedding(&[1.0; DIMENSIONS]), &["green"], Source::Human).unwrap();
    writer.delete("key 3").unwrap();
    writer.prepare(10).unwrap();
}

/// Whatever can be asked of a datastore, as text.
fn answers(datastore: &Datastore) -> Result<Vec<String>> {
    let reader = datastore.reader()?;
    let keys: Vec<String> = reader.keys().map(|(_, key)| key.to_owned()).collect();
    let prepared = datastore.prepared()?.map(|found| (found.generation, found.changes));
    let labels: Vec<&str> = reader.labels().names().collect();
    let mut answers = vec![format!("{labels:?} {prepared:?}")];
    for key in &keys {
        answers.push(format!("{:?}", reader.get(key)?));
        // The names of documents have no checksum: only the seal tells that one was changed.
        reader.documents(&[key])?;
    }
    let queries = matrix(&clustered(3, DIMENSIONS, 77));
    answers.push(format!("{:?}", reader.nearest(queries.view(), 9, SearchMode::Exact)?));
    // Approximate: its answers may differ, or be an error.
    let _ = reader.nearest(queries.view(), 9, SearchMode::Arroy);
    Ok(answers)
}

/// Where the parts of a page are that LMDB follows.
fn place(page: &[u8], rng: &mut StdRng) -> usize {
    let short = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
    let n_nodes = (short(12).clamp(16, PAGE_SIZE) - 16) / 2;
    match rng.random_range(0..4) {
        0 => rng.random_range(0..16),
        1 if n_nodes > 0 => 16 + rng.random_range(0..2 * n_nodes),
        2 if n_nodes > 0 => {
            let node = short(16 + 2 * rng.random_range(0..n_nodes));
            (node + rng.random_range(0..24)).min(PAGE_SIZE - 1)
        }
        _ => rng.random_range(0..PAGE_SIZE),
    }
}

/// Changes a file: its pages take turns.
fn change(bytes: &mut Vec<u8>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let n_pages = bytes.len() / PAGE_SIZE;
    let page = seed as usize % n_pages * PAGE_SIZE;
    let other = rng.random_range(0..n_pages) * PAGE_SIZE;
    let at = page + place(&bytes[page..page + PAGE_SIZE], &mut rng);
    match rng.random_range(0..12) {
        0 => bytes[at..page + PAGE_SIZE].fill(rng.random_range(0..=1) * 0xff),
        1 => (0..PAGE_SIZE).for_each(|n| bytes.swap(page + n, other + n)),
        2 => bytes.copy_within(other..other + PAGE_SIZE, page),
        3 => bytes.truncate(rng.random_range(0..bytes.len())),
        4 => {
            let end = (at + rng.random_range(1..40)).min(page + PAGE_SIZE);
            bytes[at..end].iter_mut().for_each(|byte| *byte = rng.random_range(0..=255));
        }
        5 => {
            let value: u16 = [0, 1, 2, 8, 0x7fff, 0xfffe, 0xffff][rng.random_range(0..7)];
            let at = (at & !1).min(bytes.len() - 2);
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        _ => bytes[at] ^= 1 << rng.random_range(0..8),
    }
}

/// The outcome of reading: problems that were found, and the answers where there were any.
fn read(datastore: &Datastore, expected: &[String]) -> bool {
    let is_sound = datastore.verify().is_ok_and(|report| report.n_problems == 0);
    let answers = answers(datastore);
    if is_sound {
        let answers = answers.unwrap();
        let first = answers.iter().zip(expected).find(|(found, expected)| found != expected);
        assert!(answers == expected, "{} answers, {first:?}", answers.len());
    }
    is_sound
}

/// Writes to a datastore that could be opened; returns whether that went well.
fn write(datastore: &Datastore) -> Result<()> {
    let mut writer = datastore.writer()?;
    writer.apply()?;
    writer.put("new", &embedding(&[2.0; DIMENSIONS]), &["new"], Source::Human)?;
    writer.commit()
}

fn try_change(folder: &Path, usage: Use, expected: &[String]) {
    if usage == Use::ReadOnly {
        if let Ok(datastore) = Datastore::open_read_only(folder, &ENCODER) {
            read(&datastore, expected);
        }
        return;
    }
    let Ok(datastore) = Datastore::open(folder, &ENCODER) else { return };
    let was_sound = read(&datastore, expected);
    let written = write(&datastore);
    if usage == Use::Sealed {
        assert!(matches!(written, Err(Error::DatastoreDamaged { .. })), "{written:?}");
        assert_eq!(check_seal(folder).unwrap(), SealState::Damaged);
        return;
    }
    if was_sound {
        written.unwrap();
        assert_eq!(datastore.verify().unwrap().problems, []);
        assert_eq!(datastore.reader().unwrap().get("new").unwrap().unwrap().labels.len(), 1);
    } else if matches!(written, Err(Error::DatastoreDamaged { .. })) {
        assert_eq!(check_seal(folder).unwrap(), SealState::Unsealed, "damage got a seal");
    }
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
#[allow(clippy::print_stderr)]
fn change_and_use() {
    let Some(task) = std::env::var_os(TASK) else { return };
    let task = task.into_string().unwrap();
    let [usage, n_changes, seed] = task.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{task}")
    };
    let usage = match usage {
        "Sealed" => Use::Sealed,
        "Unsealed" => Use::Unsealed,
        _ => Use::ReadOnly,
    };
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (sample, changed) = (folder.path().join("sample"), folder.path().join("changed"));
    make_sample(&sample);
    let expected = answers(&Datastore::open_read_only(&sample, &ENCODER).unwrap()).unwrap();
    let whole = fs::read(sample.join("data.mdb")).unwrap();
    let (first, n_changes): (u64, u64) = (seed.parse().unwrap(), n_changes.parse().unwrap());
    for seed in first..first + n_changes {
        eprintln!("change {seed}");
        let mut bytes = whole.clone();
        change(&mut bytes, seed);
        if bytes == whole {
            continue;
        }
        let _ = fs::remove_dir_all(&changed);
        fs::create_dir(&changed).unwrap();
        fs::write(changed.join("data.mdb"), bytes).unwrap();
        if usage == Use::Sealed {
            fs::copy(sample.join("data.seal"), changed.join("data.seal")).unwrap();
        }
        try_change(&changed, usage, &expected);
    }
}

/// Lets a process of its own try changes; panics where it died, failed or hangs.
fn check_changes(usage: Use, usual: u64) {
    let wanted = std::env::var(N_CHANGES).ok().and_then(|n| n.parse().ok());
    let n_changes: u64 = wanted.unwrap_or(usual);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "datastore::tests::damage::change_and_use", "--ignored"]);
    command.arg("--nocapture").env(TASK, format!("{usage:?} {n_changes} 0"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let lines: Vec<String> = BufReader::new(stderr).lines().map_while(|l| l.ok()).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    });
    let mut stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let patience = Duration::from_secs(60) + Duration::from_millis(500) * n_changes as u32;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > patience => child.kill().unwrap(),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(status.success(), "{usage:?}: {status}\n{}", said.join().unwrap());
}

#[test]
fn a_journal_under_another_name_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    make_sample(folder.path());
    fs::remove_file(folder.path().join("data.seal")).unwrap();
    overwrite(folder.path(), b"journal", b"journel");
    let datastore = Datastore::open(folder.path(), &ENCODER).unwrap();
    assert_eq!(datastore.verify().unwrap().n_problems, 1);
    assert!(matches!(datastore.prepared(), Err(Error::DatastoreDamaged { .. })));
    assert!(matches!(datastore.writer(), Err(Error::DatastoreDamaged { .. })));
}

#[test]
fn no_change_of_a_file_without_a_seal_kills_or_goes_unnoticed() {
    check_changes(Use::Unsealed, 150);
}

#[test]
fn no_change_of_a_sealed_file_is_written_over() {
    check_changes(Use::Sealed, 75);
}

#[test]
fn no_change_of_a_file_that_is_only_read_kills_or_goes_unnoticed() {
    check_changes(Use::ReadOnly, 150);
}

/// Changes Arroy's first split, with a checksum that fits, and checks that nobody follows it.
fn check_trees_refused(change: impl Fn(&[u8], &mut Vec<u8>)) {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), DIMENSIONS);
    fill(&datastore, &clustered(400, DIMENSIONS, 1));
    let store = &datastore.shared.store;
    let changed = store.write("changed the trees", |txn| {
        let nodes = store.databases.trees.remap_types::<heed::types::Bytes, heed::types::Bytes>();
        let is_split = |key: &[u8], bytes: &[u8]| key[2] == 2 && bytes[0] == 2;
        let mut found = nodes.iter(txn).unwrap().map(Result::unwrap);
        let (key, bytes) = found.find(|(key, bytes)| is_split(key, bytes)).unwrap();
        let (key, mut bytes) = (key.to_vec(), bytes.to_vec());
        drop(found);
        change(&key, &mut bytes);
        nodes.put(txn, &key, &bytes).unwrap();
        let mut header = store.header(txn)?;
        header.trees_checksum = super::super::trees::checksum(store, txn)?;
        store.put_header(txn, &header)
    });
    changed.unwrap();
    drop(datastore);
    let datastore = Datastore::open(folder.path(), &ENCODER).unwrap();
    assert_eq!(datastore.verify().unwrap().problems, [DatastoreProblem::ChangedTrees]);
    let query = embedding(&[1.0; DIMENSIONS]);
    let found = datastore.reader().unwrap().nearest(query.as_row(), 400, SearchMode::Arroy);
    assert!(matches!(found, Err(Error::DatastoreDamaged { .. })), "{found:?}");
    let written = write(&datastore);
    assert!(matches!(written, Err(Error::DatastoreDamaged { .. })), "{written:?}");
}

#[test]
fn trees_that_arroy_could_not_leave_are_refused() {
    // A node below itself, on either side.
    check_trees_refused(|key, bytes| bytes[2..6].copy_from_slice(&key[3..7]));
    check_trees_refused(|key, bytes| bytes[7..11].copy_from_slice(&key[3..7]));
    // One node below on both sides, and one that is not there.
    check_trees_refused(|_, bytes| bytes.copy_within(1..6, 6));
    check_trees_refused(|_, bytes| bytes[2..6].fill(0xee));
    // A plane of more values than vectors have, of fewer, and a kind that no node has.
    check_trees_refused(|_, bytes| bytes.extend([1; 400]));
    check_trees_refused(|_, bytes| bytes.truncate(20));
    check_trees_refused(|_, bytes| bytes[1] = 9);
    check_trees_refused(|_, bytes| bytes[0] = 7);
}

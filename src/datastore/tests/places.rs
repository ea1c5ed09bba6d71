//! Where a datastore lies: read-only mounts, other users, full disks; and beside whom.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::*;
use crate::datastore::locks::{LMDB_FILE_BYTES, lock_for_reading};
use crate::datastore::pages;
use crate::{Encoded, Scores};

/// Names the folder that a child uses.
const FOLDER: &str = "AUTOTAG_TEST_FOLDER";

/// Makes a datastore as an index has one, and one in the state that a copy leaves.
fn make(folder: &Path) {
    drop(fill(&create(folder, 4), &clustered(40, 4, 1)));
}

/// Returns the command for a test of this file, in a process of its own.
fn child(name: &str, folder: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    let (program, folder) = (program.display(), folder.display());
    format!(
        "{FOLDER}='{folder}' exec '{program}' --exact datastore::tests::places::{name} --ignored --nocapture"
    )
}

fn shell(before: &[&str], script: &str) {
    let mut command = Command::new(before.first().unwrap_or(&"sh"));
    if let Some((_, rest)) = before.split_first() {
        command.args(rest).arg("sh");
    }
    let outcome = command.args(["-e", "-c", script]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    let passed = String::from_utf8_lossy(&outcome.stdout).contains("1 passed");
    assert!(outcome.status.success() && passed, "{}: {said}", outcome.status);
}

/// Tells whether mounts can be made that no other process sees.
fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: mounts need the rights of root and `unshare`");
        }
    }
    can
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn read_what_cannot_be_written() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let before = files(folder);
    let datastore = Datastore::open(folder, &ENCODER).unwrap();
    let again = Datastore::open(folder, &ENCODER).unwrap();
    for datastore in [&datastore, &again] {
        let reader = datastore.reader().unwrap();
        for mode in [SearchMode::Exact, SearchMode::Arroy] {
            assert_eq!(found_keys(&reader, &[0.3; 4], 50, mode).len(), 40);
        }
    }
    assert_eq!(datastore.verify().unwrap().problems, []);
    let refused = datastore.writer().unwrap_err();
    assert!(matches!(refused, Error::DatastoreNotWritable { .. }), "{refused:?}");
    let refused = Datastore::create(&folder.join("new"), &options(4)).unwrap_err();
    assert!(matches!(refused, Error::Io { .. }), "{refused:?}");
    assert_eq!(files(folder), before);
}

#[test]
fn a_datastore_on_a_read_only_mount_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (written, mounted) = (folder.path().join("written"), folder.path().join("mounted"));
    make(&written);
    fs::create_dir(&mounted).unwrap();
    if !can_mount() {
        return;
    }
    // As an index has it, and as a bundle, which nobody ever opened for writing.
    for removed in ["none", "*lock*", "data.seal"] {
        let (from, to) = (written.display(), mounted.display());
        let script = format!(
            "rm -f '{from}'/{removed}; mount --bind '{from}' '{to}'; mount -o remount,ro,bind '{to}'; {}",
            child("read_what_cannot_be_written", &mounted)
        );
        shell(&["unshare", "-m"], &script);
    }
}

#[test]
fn a_datastore_of_another_user_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    make(&store);
    // Nobody else may come to the program through its folders.
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [folder.path(), &program, &store] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    for entry in fs::read_dir(&store).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o444)).unwrap();
    }
    let is_root = fs::metadata(&program).unwrap().uid() == 0;
    let other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let program = program.display();
    let command = child("read_what_cannot_be_written", &store);
    let command = command
        .replace(&std::env::current_exe().unwrap().display().to_string(), &program.to_string());
    shell(if is_root { &other } else { &[] }, &command);
    // Its owner writes: nobody is told a state that changes meanwhile.
    if is_root {
        let datastore = Datastore::open(&store, &ENCODER).unwrap();
        let writer = datastore.writer().unwrap();
        let in_use = command.replace("read_what_cannot", "wait_for_what_cannot");
        shell(&other, &in_use);
        drop(writer);
        shell(&other, &command);
    }
    fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn wait_for_what_cannot_be_written() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let refused = Datastore::open(Path::new(&folder), &ENCODER).unwrap_err();
    assert!(matches!(refused, Error::DatastoreInUse { .. }), "{refused:?}");
    assert!(refused.to_string().contains("wait until the other process is done"), "{refused}");
}

#[test]
fn a_writer_waits_for_one_who_reads_without_lmdbs_locks() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 4);
    let reading = lock_for_reading(folder.path()).unwrap().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(400));
            drop(reading);
        });
        datastore.writer().unwrap();
    });
    let _writer = datastore.writer().unwrap();
    let refused = lock_for_reading(folder.path());
    assert!(matches!(refused, Err(Error::DatastoreInUse { .. })), "{refused:?}");
}

#[test]
fn files_get_the_mode_that_the_umask_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (store, copy) = (folder.path().join("store"), folder.path().join("copy"));
    make(&store);
    let datastore = Datastore::open(&store, &ENCODER).unwrap();
    let usual = folder.path().join("usual");
    fs::write(&usual, "").unwrap();
    datastore.copy_to(&copy).unwrap();
    drop(datastore.writer().unwrap());
    let expected = fs::metadata(&usual).unwrap().mode();
    let mut names = Vec::new();
    for entry in fs::read_dir(&store).unwrap().chain(fs::read_dir(&copy).unwrap()) {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode(), expected, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["data.mdb", "data.mdb", "data.seal", "lock.mdb", "writer.lock"]);
}

#[test]
#[cfg(target_os = "linux")]
fn lmdbs_file_of_locks_has_no_holes() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 4);
    let locks = fs::metadata(folder.path().join("lock.mdb")).unwrap();
    // What LMDB wants is not more, or it would have made the file longer.
    assert_eq!(locks.len(), LMDB_FILE_BYTES);
    assert!(locks.blocks() * 512 >= locks.len(), "{} blocks", locks.blocks());
    drop(datastore);
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn open_on_a_full_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let store = folder.join("store");
    let is_full = |error: &Error| matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    for _ in 0..2 {
        let refused = Datastore::open(&store, &ENCODER).unwrap_err();
        assert!(is_full(&refused), "{refused:?}");
        assert_eq!(
            Datastore::open_read_only(&store, &ENCODER).unwrap().reader().unwrap().len(),
            40
        );
    }
    let refused = Datastore::create(&folder.join("new"), &options(4));
    assert!(refused.is_err());
    fs::remove_file(folder.join("filler")).unwrap();
    let datastore = Datastore::open(&store, &ENCODER).unwrap();
    assert_eq!(fill(&datastore, &clustered(41, 4, 2)).len(), 41);
}

#[test]
fn a_full_disk_is_an_error_even_without_lmdbs_file_of_locks() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, mounted) = (folder.path().join("store"), folder.path().join("mounted"));
    make(&store);
    fs::create_dir(&mounted).unwrap();
    let (from, to) = (store.display(), mounted.display());
    let script = format!(
        "mount -t tmpfs -o size=2m tmpfs '{to}'; rm '{from}/lock.mdb'; cp -r '{from}' '{to}/store'; \
         dd if=/dev/zero of='{to}/filler' bs=4096 2>&1 || true; {}",
        child("open_on_a_full_disk", &mounted)
    );
    shell(&["unshare", "-m"], &script);
}

#[test]
fn a_file_that_others_write_to_is_sound_at_every_instant() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let datastore = create(folder.path(), 4);
    fill(&datastore, &clustered(400, 4, 1));
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut writer = datastore.writer().unwrap();
            for round in 0..600u64 {
                for (position, vector) in clustered(20, 4, round).iter().enumerate() {
                    let key = (position * 19 + round as usize % 7).to_string();
                    writer.put(&key, &embedding(vector), &["red"], Source::Human).unwrap();
                }
                writer.commit().unwrap();
            }
        });
        let mut n_checks = 0;
        while !writing.is_finished() {
            pages::check(folder.path()).unwrap();
            n_checks += 1;
        }
        assert!(n_checks > 20, "{n_checks} checks");
    });
}

#[test]
fn pipes_in_the_place_of_files_are_refused_at_once() {
    for name in ["data.mdb", "data.seal", "lock.mdb", "writer.lock"] {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let path = folder.path().join(name);
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        let opened = Datastore::open(folder.path(), &ENCODER);
        let refused = opened.and_then(|datastore| datastore.writer()).unwrap_err();
        assert!(
            matches!(refused, Error::DatastoreDamaged { .. } | Error::Io { .. }),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn damage_that_was_met_while_writing_gets_no_seal() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let vector = clustered(40, 4, 1)[7].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    fs::remove_file(folder.path().join("data.seal")).unwrap();
    overwrite(folder.path(), &vector, &[7; 16]);
    let datastore = Datastore::open(folder.path(), &ENCODER).unwrap();
    let writer = datastore.writer().unwrap();
    assert!(matches!(datastore.reader(), Err(Error::DatastoreDamaged { .. })));
    drop(writer);
    assert_eq!(check_seal(folder.path()).unwrap(), SealState::Unsealed);
}

#[test]
fn a_file_that_was_changed_after_it_was_sealed_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let path = folder.path().join("data.mdb");
    let mut bytes = fs::read(&path).unwrap();
    // A value, which no page says anything of.
    let vector = clustered(40, 4, 1)[7].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let at = bytes.windows(16).position(|bytes| bytes == vector).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let datastore = Datastore::open(folder.path(), &ENCODER).unwrap();
        let refused = datastore.writer().unwrap_err();
        assert!(matches!(refused, Error::DatastoreDamaged { .. }), "{refused:?}");
        assert!(refused.to_string().contains("`autotag repair`"), "{refused}");
        assert_eq!(check_seal(folder.path()).unwrap(), SealState::Damaged);
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn stage_records_of_many_labels() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let datastore = create(Path::new(&folder), 4);
    let mut writer = datastore.writer().unwrap();
    for number in 0..1_500 {
        let mut scores = vec![0.0; 100_000];
        scores[number] = 0.5;
        let scores = Some(Scores::new(scores).unwrap());
        let encoded = Some(Encoded { embedding: embedding(&[1.0; 4]), scores });
        let rejected = LabelSet::default();
        let content = [1; 16];
        let record = DocumentRecord { content, review: Review::None, rejected, encoded };
        writer.put_document(&number.to_string(), record).unwrap();
    }
    writer.commit().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // Dense, they would take 600 MB.
    assert!(kilobytes < 100_000, "{kilobytes} kB");
}

#[test]
#[cfg(target_os = "linux")]
fn staged_records_take_as_much_memory_as_they_are_counted_by() {
    let folder = tempfile::tempdir().unwrap();
    shell(&[], &child("stage_records_of_many_labels", &folder.path().join("store")));
}

#[test]
fn scores_of_more_labels_than_can_be_read_back_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 4);
    let mut writer = datastore.writer().unwrap();
    let mut put = |n_labels: usize| {
        let scores = Some(Scores::new(vec![0.0; n_labels]).unwrap());
        let encoded = Some(Encoded { embedding: embedding(&[1.0; 4]), scores });
        let rejected = LabelSet::default();
        let record = DocumentRecord { content: [1; 16], review: Review::None, rejected, encoded };
        writer.put_document("a", record)
    };
    put(1 << 24).unwrap();
    assert!(matches!(put((1 << 24) + 1), Err(Error::Parameter { name: "scores", .. })));
    writer.commit().unwrap();
    let reader = datastore.reader().unwrap();
    assert!(reader.documents(&["a"]).unwrap()[0].is_some());
}

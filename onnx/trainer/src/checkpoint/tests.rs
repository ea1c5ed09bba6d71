use ndarray::array;
use serde_json::json;

use super::*;

fn identity() -> Identity {
    Identity { settings: json!({"seed": 1, "adam": {"rate": 0.5}}), data: "aa".to_owned() }
}

fn taken(folder: &Path, start: Start, identity: Identity) -> Result<RunFolder> {
    Ok(Claim::take(folder, start)?.of(identity, Skipped::default()))
}

fn written(folder: &Path) {
    let folder = taken(folder, Start::Anew, identity()).unwrap();
    let matrix = array![[0.0, 0.0]];
    let mut state = State::default();
    state.put("matrix", matrix.view());
    folder.write(&Account::default(), state, State::default()).unwrap();
}

#[test]
fn a_checkpoint_belongs_to_one_training() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let read = |identity| taken(folder.path(), Start::Resume, identity)?.read();
    assert!(read(identity()).unwrap().unwrap().model.values("matrix", &[1, 2]).is_ok());
    let mut other = identity();
    other.settings = json!({"seed": 2, "adam": {"rate": 0.5}, "new": true});
    let error = read(other).unwrap_err().to_string();
    assert!(error.contains("new (null, now true), seed (1, now 2)"), "{error}");
    let other = Identity { data: "bb".to_owned(), ..identity() };
    assert!(matches!(read(other).unwrap_err(), TrainError::OtherData { .. }));
}

#[test]
fn a_checkpoint_is_not_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let take = |start| taken(folder.path(), start, identity());
    assert!(matches!(take(Start::Finish).unwrap_err(), TrainError::NoCheckpoint { .. }));
    written(folder.path());
    assert!(matches!(take(Start::Anew).unwrap_err(), TrainError::CheckpointExists { .. }));
    let first = take(Start::Resume).unwrap();
    assert!(matches!(take(Start::Resume).unwrap_err(), TrainError::RunInUse { .. }));
    first.clear().unwrap();
    assert!(take(Start::Anew).is_ok());
}

#[test]
fn the_checkpoint_of_a_failed_training_is_set_aside_unless_it_went_on() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let error = TrainError::EmptyDataset;
    let fail = || {
        let run = taken(folder.path(), Start::Resume, identity()).unwrap();
        run.mark_failed(&error);
        run
    };
    fail().write(&Account::default(), State::default(), State::default()).unwrap();
    let again = taken(folder.path(), Start::Anew, identity()).unwrap_err();
    assert!(matches!(again, TrainError::CheckpointExists { .. }), "{again}");
    drop(fail());
    let new = taken(folder.path(), Start::Anew, identity()).unwrap();
    assert!(!new.checkpoint_path().exists() && folder.path().join(SET_ASIDE).exists());
    new.clear().unwrap();
    assert!(!folder.path().join(SET_ASIDE).exists());
}

#[test]
fn a_folder_that_was_made_for_nothing_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    drop(taken(&path, Start::Anew, identity()).unwrap());
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    drop(taken(&path, Start::Anew, identity()).unwrap());
    assert!(path.exists(), "someone else made it");
    fs::remove_dir_all(&path).unwrap();
    written(&path);
    assert!(path.join(CHECKPOINT).exists());
}

#[test]
fn a_checkpoint_of_another_version_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let matrix = array![[0.0, 0.0]];
    let mut state = State::default();
    state.put(format!("{MODEL}matrix"), matrix.view());
    let path = folder.path().join(CHECKPOINT);
    for version in [VERSION - 1, VERSION + 1] {
        let about = format!("{{\"version\": {version}}}");
        write_whole(&state, about, &path).unwrap();
        let sealed = fs::read(&path).unwrap();
        // Older files had no trailer.
        for bytes in [&sealed[..], sealed::content(&sealed).unwrap()] {
            fs::write(&path, bytes).unwrap();
            let error = taken(folder.path(), Start::Resume, identity()).unwrap().read();
            let error = error.unwrap_err().to_string();
            let told = format!("it has the version {version}, and this program reads {VERSION}");
            assert!(error.contains(&told), "{error}");
        }
    }
}

#[cfg(unix)]
#[test]
fn files_have_the_mode_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let plain = folder.path().join("plain");
    File::create(&plain).unwrap();
    written(folder.path());
    for name in [CHECKPOINT, METRICS] {
        assert_eq!(mode(&folder.path().join(name)), mode(&plain), "{name}");
    }
}

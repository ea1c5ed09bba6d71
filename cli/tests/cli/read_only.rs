//! Bundles and indexes are read by whoever may read their files: other users, read-only file systems.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Folder, PROGRAM, Run, autotag, bundle, copy_folder, documents, lines};

/// A way to run a program that cannot write to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// Somebody else.
    OtherUser,
    /// The same user, where the file system is mounted to be read only.
    ReadOnlyMount,
}

/// A folder with everything that the commands need, which everybody can read and nobody write.
struct Stage {
    folder: Folder,
}

impl Stage {
    fn new() -> Self {
        let folder = Folder::new();
        let data = folder.write("data.jsonl", lines(&documents(30, 5)));
        copy_folder(bundle(), folder.path("bundle"));
        let (bundle, index) = (folder.path("bundle"), folder.path("index"));
        autotag(&format!("index --bundle {bundle} --index {index} --data {data}")).ok();
        let runtime = autotag_onnx::runtime::load(None).unwrap().path().to_path_buf();
        fs::copy(runtime, folder.path("runtime.so")).unwrap();
        fs::copy(PROGRAM, folder.path("autotag")).unwrap();
        let stage = Stage { folder };
        set_modes(Path::new(&stage.path("")));
        stage
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    /// Runs a command line, or returns `None` where this machine does not let the test do so.
    fn run(&self, reader: Reader, line: &str) -> Option<Run> {
        let (program, folder) = (self.path("autotag"), self.path(""));
        let mut words = match reader {
            Reader::ReadOnlyMount => {
                let script = format!(
                    "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} || exit 77; \
                     exec {program} \"$@\""
                );
                let words = ["unshare", "-m", "sh", "-c", &script, "sh"];
                words.map(str::to_owned).to_vec()
            }
            Reader::OtherUser if is_root() => {
                let user =
                    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &program];
                user.map(str::to_owned).to_vec()
            }
            // Nobody may write, so it is as if the files were another one's.
            Reader::OtherUser => vec![program],
        };
        words.extend(line.split_whitespace().map(str::to_owned));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_remove("AUTOTAG_LOG").env("HOME", "/nonexistent");
        command.env_remove("XDG_DATA_HOME").env("ORT_DYLIB_PATH", self.path("runtime.so"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let mut input = child.stdin.take().unwrap();
        // A program that reads no input may have ended.
        let _ = input.write_all(b"{\"id\":\"a\",\"text\":\"piston oil\"}\n");
        drop(input);
        let run = Run::from(child.wait_with_output().unwrap());
        (run.code != 77 && !run.stderr.contains("unshare failed")).then_some(run)
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Lets everybody read, and nobody write.
fn set_modes(path: &Path) {
    let metadata = fs::metadata(path).unwrap();
    let is_program = path.file_name().is_some_and(|name| name == "autotag") && metadata.is_file();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            set_modes(&entry.unwrap().path());
        }
    }
    let mode = if metadata.is_dir() || is_program { 0o555 } else { 0o444 };
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be written cannot be removed either.
        let folder = self.path("");
        let _ = Command::new("chmod").args(["-R", "u+w", &folder]).status();
    }
}

/// Returns the lengths and times of all files below a folder.
fn files(folder: &Path) -> BTreeMap<String, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let meta = fs::metadata(&path).unwrap();
            found.insert(path.display().to_string(), (meta.len(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    found
}

fn check_reading(reader: Reader) {
    let stage = Stage::new();
    let (bundle, index, data) =
        (stage.path("bundle"), stage.path("index"), stage.path("data.jsonl"));
    let before = files(Path::new(&stage.path("")));
    let mut failed = Vec::new();
    for line in [
        format!("search --index {index} --facets /field piston"),
        format!("search --index {index} --explain 5-7"),
        format!("labels --index {index} list"),
        format!("verify --index {index}"),
        format!("tag --index {index} --explain"),
        format!("tag --bundle {bundle}"),
        format!("eval --bundle {bundle} --data {data}"),
        format!("compare {bundle} {bundle} --data {data} --resamples 10"),
        format!("bundle show {bundle}"),
        format!("bundle verify {bundle}"),
    ] {
        let Some(run) = stage.run(reader, &line) else {
            eprintln!("skipped: this machine does not let a test become {reader:?}");
            return;
        };
        if run.code != 0 || run.stdout.is_empty() {
            failed.push(format!("{line}: {}", run.stderr));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(files(Path::new(&stage.path(""))), before, "reading leaves everything as it was");
}

#[test]
fn another_user_can_read_bundles_and_indexes() {
    check_reading(Reader::OtherUser);
}

#[test]
fn bundles_and_indexes_can_be_read_where_nothing_can_be_written() {
    check_reading(Reader::ReadOnlyMount);
}

#[test]
fn whoever_cannot_write_is_told_so_in_plain_words() {
    let stage = Stage::new();
    let (bundle, index, data) =
        (stage.path("bundle"), stage.path("index"), stage.path("data.jsonl"));
    for reader in [Reader::OtherUser, Reader::ReadOnlyMount] {
        for line in [
            format!("index --index {index} --data {data}"),
            format!("correct --index {index} 5-7 --add /a"),
            format!("labels --index {index} retire field::ocean"),
            format!("retag --index {index}"),
            format!("migrate --index {index} --bundle {bundle}"),
            format!("index --bundle {bundle} --index {index}/../new --data {data}"),
            format!("tune --bundle {bundle} --data {data} --out {bundle}-new"),
        ] {
            let Some(run) = stage.run(reader, &line) else {
                eprintln!("skipped: this machine does not let a test become {reader:?}");
                return;
            };
            let error = run.error();
            let is_told = ["Permission denied", "Read-only file system"];
            assert!(is_told.iter().any(|words| error.contains(words)), "{line}: {error}");
            for form in ["Os {", "IoError", "kind:", "Some("] {
                assert!(!error.contains(form), "{line}: {error}");
            }
        }
    }
}

#[test]
fn files_are_made_with_the_mode_that_the_umask_leaves() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(10, 5)));
    let (bundle, tuned, index) = (bundle(), folder.path("tuned"), folder.path("index"));
    for line in [
        format!("tune --bundle {bundle} --data {data} --out {tuned}"),
        format!("index --bundle {tuned} --index {index} --data {data}"),
        format!("correct --index {index} 5-7 --add /a"),
    ] {
        let script = format!("umask 027; exec {PROGRAM} {line}");
        Run::from(Command::new("sh").args(["-c", &script]).output().unwrap()).ok();
    }
    let mut wrong = Vec::new();
    for path in files(Path::new(&folder.path(""))).into_keys() {
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        // Copies of a bundle's files have the mode of those.
        if path != data && mode & 0o640 != 0o640 {
            wrong.push(format!("{mode:o} {path}"));
        }
    }
    for path in [&tuned, &index] {
        let mode = fs::metadata(path).unwrap().mode() & 0o777;
        if mode != 0o750 {
            wrong.push(format!("{mode:o} {path}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

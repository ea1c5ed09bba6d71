//! Nothing leaves the machine, and nothing is written where nobody asked for it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use autotag_onnx::runtime;

use crate::support::{self, Folder, PROGRAM};

/// ONNX Runtime's telemetry looks up its vendor's host about nine seconds after it was loaded.
const LONG_ENOUGH: Duration = Duration::from_secs(12);

/// The folders that a program may think its user has, all of them empty.
const FOLDERS: [(&str, &str); 6] = [
    ("HOME", "home"),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_DATA_HOME", "data"),
    ("XDG_STATE_HOME", "state"),
    ("TMPDIR", "tmp"),
];

#[test]
#[allow(clippy::print_stderr)]
fn tagging_writes_no_file_and_opens_no_socket() {
    let library = runtime::load(None).unwrap().path();
    let folder = Folder::new();
    let traced = strace_works();
    if !traced {
        eprintln!("SKIPPED: strace does not work here, so that sockets are not watched");
    }
    let trace = folder.path("trace");
    let mut command = match traced {
        true => Command::new("strace"),
        false => Command::new(PROGRAM),
    };
    if traced {
        command.args(["-f", "-e", "trace=network,open,openat,creat", "-o", &trace, PROGRAM]);
    }
    command.args(["tag", "--bundle", &support::bundle(), "--device", "cpu"]);
    command.env_remove(runtime::TELEMETRY_VARIABLE).env(runtime::PATH_VARIABLE, library);
    for (variable, name) in FOLDERS {
        fs::create_dir(folder.path(name)).unwrap();
        command.env(variable, folder.path(name));
    }
    command.current_dir(folder.path("tmp"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"id\": \"1\", \"text\": \"bread from the oven\"}\n").unwrap();
    thread::sleep(LONG_ENOUGH);
    drop(stdin);
    let tags = support::Run::from(child.wait_with_output().unwrap()).json_lines();
    assert_eq!(tags.len(), 1, "{tags:?}");

    for (variable, name) in FOLDERS {
        let found = files_below(Path::new(&folder.path(name)));
        assert!(found.is_empty(), "{variable}: {found:?}");
    }
    if traced {
        check_trace(&fs::read_to_string(trace).unwrap(), library);
    }
}

/// Tells whether system calls can be watched.
fn strace_works() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().is_ok_and(|status| status.success())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[track_caller]
fn check_trace(trace: &str, library: &Path) {
    // Otherwise something else was watched than a model that runs.
    assert!(trace.contains(library.to_str().unwrap()), "ONNX Runtime was not loaded");
    let is_device = |line: &str| line.contains("\"/dev/");
    for line in trace.lines() {
        assert!(!line.contains("socket(") && !line.contains("connect("), "{line}");
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "creat("].iter().any(|w| line.contains(w));
        assert!(!writes || is_device(line), "{line}");
    }
}

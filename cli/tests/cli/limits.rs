//! Full disks, several processes, and machines that lack something: nothing is lost or left behind.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Folder, PROGRAM, Run, SMALL, autotag, autotag_with, bundle, command, documents, lines,
    unlabeled,
};

/// Runs a command line that can write no file longer than so many blocks of 512 bytes.
///
/// Whoever writes more is told that the file is too large, as on a full disk that there is no space.
#[cfg(unix)]
fn autotag_within(n_blocks: u32, line: &str) -> Run {
    let script = format!("trap '' XFSZ; ulimit -f {n_blocks}; exec {PROGRAM} {line}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::null()).env_remove("AUTOTAG_LOG");
    shell.output().unwrap().into()
}

fn total(index: &str) -> Value {
    autotag(&format!("search --index {index} --limit 0 --format json")).json()["total"].clone()
}

#[cfg(unix)]
#[test]
fn an_index_on_a_full_disk_keeps_what_was_committed_and_can_go_on() {
    let folder = Folder::new();
    let first = folder.write("first.jsonl", lines(&documents(60, 1)));
    let second = folder.write("second.jsonl", lines(&documents(400, 2)));
    let (bundle, index) = (bundle(), folder.path("index"));
    autotag(&format!("index --bundle {bundle} --index {index} --data {first}")).ok();
    for (n_failed, n_blocks) in (4..16).map(|power| 1 << power).enumerate() {
        let run = autotag_within(n_blocks, &format!("index --index {index} --data {second}"));
        let total = total(&index);
        if run.code == 0 {
            assert_eq!(total, 460);
        } else {
            let error = run.error();
            assert!(
                error.contains("File too large") || error.contains("Input/output error"),
                "{n_blocks}: {error}"
            );
            assert!(!error.contains("what came before is committed"), "{n_blocks}: {error}");
        }
        // The disk may also fill up right after the instant that counts: then all of it is there.
        if total == 460 {
            assert!(n_failed > 3, "the limits were no limits");
            return;
        }
        assert_eq!(total, 60, "{n_blocks}");
    }
    panic!("no limit was high enough");
}

#[cfg(unix)]
#[test]
fn an_index_that_a_full_disk_kept_from_being_made_can_be_made_again() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(20, 1)));
    let index = folder.path("index");
    let line = format!("index --bundle {} --index {index} --data {data}", bundle());
    let error = autotag_within(16, &line).error();
    assert!(error.contains("File too large"), "{error}");
    autotag(&line).ok();
    assert_eq!(total(&index), 20);
}

#[cfg(unix)]
#[test]
fn a_bundle_that_does_not_fit_on_the_disk_leaves_the_older_one() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(40, 1)));
    let out = folder.path("bundle");
    let line = format!("train --data {data} --dev {data} --out {out} {SMALL} --epochs 1");
    let error = autotag_within(4, &line).error();
    assert!(error.contains("File too large"), "{error}");
    assert!(!Path::new(&out).exists());
    let fingerprint = autotag(&format!("{line} --format json")).json()["fingerprint"].clone();
    for n_blocks in [4, 64] {
        autotag_within(n_blocks, &format!("{line} --seed 5")).error();
        let shown = autotag(&format!("bundle show {out} --format json")).json();
        assert_eq!(shown["fingerprint"], fingerprint);
    }
    let left: Vec<_> = fs::read_dir(folder.path("")).unwrap().map(|e| e.unwrap().path()).collect();
    // The data, the bundle, and the folder of the training that came to its end but for the bundle.
    assert_eq!(left.len(), 3, "{left:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_on_a_full_disk_is_an_error() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(5, 1)));
    let bundle = bundle();
    for line in [
        format!("tag --bundle {bundle}"),
        format!("eval --bundle {bundle} --data {data}"),
        format!("bundle show {bundle}"),
        "completions bash".to_owned(),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let input = fs::File::open(&data).unwrap();
        let output = command(&line).stdin(input).stdout(full).output().unwrap();
        let error = Run::from(output).error();
        assert!(error.contains("standard output cannot be written to"), "{line}: {error}");
    }
}

#[test]
fn a_second_process_cannot_write_to_an_index_but_can_read_it() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(10, 1)));
    let (bundle, index) = (bundle(), folder.path("index"));
    autotag(&format!("index --bundle {bundle} --index {index} --data {data}")).ok();
    let lock = format!("{index}/.tantivy-writer.lock");
    fs::remove_file(&lock).unwrap();

    let mut first = command(&format!("index --index {index} --data - --format json"));
    let mut first = first.spawn().unwrap();
    let mut input = first.stdin.take().unwrap();
    input.write_all(lines(&documents(5, 2)).as_bytes()).unwrap();
    // The file is made anew when the first process has the index open.
    let started = Instant::now();
    while !Path::new(&lock).exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the index is never opened");
        sleep(Duration::from_millis(20));
    }
    let second = autotag(&format!("index --index {index} --data {data}"));
    let error = second.error();
    assert!(error.contains("open for writing, here or in another process"), "{error}");
    assert_eq!(total(&index), 10);
    let text = lines(&unlabeled(&documents(3, 3)));
    assert_eq!(autotag_with(&format!("tag --index {index}"), &text).json_lines().len(), 3);

    drop(input);
    let report = Run::from(first.wait_with_output().unwrap()).json();
    assert_eq!(report["labeled"], 5);
    assert_eq!(total(&index), 15);
}

#[test]
fn standard_input_is_read_for_one_file_only() {
    let folder = Folder::new();
    let (bundle, out) = (bundle(), folder.path("out"));
    let input = lines(&documents(30, 1));
    for line in [
        format!("train --data - --dev - --out {out} {SMALL} --epochs 1"),
        format!("eval --bundle {bundle} --data - --tune -"),
        format!("index --bundle {bundle} --index {out} --data - -"),
    ] {
        let error = autotag_with(&line, &input).error();
        assert!(error.contains("standard input: it can be read once only"), "{line}: {error}");
        assert!(!Path::new(&out).exists(), "{line}");
    }
}

#[test]
fn more_neighbors_than_there_are_all_vote() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(10, 3)));
    let bundle = bundle();
    let report =
        autotag(&format!("eval --bundle {bundle} --data {data} --k 1000000 --format json")).json();
    assert_eq!(report["documents"], 10);
    let line = format!("tag --bundle {bundle} --k 1000000 --explain");
    let answers = autotag_with(&line, &lines(&documents(1, 3))).json_lines();
    assert_eq!(answers[0]["neighbors"].as_array().unwrap().len(), 300);
}

#[test]
fn a_key_or_label_that_cannot_be_used_follows_the_policy() {
    let folder = Folder::new();
    let mut bad = documents(4, 1);
    bad[1]["labels"] = json!(["field::kitchen", " "]);
    bad[2]["id"] = json!("k".repeat(600));
    let data = folder.write("data.jsonl", lines(&bad));
    let index = |policy: &str| {
        let line = format!("index --bundle {} --index {} --data", bundle(), folder.path(policy));
        autotag(&format!("{line} {data} --on-failure {policy} --format json"))
    };
    let error = index("fail").error();
    assert!(error.contains("what came before is committed"), "{error}");
    assert!(error.contains("data.jsonl:2") && error.contains("no visible character"), "{error}");
    assert_eq!(total(&folder.path("fail")), 1);
    let run = index("skip");
    assert!(run.stderr.contains("data.jsonl:2") && run.stderr.contains("data.jsonl:3"));
    let report = run.json();
    assert_eq!((&report["labeled"], &report["failed"]), (&json!(2), &json!(2)));
    let failures = &report["files"][0]["failures"];
    assert_eq!((&failures[0]["id"], &failures[1]["id"]), (&json!("1-1"), &bad[2]["id"]));
    assert!(failures[0]["error"].as_str().unwrap().contains("no visible character"));

    // In training both would only come to light at the end.
    for (position, words) in [(1, "\"1-1\" has a label that cannot be used"), (2, "of 600 bytes")] {
        let mut train = documents(4, 1);
        train[position] = bad[position].clone();
        let train = folder.write("train.jsonl", lines(&train));
        let out = folder.path("out");
        let error = autotag(&format!("train --data {train} --dev {train} --out {out}")).error();
        assert!(error.contains(words), "{error}");
    }
}

/// The command lines that run a model, each of which would make `out`, if anything.
fn commands_with_a_model(folder: &Folder) -> Vec<String> {
    let data = folder.write("data.jsonl", lines(&documents(20, 1)));
    let (bundle, index, out) = (bundle(), folder.path("index"), folder.path("out"));
    autotag(&format!("index --bundle {bundle} --index {index} --data {data}")).ok();
    vec![
        format!("train --data {data} --dev {data} --out {out} {SMALL}"),
        format!("eval --bundle {bundle} --data {data}"),
        format!("index --bundle {bundle} --index {out} --data {data}"),
        format!("tag --bundle {bundle}"),
        format!("tag --index {index}"),
        format!("bundle verify {bundle}"),
        format!("tune --bundle {bundle} --data {data} --out {out}"),
        format!("correct --index {index} 1-0 --add /a"),
        format!("labels --index {index} retire field::ocean"),
        format!("retag --index {index}"),
        format!("migrate --index {index} --bundle {bundle}"),
        format!("repair --index {index}"),
    ]
}

/// Runs a command line where ONNX Runtime is nowhere.
fn without_onnx_runtime(folder: &Folder, line: &str) -> Run {
    let mut command = command(line);
    command.env("HOME", folder.path("")).env_remove("XDG_DATA_HOME").env_remove("ORT_DYLIB_PATH");
    command.output().unwrap().into()
}

#[test]
fn without_onnx_runtime_every_command_says_how_to_get_it() {
    let folder = Folder::new();
    for line in commands_with_a_model(&folder) {
        let error = without_onnx_runtime(&folder, &line).error();
        for part in ["ONNX Runtime was not found", "autotag setup", "ORT_DYLIB_PATH"] {
            assert!(error.contains(part), "{line}: {error}");
        }
        assert!(!Path::new(&folder.path("out")).exists(), "{line}");
    }
    for line in [
        format!("bundle show {}", bundle()),
        format!("search --index {} oven", folder.path("index")),
        format!("labels --index {} list", folder.path("index")),
        format!("verify --index {}", folder.path("index")),
        "completions bash".to_owned(),
    ] {
        without_onnx_runtime(&folder, &line).ok();
    }
}

#[test]
fn a_device_that_no_machine_has_fails_every_command_and_leaves_nothing() {
    let folder = Folder::new();
    for line in commands_with_a_model(&folder) {
        let run = autotag(&format!("{line} --device cuda:4095"));
        // Not after the first epoch.
        assert!(!run.stderr.contains("epoch"), "{line}: {}", run.stderr);
        let error = run.error();
        assert!(error.contains("cuda:4095 cannot be used"), "{line}: {error}");
        assert!(!error.contains(".."), "{line}: {error}");
        assert!(!Path::new(&folder.path("out")).exists(), "{line}");
    }
}

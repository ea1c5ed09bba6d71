//! A training that a signal ends, and what can be done with what it leaves.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Folder, autotag, command, documents, lines};

/// The options of a small model.
const SMALL: &str = "--model cnn --batch-size 4 --embedding-dimensions 16 --filters 8 --widths 1,2";

/// The options of a training that would take very long.
const LONG: &str = "--epochs 100000 --patience 100000";

/// Starts a training and ends it by SIGTERM once it has left a checkpoint.
fn interrupted(folder: &Folder) -> String {
    let train = folder.write("train.jsonl", lines(&documents(200, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(40, 2)));
    let out = folder.path("bundle");
    let line = format!("train --data {train} --dev {dev} --out {out} {SMALL} {LONG}");
    let child = command(&line).spawn().unwrap();
    let checkpoint = folder.path("bundle.run/checkpoint.safetensors");
    let started = Instant::now();
    while !Path::new(&checkpoint).exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("nothing is lost") && stderr.contains("--resume goes on"), "{stderr}");
    line
}

#[test]
fn a_signal_leaves_a_checkpoint_to_finish() {
    let folder = Folder::new();
    let line = interrupted(&folder);
    let error = autotag(&line).error();
    assert!(error.contains("resume or finish") && error.contains("--resume"), "{error}");
    let error = autotag(&format!("{line} --resume --dropout 0.7")).error();
    assert!(error.contains("cnn.dropout (0.5, now 0.7)"), "{error}");
    let report = autotag(&format!("{line} --finish --format json")).json();
    let n_epochs = report["fit"]["epochs"].as_array().unwrap().len();
    let metrics = fs::read_to_string(folder.path("bundle.run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), n_epochs);
    autotag(&format!("bundle verify {}", folder.path("bundle"))).ok();
}

#[test]
fn resuming_begins_anew_where_nothing_was_interrupted() {
    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(60, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(20, 2)));
    let (out, run) = (folder.path("bundle"), folder.path("elsewhere"));
    let line = format!("train --data {train} --dev {dev} --out {out} --run {run} {SMALL}");
    autotag(&format!("{line} --epochs 2 --resume")).ok();
    assert!(Path::new(&run).join("metrics.jsonl").exists());
    let error = autotag(&format!("{line} --epochs 2 --finish")).error();
    assert!(error.contains("there is no checkpoint"), "{error}");
}

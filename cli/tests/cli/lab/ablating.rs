//! What `autotag ablate` makes, finds again, and refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{TINY, copied_runs, data, runs};
use crate::support::{Folder, autotag, command, documents, lines};

/// Returns the folders of the runs that are done.
fn finished(runs: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(runs) else { return vec![] };
    let folders = entries.map(|entry| entry.unwrap().path());
    let mut finished: Vec<PathBuf> =
        folders.filter(|folder| folder.join("run.json").exists()).collect();
    finished.sort();
    finished
}

#[test]
fn what_is_there_is_not_made_again() {
    let folder = Folder::new();
    let data = data(&folder, &super::PARTS);
    let runs = copied_runs(&folder);
    let line = format!("ablate --data {data} --runs {runs} {TINY}");
    let report = autotag(&format!("{line} --seeds 2 --format json")).json();
    assert_eq!((&report["done"], &report["found"]), (&json!(9), &json!(9)));
    assert_eq!(report["gammas"], json!([0.0, 0.01, 0.1, 1.0]));
    assert_eq!(report["texts"], json!([160, 40, 60]));
    // Fewer seeds need fewer runs, another gamma one more.
    let report = autotag(&format!("{line} --seeds 1 --gammas 0.5 --format json")).json();
    assert_eq!((&report["done"], &report["found"]), (&json!(5), &json!(4)));
    // The report is of all that was asked for.
    let (out, numbers) = (folder.path("report.html"), folder.path("numbers.json"));
    autotag(&format!("report --runs {runs} --out {out} --json {numbers}")).ok();
    let numbers: Value = serde_json::from_slice(&fs::read(numbers).unwrap()).unwrap();
    let model = &numbers["data_sets"][0]["models"][0];
    assert_eq!((&model["seeds"], &model["runs"]), (&json!([0, 1]), &json!([9, 9])));
    assert_eq!(model["by_gamma"]["x"], json!([0.0, 0.01, 0.1, 0.5, 1.0]));
}

#[test]
fn a_run_leaves_a_bundle_and_what_it_says() {
    let run = finished(&runs()).into_iter().find(|run| run.join("bundle").exists()).unwrap();
    autotag(&format!("bundle verify {}", run.join("bundle").display())).ok();
    assert!(run.join("dev.jsonl.gz").exists() && run.join("test.jsonl.gz").exists());
    assert!(!run.join("checkpoints").exists());
}

#[test]
fn a_model_that_was_published_before_an_interruption_is_not_trained_again() {
    let folder = Folder::new();
    let runs = copied_runs(&folder);
    let run = finished(&runs).into_iter().find(|run| run.join("bundle").exists()).unwrap();
    fs::remove_file(run.join("run.json")).unwrap();
    fs::remove_file(run.join("test.jsonl.gz")).unwrap();
    let model = run.join("bundle/model.onnx");
    let modified = fs::metadata(&model).unwrap().modified().unwrap();
    let data = data(&folder, &super::PARTS);
    let line = format!("ablate --data {data} --runs {runs} --seeds 2 {TINY} --format json");
    let report = autotag(&line).json();
    assert_eq!((&report["done"], &report["found"]), (&json!(9), &json!(8)));
    assert_eq!(fs::metadata(&model).unwrap().modified().unwrap(), modified);
    assert!(run.join("run.json").exists() && run.join("test.jsonl.gz").exists());
}

#[test]
fn a_run_of_another_version_is_made_again_and_told() {
    let folder = Folder::new();
    let runs = copied_runs(&folder);
    let record = finished(&runs)[0].join("run.json");
    let mut run: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    run["format"] = json!(999);
    fs::write(&record, run.to_string()).unwrap();
    let out = folder.path("report.html");
    let report = autotag(&format!("report --runs {runs} --out {out}"));
    assert!(report.stderr.contains("1 runs of another version"), "{}", report.stderr);
    report.ok();
    let data = data(&folder, &super::PARTS);
    let again =
        autotag(&format!("ablate --data {data} --runs {runs} --seeds 2 {TINY} --format json"));
    assert!(again.stderr.contains("1 runs in"), "{}", again.stderr);
    let report = again.json();
    assert_eq!((&report["done"], &report["found"]), (&json!(9), &json!(8)));
}

/// Ends a program that was started and returns what it said.
#[cfg(unix)]
fn interrupt(mut line: Command, ready: impl Fn() -> bool) -> String {
    let child = line.spawn().unwrap();
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing came within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr
}

/// Returns the checkpoints of runs that are not done.
#[cfg(unix)]
fn checkpoints(runs: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(runs) else { return vec![] };
    let folders = entries.map(|entry| entry.unwrap().path().join("checkpoints"));
    folders
        .map(|folder| folder.join("checkpoint.safetensors"))
        .filter(|file| file.exists())
        .collect()
}

#[cfg(unix)]
#[test]
fn an_interrupted_ablation_goes_on_within_the_run_that_was_under_way() {
    let folder = Folder::new();
    let (data, runs) = (data(&folder, &super::PARTS), folder.path("runs"));
    // So long that no run is done by itself before the signal.
    let long = "--batch-size 2 --filters 4 --widths 1 --epochs 100000 --patience 100000 --seeds 1";
    let line = format!("ablate --data {data} --runs {runs} {long} --gammas 0");
    let said = interrupt(command(&line), || !checkpoints(&runs).is_empty());
    assert!(said.contains("interrupted after 1 of 4 runs: the same command goes on"), "{said}");
    let checkpoint = checkpoints(&runs).pop().unwrap();
    let n_epochs = |text: &str| text.matches("epoch").count();
    let metrics = checkpoint.with_file_name("metrics.jsonl");
    let before = n_epochs(&fs::read_to_string(metrics).unwrap());
    // The same command again, up to the next interruption: it does not begin anew.
    let ready = || {
        let metrics = checkpoint.with_file_name("metrics.jsonl");
        let now = fs::read_to_string(metrics).map_or(usize::MAX, |text| n_epochs(&text));
        now > before
    };
    let said = interrupt(command(&line), ready);
    assert!(!said.contains("epoch 1:"), "{said}");
    // What is done so far can be shown.
    let out = folder.path("report.html");
    autotag(&format!("report --runs {runs} --out {out}")).ok();
}

#[test]
fn parts_that_are_missing_are_made_up_for_and_told() {
    let folder = Folder::new();
    let (data, runs) = (data(&folder, &[("train", 60)]), folder.path("runs"));
    let tiny = TINY.replace("--epochs 3", "--epochs 1");
    let run = autotag(&format!(
        "ablate --data {data} --runs {runs} --seeds 1 --gammas 0 {tiny} --format json"
    ));
    assert!(run.stderr.contains("6 of 60 training texts"), "{}", run.stderr);
    let report = run.json();
    assert_eq!(report["texts"], json!([54, 6, 0]));
    let notes = report["notes"].to_string();
    assert!(notes.contains("no dev part") && notes.contains("the figures are dev's"), "{notes}");
    let (out, json) = (folder.path("report.html"), folder.path("numbers.json"));
    autotag(&format!("report --runs {runs} --out {out} --json {json}")).ok();
    let page = fs::read_to_string(out).unwrap();
    assert!(page.contains("the figures are of 6 texts (dev)") && page.contains("no test part"));
}

#[test]
fn labels_that_only_test_has_count_as_missed() {
    let folder = Folder::new();
    let runs = folder.path("runs");
    let train = folder.write("train.jsonl", lines(&documents(60, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(20, 2)));
    let mut test = documents(20, 3);
    test[0]["labels"] = json!(["never::seen"]);
    let test = folder.write("test.jsonl", lines(&test));
    let tiny = TINY.replace("--epochs 3", "--epochs 1");
    let files = format!("--train {train} --dev {dev} --test {test} --name odd");
    let run = autotag(&format!("ablate {files} --runs {runs} --seeds 1 --gammas 0 {tiny}"));
    assert!(run.stderr.contains("Labels of test that no training text has: 1 (never::seen)"));
    assert!(run.ok().starts_with("odd: 6 labels"));
    let (out, json) = (folder.path("report.html"), folder.path("numbers.json"));
    autotag(&format!("report --runs {runs} --out {out} --json {json}")).ok();
    let numbers: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let labels = &numbers["data_sets"][0]["models"][0]["details"]["labels"];
    let seen = labels.as_array().unwrap().iter().find(|label| label["label"] == "never::seen");
    let seen = seen.unwrap();
    assert_eq!(
        (&seen["support"], &seen["recall"], &seen["n_train"]),
        (&json!(1), &json!(0.0), &json!(0))
    );
}

#[test]
fn a_training_that_diverges_is_left_out_and_told() {
    let folder = Folder::new();
    let (data, runs) = (data(&folder, &[("train", 60), ("dev", 20)]), folder.path("runs"));
    let tiny = TINY.replace("--epochs 3", "--epochs 1");
    let run =
        autotag(&format!("ablate --data {data} --runs {runs} --seeds 1 --gammas 3e38 {tiny}"));
    assert!(run.stdout.contains("4 runs of --model cnn"), "{}", run.stdout);
    let error = run.error();
    assert!(
        error.contains("seed 0, gamma 300000000000000000000000000000000000000: the loss became")
    );
    let out = folder.path("report.html");
    let said = autotag(&format!("report --runs {runs} --out {out}")).ok();
    assert!(said.contains("3 of 4 runs"), "{said}");
    assert!(fs::read_to_string(out).unwrap().contains("3 of 4 runs are done"));
}

#[test]
fn the_wide_model_is_given_some_contrastive_loss() {
    let folder = Folder::new();
    let (data, runs) = (data(&folder, &[("train", 60), ("dev", 20)]), folder.path("runs"));
    let line = format!("ablate --data {data} --runs {runs} --model wide --seeds 1 --gammas 0");
    let report = autotag(&format!("{line} --epochs 1 --hidden 16 --format json")).json();
    assert_eq!((&report["model"], &report["done"]), (&json!("wide"), &json!(4)));
    assert!((report["gamma"].as_f64().unwrap() - 0.1).abs() < 1e-6);
}

#[test]
fn what_nothing_can_be_learned_from_is_told() {
    let folder = Folder::new();
    let ablate = |options: &str| {
        autotag(&format!("ablate {options} --runs {} {TINY}", folder.path("runs"))).error()
    };
    fs::create_dir(folder.path("empty")).unwrap();
    let error = ablate(&format!("--data {}", folder.path("empty")));
    assert!(error.contains("has no train.jsonl"), "{error}");
    let error = ablate(&format!("--data {}", folder.path("nowhere")));
    assert!(error.contains("is no folder"), "{error}");
    let same: String = (0..20)
        .map(|id| format!("{}\n", json!({"id": id, "text": "oven", "labels": ["a"]})))
        .collect();
    let error = ablate(&format!("--train {}", folder.write("same.jsonl", same)));
    assert!(error.contains("the one label \"a\""), "{error}");
    let error = ablate(&format!("--train {}", folder.write("few.jsonl", lines(&documents(9, 1)))));
    assert!(error.contains("9 training texts are too few to split one off"), "{error}");
    for wrong in ["--seeds 0", "--gammas -1", "--filters 0", "--hidden 3"] {
        let data = folder.path("few.jsonl");
        let run = autotag(&format!("ablate --train {data} --runs {} {wrong}", folder.path("runs")));
        assert_eq!(run.code, 2, "{wrong}: {}", run.stderr);
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_told() {
    let folder = Folder::new();
    let data = data(&folder, &super::PARTS);
    let file = folder.write("file", "no folder");
    let error = autotag(&format!("ablate --data {data} --runs {file} {TINY}")).error();
    assert!(error.contains("could not make the folder of runs"), "{error}");
    let error = autotag(&format!("ablate --data {data} --runs {file}/inside {TINY}")).error();
    assert!(error.contains("could not make the folder of runs"), "{error}");
    let runs = folder.path("runs");
    fs::create_dir(&runs).unwrap();
    let lock = fs::File::create(Path::new(&runs).join("lock")).unwrap();
    lock.lock().unwrap();
    let error = autotag(&format!("ablate --data {data} --runs {runs} {TINY}")).error();
    assert!(error.contains("another ablation works in"), "{error}");
}

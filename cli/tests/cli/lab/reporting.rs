//! What `autotag report` writes, from runs alone.

use std::fs;

use serde_json::{Value, json};

use super::{copied_runs, runs};
use crate::support::{Folder, autotag};

/// Reports the shared runs and returns the page and the numbers.
pub(super) fn report(folder: &Folder) -> (String, Value) {
    let (out, numbers) = (folder.path("report.html"), folder.path("numbers.json"));
    let line = format!("report --runs {} --out {out} --json {numbers} --resamples 200", runs());
    let said = autotag(&line).ok();
    assert!(said.contains("data: --model cnn, 8 of 8 runs"), "{said}");
    let numbers = serde_json::from_slice(&fs::read(numbers).unwrap()).unwrap();
    (fs::read_to_string(out).unwrap(), numbers)
}

fn row<'a>(rows: &'a Value, system: &str, tuned: bool) -> &'a Value {
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["system"] == system && row["tuned"] == tuned).unwrap()
}

#[test]
fn the_numbers_are_those_that_eval_measures() {
    let folder = Folder::new();
    let (_, numbers) = report(&folder);
    let model = &numbers["data_sets"][0]["models"][0];
    assert_eq!((&model["runs"], &model["seeds"]), (&json!([8, 8]), &json!([0, 1])));
    // The bundle of the first seed without the contrastive loss, measured by itself.
    let test = super::data(&folder, &super::PARTS) + "/test.jsonl";
    let dev = test.replace("test.jsonl", "dev.jsonl");
    let bundle = bundle_of(0, 0.0);
    let line = format!("eval --bundle {bundle} --data {test} --tune {dev} --format json");
    let eval = autotag(&line).json();
    for (system, tuned, row_of_eval) in
        [("cnn", false, 0), ("cnn + kNN", false, 2), ("cnn", true, 3), ("cnn + kNN", true, 5)]
    {
        let expected = &eval["rows"][row_of_eval];
        let found = row(&model["rows"], system, tuned);
        for measure in ["micro_f1", "macro_f1", "hamming_loss"] {
            let found = found[measure]["values"][0].as_f64().unwrap();
            let expected = expected[measure].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-9, "{system} {tuned} {measure}");
        }
    }
    // Figure 2 begins with the model alone.
    let as_set = row(&model["rows"], "cnn", false)["micro_f1"]["mean"].as_f64().unwrap();
    let first = model["by_lambda"]["curves"][0]["y"][0]["mean"].as_f64().unwrap();
    assert!((as_set - first).abs() < 1e-9);
}

/// Returns the bundle of a run.
fn bundle_of(seed: u64, gamma: f64) -> String {
    let folders = fs::read_dir(runs()).unwrap().map(|entry| entry.unwrap().path());
    for folder in folders.filter(|folder| folder.join("bundle").exists()) {
        let run: Value =
            serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
        let config = &run["config"];
        if config["seed"] == seed && config["contrastive"]["gamma"] == gamma {
            return folder.join("bundle").to_str().unwrap().to_owned();
        }
    }
    panic!("no such run");
}

#[test]
fn every_table_and_figure_has_its_numbers() {
    let (page, numbers) = report(&Folder::new());
    let data = &numbers["data_sets"][0];
    let model = &data["models"][0];
    assert_eq!(data["linear"].as_array().unwrap().len(), 2);
    assert_eq!(model["rows"].as_array().unwrap().len(), 8);
    assert_eq!(model["comparisons"].as_array().unwrap().len(), 16);
    assert_eq!(model["coefficient"].as_array().unwrap().len(), 4);
    for shared in model["shared"].as_array().unwrap() {
        assert!((0.0..=1.0).contains(&shared["shared"]["mean"].as_f64().unwrap()));
    }
    for cost in model["costs"].as_array().unwrap() {
        assert!(cost["datastore_bytes"].as_u64().unwrap() > 0 && cost["n_items"] == 160);
        let (model, knn) = (&cost["model_ms"]["mean"], &cost["knn_ms"]["mean"]);
        assert!(knn.as_f64() > model.as_f64(), "{cost}");
    }
    assert_eq!(model["by_gamma"]["x"], json!([0.0, 0.01, 0.1, 1.0]));
    let views = model["map"]["views"].as_array().unwrap();
    assert_eq!((views.len(), views[0]["neighbors"].as_array().unwrap().len()), (2, 80));
    let details = &model["details"];
    assert_eq!(details["labels"].as_array().unwrap().len(), 6);
    for part in ["reliability_model", "by_frequency", "confused", "false_positives"] {
        assert!(!details[part].as_array().unwrap().is_empty(), "{part}");
    }
    for title in [
        "Tables 3 and 4",
        "Table 5",
        "Table 6",
        "Tables 7 and 8",
        "Figure 2",
        "Figure 3",
        "Figure 4",
        "Reliability",
        "Confused labels",
        "Wrong tags",
        "Missed labels",
    ] {
        assert!(page.contains(title), "{title}");
    }
    // A page of its own: nothing is fetched.
    for foreign in ["src=", "href=\"http", "url(", "@import", "<link"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn tables_can_be_kept_in_a_page_of_markdown() {
    let folder = Folder::new();
    let results = folder.write("results.md", "# Results\n\nRead this first.\n");
    let (out, runs) = (folder.path("report.html"), runs());
    let line = format!("report --runs {runs} --out {out} --markdown {results} --resamples 10");
    autotag(&line).ok();
    let page = fs::read_to_string(&results).unwrap();
    assert!(page.starts_with("# Results\n\nRead this first.\n\n<!-- tables of data -->"), "{page}");
    assert!(page.contains("| cnn + CL + kNN |") && page.contains("Table 6: shared labels"));
    autotag(&line).ok();
    assert_eq!(fs::read_to_string(&results).unwrap(), page);
}

#[test]
fn what_cannot_be_reported_is_told() {
    let folder = Folder::new();
    let out = folder.path("report.html");
    let report = |runs: &str, out: &str| autotag(&format!("report --runs {runs} --out {out}"));
    let error = report(&folder.path("none"), &out).error();
    assert!(error.contains("could not read the folder of runs"), "{error}");
    fs::create_dir(folder.path("empty")).unwrap();
    let error = report(&folder.path("empty"), &out).error();
    assert!(error.contains("has no finished run to report: run `autotag ablate"), "{error}");
    let others = folder.path("others");
    fs::create_dir_all(format!("{others}/run-1")).unwrap();
    fs::write(format!("{others}/run-1/run.json"), r#"{"format":0}"#).unwrap();
    let error = report(&others, &out).error();
    assert!(error.contains("to report, only 1 of another version of autotag: run"), "{error}");
    let error = report(&runs(), &folder.path("none/report.html")).error();
    assert!(error.contains("report.html cannot be written"), "{error}");

    let runs = copied_runs(&folder);
    let entries = fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().path());
    let broken = entries
        .map(|path| path.join("test.jsonl.gz"))
        .find(|path| path.exists() && path.with_file_name("bundle").exists());
    let broken = broken.unwrap();
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let error = report(&runs, &out).error();
    assert!(error.contains("is damaged") && error.contains("test.jsonl.gz"), "{error}");
    assert!(error.contains("run `autotag ablate` again"), "{error}");
}

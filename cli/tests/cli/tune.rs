//! `autotag tune`, the bundle that it writes, and what is suggested.

use serde_json::{Value, json};

use crate::support::{Folder, autotag, autotag_with, bundle, documents, lines, unlabeled};

/// Tunes the small bundle on small data; returns what is printed and the new bundle.
fn tune(folder: &Folder, name: &str, options: &str) -> (Value, String) {
    let dev = folder.write("dev.jsonl", lines(&documents(60, 2)));
    let out = folder.path(name);
    let line = format!("tune --bundle {} --data {dev} --out {out} --format json", bundle());
    (autotag(&format!("{line} {options}")).json(), out)
}

fn show(bundle: &str) -> Value {
    autotag(&format!("bundle show {bundle} --format json")).json()
}

fn f1(measures: &Value, objective: &str) -> f64 {
    measures[format!("{objective}_f1")].as_f64().unwrap()
}

#[test]
fn a_tuned_bundle_keeps_its_model_and_what_it_learned() {
    let folder = Folder::new();
    for objective in ["micro", "macro"] {
        let (report, out) = tune(&folder, objective, &format!("--objective {objective}"));
        assert_eq!((&report["documents"], &report["objective"]), (&json!(60), &json!(objective)));
        assert!(f1(&report["after"], objective) >= f1(&report["before"], objective), "{report}");
        let (old, new) = (show(&bundle()), show(&out));
        assert_eq!(new["encoder_fingerprint"], old["encoder_fingerprint"]);
        assert_eq!(new["fingerprint"], report["fingerprint"]);
        assert_eq!(new["neighbors"], old["neighbors"]);
        assert_eq!(new["config"]["interpolation"], report["interpolation"]);
        let (old, new) = (&old["config"]["training"], &new["config"]["training"]);
        assert_eq!(new["config"], old["config"]);
        assert_eq!(new["tuned"]["after"], report["after"]);
        autotag(&format!("bundle verify {out}")).ok();
    }
}

#[test]
fn what_is_told_is_what_eval_measures() {
    let folder = Folder::new();
    let (report, out) = tune(&folder, "own", "--per-label --smoothing 2");
    assert_eq!(report["selection"]["per_label"].as_array().unwrap().len(), 6);
    assert_eq!(report["label_thresholds"]["used"], true);
    let dev = folder.path("dev.jsonl");
    let eval = format!("eval --bundle {out} --data {dev} --format json");
    let measured = autotag(&format!("{eval} --bundle-settings")).json();
    let row = &measured["bundle"];
    for measure in ["micro_f1", "macro_f1", "hamming_loss", "p_at_1", "p_at_5"] {
        assert_eq!(row[measure], report["after"][measure], "{measure}");
    }
    assert_eq!((&row["label_thresholds"], &row["tuned"]), (&json!(6), &json!(false)));
    assert_eq!(measured["rows"].as_array().unwrap().len(), 3);
    // Where it is not asked for, it is not there.
    assert_eq!(autotag(&eval).json().get("bundle"), None);
    let table = autotag(&format!("eval --bundle {out} --data {dev} --bundle-settings")).ok();
    assert!(table.contains("bundle, 6 labels with thresholds of their own"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let table = autotag(&format!("bundle show {out}")).ok();
    assert!(table.contains("6 labels have one of their own"), "{table}");
    assert!(table.contains("for micro-F1 on 60 documents"), "{table}");
}

#[test]
fn settings_that_are_given_are_kept() {
    let folder = Folder::new();
    let (report, out) = tune(&folder, "kept", "--k 4 --tau 0.3 --lambda adaptive");
    assert_eq!(
        report["interpolation"],
        json!({"k": 4, "temperature": 0.3, "proportion": "adaptive"})
    );
    let dev = folder.path("dev.jsonl");
    let eval = |lambda| {
        let settings = format!("--k 4 --tau 0.3 --lambda {lambda} --threshold 0.3 --format json");
        let report = autotag(&format!("eval --bundle {out} --data {dev} {settings}")).json();
        report["rows"][2].clone()
    };
    let (adaptive, fixed) = (eval("adaptive"), eval("0.5"));
    assert_eq!((&adaptive["lambda"], &fixed["lambda"]), (&json!("adaptive"), &json!(0.5)));
    assert!(f1(&adaptive, "micro") > 0.7, "{adaptive}");
    let table = autotag(&format!("bundle show {out}")).ok();
    assert!(table.contains("k = 4, tau = 0.3, lambda = adaptive"), "{table}");
    // The table, in the place of the bundle itself.
    let line = format!("tune --bundle {out} --data {dev} --out {out} --per-label");
    let table = autotag(&line).ok();
    assert!(table.contains("tuned for micro-F1 on 60 documents"), "{table}");
    assert!(table.contains("thresholds for each label, which the bundle"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    for wrong in ["--lambda 2", "--smoothing 3", "--per-label --smoothing -1", "--objective f2"] {
        let run = autotag(&format!("tune --bundle {out} --data {dev} --out {out} {wrong}"));
        assert_eq!(run.code, 2, "{wrong}: {}", run.stderr);
    }
}

#[test]
fn an_index_goes_on_with_a_tuned_bundle() {
    let folder = Folder::new();
    let (_, out) = tune(&folder, "tuned", "");
    let index = folder.path("index");
    let data = folder.write("data.jsonl", lines(&documents(20, 4)));
    autotag(&format!("index --bundle {} --index {index} --data {data}", bundle())).ok();
    let more = folder.write("more.jsonl", lines(&unlabeled(&documents(20, 5))));
    let line = format!("index --bundle {out} --index {index} --data {more} --format json");
    assert_eq!(autotag(&line).json()["tagged"], 20);
}

#[test]
fn labels_below_the_threshold_are_suggested() {
    let folder = Folder::new();
    let input = unlabeled(&documents(40, 5));
    let (report, out) = tune(&folder, "tuned", "--review 0.05");
    assert_eq!(report["selection"]["review"], 0.05);
    let shown = autotag(&format!("bundle show {out}")).ok();
    assert!(shown.contains("suggestions from 0.05 on"), "{shown}");

    // The bundle's review threshold, one that is given, and none.
    let suggested = |line: &str| -> Vec<Value> {
        let answers = autotag_with(line, &lines(&input)).json_lines();
        answers
            .iter()
            .flat_map(|a| a["suggestions"].as_array().cloned().unwrap_or_default())
            .collect()
    };
    let own = suggested(&format!("tag --bundle {out} --threshold 0.6"));
    assert!(!own.is_empty());
    for suggestion in &own {
        assert!((0.05..0.6).contains(&suggestion["score"].as_f64().unwrap()), "{suggestion}");
    }
    let given = suggested(&format!("tag --bundle {} --threshold 0.6 --review 0.3", bundle()));
    assert!(given.len() < own.len());
    assert!(suggested(&format!("tag --bundle {} --threshold 0.6", bundle())).is_empty());

    let index = folder.path("index");
    let data = folder.write("data.jsonl", lines(&input));
    let line = format!("index --bundle {out} --index {index} --data {data} --threshold 0.6");
    autotag(&line).ok();
    let search =
        |line: &str| autotag(&format!("search --index {index} --format json {line}")).json();
    let label = own[0]["label"].as_str().unwrap();
    let found = search(&format!("--suggested {label} --limit 40 --explain"));
    let n_answers = own.iter().filter(|suggestion| suggestion["label"] == label).count();
    assert_eq!(found["total"], n_answers);
    let path = format!("/{}", label.replace("::", "/"));
    for document in found["documents"].as_array().unwrap() {
        assert!(document["suggestions"].as_array().unwrap().contains(&json!(path)), "{document}");
        assert!(!document["tags"].as_array().unwrap().contains(&json!(path)), "{document}");
        let suggestions = document["evidence"]["suggestions"].as_array().unwrap();
        assert!(suggestions.iter().any(|suggestion| suggestion["label"] == label), "{document}");
    }
    let table = autotag(&format!("search --index {index} --suggested {path} --limit 2")).ok();
    assert!(table.contains("suggested: ") && table.contains(label), "{table}");
    let table = autotag(&format!("search --index {index} --suggested {path} --explain")).ok();
    assert!(table.contains("suggested: "), "{table}");
}

//! `autotag compare`: two bundles on the same documents.

use serde_json::json;

use crate::support::{Folder, autotag, bundle, documents, lines};

#[test]
fn a_bundle_is_no_better_than_itself() {
    let folder = Folder::new();
    let data = folder.write("test.jsonl", lines(&documents(60, 5)));
    let line = format!("compare {0} {0} --data {data} --resamples 200", bundle());
    let report = autotag(&format!("{line} --format json")).json();
    assert_eq!((&report["documents"], &report["resamples"]), (&json!(60), &json!(200)));
    assert_eq!((&report["difference"], &report["second_wins"]), (&json!(0.0), &json!(0.5)));
    // What is measured is what `eval` says of the bundle's own settings.
    let eval = format!("eval --bundle {} --data {data} --bundle-settings --format json", bundle());
    assert_eq!(report["first"], autotag(&eval).json()["bundle"]["micro_f1"]);
    let table = autotag(&line).ok();
    assert!(table.contains("do not tell the two apart"), "{table}");
    assert!(table.contains("better in 50.0 % of 200 resamples"), "{table}");
}

#[test]
fn a_worse_bundle_loses() {
    let folder = Folder::new();
    let data = folder.write("test.jsonl", lines(&documents(60, 5)));
    let (train, dev) = (
        folder.write("train.jsonl", lines(&documents(40, 1))),
        folder.write("dev.jsonl", lines(&documents(20, 2))),
    );
    let out = folder.path("worse");
    let line = format!("train --data {train} --dev {dev} --out {out} --model cnn --epochs 1");
    autotag(&format!("{line} --filters 4")).ok();
    let line = format!("compare {} {out} --data {data}", bundle());
    let measure = || without_speed(autotag(&format!("{line} --format json")).json());
    let report = measure();
    assert!(report["high"].as_f64().unwrap() < 0.0, "{report}");
    assert_eq!(report["second_wins"], 0.0);
    assert_eq!(report, measure(), "the same seed, the same");
    // Both with settings of one's own.
    let report = autotag(&format!("{line} --threshold 0.9 --k 3 --format json")).json();
    let settings = |side: usize| report["bundles"][side]["interpolation"]["k"].clone();
    assert_eq!((settings(0), settings(1)), (json!(3), json!(3)));
    let table = autotag(&line).ok();
    assert!(table.contains("the interval leaves out 0"), "{table}");
}

/// Takes away what differs from run to run.
fn without_speed(mut report: serde_json::Value) -> serde_json::Value {
    for bundle in report["bundles"].as_array_mut().unwrap() {
        let speed = bundle.as_object_mut().unwrap().remove("documents_per_second");
        assert!(speed.and_then(|speed| speed.as_f64()).unwrap() > 0.0, "{bundle}");
    }
    report
}

#[test]
fn what_cannot_be_compared_is_told() {
    let folder = Folder::new();
    let data = folder.write("test.jsonl", lines(&documents(5, 5)));
    let run = autotag(&format!("compare {0} {0} --data {data} --resamples 0", bundle()));
    assert!(run.code == 2 && run.stderr.contains("must be within 1..="), "{}", run.stderr);
    let none = folder.path("none");
    let error = autotag(&format!("compare {} {none} --data {data}", bundle())).error();
    assert!(error.contains("none"), "{error}");
    let plain = folder.write("plain.jsonl", "{\"id\": \"1\", \"text\": \"oven\"}\n");
    let error = autotag(&format!("compare {0} {0} --data {plain}", bundle())).error();
    assert!(error.contains("none of the 1 documents has labels"), "{error}");
}

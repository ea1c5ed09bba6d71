//! `autotag plot`: quality against speed.

use std::fs;

use serde_json::json;

use crate::support::{Folder, autotag, bundle, documents, lines};

fn peer(name: &str, micro_f1: f64, speed: f64) -> serde_json::Value {
    json!({"name": name, "micro_f1": micro_f1, "documents_per_second": speed, "threads": 1})
}

/// Returns the texts that an SVG shows, but for those of axes and legend.
fn labels(svg: &str) -> Vec<String> {
    let texts = svg.split("<text").skip(1).map(|text| {
        let inside = text.split_once('>').unwrap().1;
        inside.split_once("</text").unwrap().0.trim().to_owned()
    });
    let of_axes = ["autotag", "other programs", "micro-F1"];
    texts
        .filter(|text| !of_axes.contains(&text.as_str()) && !text.starts_with("documents a second"))
        .filter(|text| text.replace(',', "").parse::<f64>().is_err())
        .collect()
}

#[test]
fn bundles_and_peers_are_drawn_by_name() {
    let folder = Folder::new();
    let data = folder.write("test.jsonl", lines(&documents(30, 5)));
    let line = format!("compare {0} {0} --data {data} --resamples 10 --threads 1", bundle());
    let compared = autotag(&format!("{line} --format json")).ok();
    let speed = serde_json::from_str::<serde_json::Value>(&compared).unwrap();
    assert!(speed["bundles"][0]["documents_per_second"].as_f64().unwrap() > 0.0, "{speed}");
    assert_eq!(speed["bundles"][0]["threads"], 1);

    let peers =
        json!({"peers": [peer("LinearSVC", 0.6, 5000.0), peer("<Omikuji> & co", 0.7, 900.0)]});
    let compared = folder.write("compared.json", compared);
    let peers = folder.write("peers.json", peers.to_string());
    let out = folder.path("speed.svg");
    let table = autotag(&format!("plot {compared} {peers} --out {out}")).ok();
    assert!(table.contains("LinearSVC") && table.contains("5000"), "{table}");
    let svg = fs::read_to_string(&out).unwrap();
    let name = bundle().rsplit('/').next().unwrap().to_owned();
    // The bundle was measured twice and is drawn once.
    assert_eq!(labels(&svg), [name.as_str(), "LinearSVC", "&lt;Omikuji&gt; &amp; co"]);
    assert!(svg.contains("documents a second, 1 thread"), "{svg}");
    assert_eq!(svg.matches("<circle").count(), 2, "one point, and the legend's");
    assert_eq!(svg.matches("<polygon").count(), 3, "two points, and the legend's");
}

#[test]
fn different_numbers_of_threads_are_told_at_each_point() {
    let folder = Folder::new();
    let mut two = peer("two", 0.5, 20.0);
    two["threads"] = json!(2);
    let peers =
        folder.write("peers.json", json!({"peers": [peer("one", 0.5, 10.0), two]}).to_string());
    let out = folder.path("speed.svg");
    autotag(&format!("plot {peers} --out {out}")).ok();
    assert_eq!(labels(&fs::read_to_string(out).unwrap()), ["one, 1 thread", "two, 2 threads"]);
}

#[test]
fn what_cannot_be_plotted_is_told() {
    let folder = Folder::new();
    let out = folder.path("speed.svg");
    let error = |content: &str| {
        let file = folder.write("measured.json", content);
        autotag(&format!("plot {file} --out {out}")).error()
    };
    assert!(error("").contains("neither bundles nor peers"));
    assert!(error("{\"documents\": 3}").contains("neither bundles nor peers"));
    assert!(error("{\"peers\": [{\"name\": \"x\"}]}").contains("micro_f1"));
    assert!(error(&json!({"peers": [peer("x", 1.5, 1.0)]}).to_string()).contains("within 0..=1"));
    assert!(error(&json!({"peers": [peer("x", 0.5, 0.0)]}).to_string()).contains("greater than 0"));
    assert!(error(&"[".repeat(1 << 21)).contains("measured.json"));
    assert!(!fs::exists(&out).unwrap());
}

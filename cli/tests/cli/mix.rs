//! A bundle with a learned mix, through every command that scores documents.

use std::path::Path;

use autotag::Threshold;
use autotag::mix::{LearnedMix, N_FEATURES, Parameters};
use autotag_onnx::ModelBundle;
use serde_json::{Value, json};

use crate::support::{Folder, autotag, autotag_with, bundle, documents, lines, unlabeled};

/// Writes the small bundle with a mix in which the model has the word, and the label 0 an advantage.
fn mixed_bundle(folder: &Folder) -> String {
    let bundle = ModelBundle::open(Path::new(&bundle())).unwrap();
    let mut parameters = Parameters {
        scale: 1.0,
        mean: vec![0.0; N_FEATURES],
        deviation: vec![1.0; N_FEATURES],
        weights: vec![0.0; N_FEATURES],
        labels: vec![0.0; bundle.labels().len()],
        intercept: 0.25,
        threshold: Threshold::new(0.6).unwrap(),
    };
    // The logit of the model's score is the first feature, that of the nearest neighbors' vote the second.
    (parameters.weights[0], parameters.weights[1]) = (0.75, 0.25);
    parameters.labels[0] = 0.5;
    let mix = LearnedMix::try_from(parameters).unwrap();
    let out = folder.path("mixed");
    let config = bundle.config().clone();
    let (interpolation, selection) = (config.interpolation, config.selection);
    bundle
        .with_settings(Path::new(&out), interpolation, Some(mix), selection, config.training)
        .unwrap();
    out
}

/// Checks the evidence of a tag that the mix gave; `first` is the label that has an advantage.
fn check_shares(tag: &Value, first: &str) {
    let share = |name: &str| tag["shares"][name].as_f64().unwrap();
    let logit = share("model") + share("neighbors") + share("frequency") + share("text");
    let score = 1.0 / (1.0 + (-logit).exp());
    assert!((score - tag["score"].as_f64().unwrap()).abs() < 1e-4, "{tag}");
    let own = if tag["label"] == first { 0.5 } else { 0.0 };
    assert!((share("frequency") - 0.25 - own).abs() < 1e-4, "{tag}");
    assert_eq!(share("text"), 0.0);
}

/// Returns the tags with their evidence that `tag --explain` answers with.
fn tags(bundle: &str, options: &str, input: &str) -> Vec<Value> {
    let line = format!("tag --bundle {bundle} --explain {options}");
    let answers = autotag_with(&line, input).json_lines();
    answers.iter().flat_map(|a| a["tags"].as_array().unwrap().clone()).collect()
}

#[test]
fn a_mix_scores_documents_wherever_they_are_tagged() {
    let folder = Folder::new();
    let mixed = mixed_bundle(&folder);
    let shown = autotag(&format!("bundle show {mixed} --format json")).json();
    let first = shown["labels"][0].as_str().unwrap();
    let input = lines(&unlabeled(&documents(40, 7)));
    let by_mix = tags(&mixed, "", &input);
    assert!(!by_mix.is_empty());
    // The neighbors' weights are those of the vote that is shown.
    let answers = autotag_with(&format!("tag --bundle {mixed} --explain"), &input).json_lines();
    for answer in &answers {
        let neighbors = answer["neighbors"].as_array().unwrap();
        assert_eq!(neighbors.len(), 12);
        for tag in answer["tags"].as_array().unwrap() {
            let votes = neighbors
                .iter()
                .filter(|n| n["labels"].as_array().unwrap().contains(&tag["label"]));
            let sum: f64 = votes.map(|neighbor| neighbor["weight"].as_f64().unwrap()).sum();
            assert!((sum - tag["knn"].as_f64().unwrap()).abs() < 1e-4, "{answer}");
        }
    }
    for tag in &by_mix {
        check_shares(tag, first);
        assert!(tag["score"].as_f64().unwrap() >= 0.6, "{tag}");
    }
    // Another threshold is the mix's too; a lambda asks for the interpolation.
    assert!(tags(&mixed, "--threshold 1", &input).is_empty());
    let interpolated = tags(&mixed, "--lambda 0.5", &input);
    assert!(!interpolated.is_empty());
    assert!(interpolated.iter().all(|tag| tag.get("shares").is_none()), "{interpolated:?}");

    // The same in an index, where tagging again changes nothing.
    let (index, data) = (folder.path("index"), folder.write("plain.jsonl", &input));
    autotag(&format!("index --bundle {mixed} --index {index} --data {data}")).ok();
    let found =
        autotag(&format!("search --index {index} --format json --explain --limit 100")).json();
    let evidence = found["documents"].as_array().unwrap().iter();
    let evidence: Vec<Value> =
        evidence.flat_map(|d| d["evidence"]["tags"].as_array().unwrap().clone()).collect();
    assert_eq!(evidence.len(), by_mix.len());
    evidence.iter().for_each(|tag| check_shares(tag, first));
    let table = autotag(&format!("search --index {index} --explain --limit 100")).ok();
    assert!(table.contains("parts of the logit"), "{table}");
    assert!(table.contains(" +0.25 +0.00"), "{table}");
    let retagged = autotag(&format!("retag --index {index} --format json")).json();
    assert_eq!(retagged["changed"], 0, "{retagged}");
}

#[test]
fn what_a_mix_is_worth_is_measured() {
    let folder = Folder::new();
    let mixed = mixed_bundle(&folder);
    let (test, dev) =
        (folder.write("test.jsonl", lines(&documents(60, 3))), folder.path("dev.jsonl"));
    folder.write("dev.jsonl", lines(&documents(200, 2)));
    let line = format!("eval --bundle {mixed} --data {test} --bundle-settings --tune {dev}");
    let report = autotag(&format!("{line} --format json")).json();
    let row = &report["bundle"];
    assert_eq!(
        (&row["method"], &row["k"], &row["lambda"]),
        (&json!("learned"), &json!(40), &json!(null))
    );
    assert!(row["micro_f1"].as_f64().unwrap() > 0.5, "{row}");
    let fitted = report["rows"].as_array().unwrap().last().unwrap();
    assert_eq!((&fitted["method"], &fitted["tuned"]), (&json!("learned"), &json!(true)));
    assert!(fitted["micro_f1"].as_f64().unwrap() > 0.7, "{fitted}");
    assert!(autotag(&line).ok().contains("learned"));
    let compared = autotag(&format!("compare {mixed} {} --data {test} --format json", bundle()));
    let side = compared.json()["bundles"][0].clone();
    assert_eq!((&side["micro_f1"], &side["learned"]), (&row["micro_f1"], &json!(true)));
    assert!((side["threshold"].as_f64().unwrap() - 0.6).abs() < 1e-6, "{side}");
    let tuned = folder.path("tuned");
    let report =
        autotag(&format!("tune --bundle {mixed} --data {dev} --out {tuned} --format json")).json();
    let shown = autotag(&format!("bundle show {tuned} --format json")).json();
    assert_eq!(report["learned"].as_bool().unwrap(), shown["config"].get("mix").is_some());
    let kept = autotag(&format!(
        "tune --bundle {mixed} --data {dev} --out {tuned} --lambda 0.5 --format json"
    ));
    assert_eq!(kept.json()["learned"], false);
}

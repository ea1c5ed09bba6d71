//! Train, evaluate, index, tag and search on small data.

use serde_json::{Value, json};

use crate::support::{
    Folder, SMALL, autotag, autotag_with, bundle, command, documents, lines, unlabeled,
};

fn f1(row: &Value) -> f64 {
    row["micro_f1"].as_f64().unwrap()
}

#[test]
fn eval_answers_with_one_json_object() {
    let folder = Folder::new();
    let test = folder.write("test.jsonl", lines(&documents(80, 3)));
    let dev = folder.write("dev.jsonl", lines(&documents(60, 2)));
    let line = format!("eval --bundle {} --data {test} --tune {dev} --format json", bundle());
    let report = autotag(&line).json();
    assert_eq!(report["documents"], 80);
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> =
        rows.iter().map(|row| (row["method"].clone(), row["tuned"].clone())).collect();
    let methods = ["model", "knn", "interpolated"];
    let expected: Vec<_> = [false, true]
        .iter()
        .flat_map(|tuned| methods.map(|method| (json!(method), json!(tuned))))
        .collect();
    assert_eq!(names, expected);
    let keys = [
        "hamming_loss",
        "k",
        "lambda",
        "macro_f1",
        "method",
        "micro_f1",
        "ms_per_document",
        "p_at_1",
        "p_at_3",
        "p_at_5",
        "tau",
        "threshold",
        "tuned",
    ];
    for row in rows {
        let mut found: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, keys);
        assert!(f1(row) > 0.7, "{row}");
        assert!(row["ms_per_document"].as_f64().unwrap() > 0.0);
    }
    let paper = &rows[2];
    assert_eq!(
        [&paper["k"], &paper["tau"], &paper["lambda"], &paper["threshold"]],
        [&json!(5), &json!(1.0), &json!(0.5), &json!(0.5)]
    );
    let given = autotag(&format!("{line} --k 3 --tau 0.1 --lambda 0.2 --threshold 0.4")).json();
    let row = &given["rows"][2];
    assert_eq!(
        [&row["k"], &row["tau"], &row["lambda"], &row["threshold"]],
        [&json!(3), &json!(0.1), &json!(0.2), &json!(0.4)]
    );
}

#[test]
fn eval_prints_a_table_of_at_most_100_columns() {
    let folder = Folder::new();
    let test = folder.write("test.jsonl", lines(&documents(30, 3)));
    let table = autotag(&format!("eval --bundle {} --data {test}", bundle())).ok();
    assert!(table.contains("interpolated") && table.contains("30 documents"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn labels_that_the_model_does_not_know_are_told_and_count_as_missed() {
    let folder = Folder::new();
    let mut test = documents(20, 3);
    let known = folder.write("known.jsonl", lines(&test));
    test[0]["labels"] = json!(["field::law"]);
    let unknown = folder.write("unknown.jsonl", lines(&test));
    let eval = |data| autotag(&format!("eval --bundle {} --data {data} --format json", bundle()));
    let run = eval(unknown);
    assert!(run.stderr.contains("field::law"), "{}", run.stderr);
    assert!(f1(&run.json()["rows"][0]) < f1(&eval(known).json()["rows"][0]));
}

#[test]
fn documents_are_indexed_tagged_and_found() {
    let folder = Folder::new();
    let labeled = folder.write("labeled.jsonl", lines(&documents(60, 4)));
    let unlabeled = folder.write("unlabeled.jsonl", lines(&unlabeled(&documents(90, 5))));
    let (bundle, index) = (bundle(), folder.path("index"));
    let data = format!("--data {labeled} {unlabeled}");
    let report =
        autotag(&format!("index --bundle {bundle} --index {index} {data} --format json")).json();
    assert_eq!(
        [&report["documents"], &report["labeled"], &report["tagged"], &report["failed"]],
        [&json!(150), &json!(60), &json!(90), &json!(0)]
    );
    assert_eq!(report["files"][0]["labeled"], 60);
    for stage in ["tokenize", "encode", "neighbors", "tantivy"] {
        assert!(report["times"][stage].as_f64().unwrap() > 0.0, "{stage}: {report}");
    }

    let search =
        |line: &str| autotag(&format!("search --index {index} --format json {line}")).json();
    let all = search("--facets /field --limit 3");
    assert_eq!(all["total"], 150);
    assert_eq!(all["documents"].as_array().unwrap().len(), 3);
    let counts = all["facets"][0]["counts"].as_array().unwrap();
    assert_eq!(counts.len(), 6);
    let engine = counts.iter().find(|count| count["tag"] == "/field/engine").unwrap();
    let by_tag = search("--tag /field/engine");
    assert_eq!(by_tag["total"], engine["count"]);
    assert_eq!(search("--tag field::engine")["total"], engine["count"]);

    let by_word = search("--tag /field/engine piston");
    let total = by_word["total"].as_u64().unwrap();
    assert!(0 < total && total <= by_tag["total"].as_u64().unwrap());

    // A key is found first, and a predicted tag says where it comes from.
    let explained = search("5-7 --explain --limit 1");
    let document = &explained["documents"][0];
    assert_eq!(document["id"], "5-7");
    assert!(!document["evidence"]["neighbors"].as_array().unwrap().is_empty());
    let tag = &document["evidence"]["tags"][0];
    assert!(tag["score"].as_f64().unwrap() > 0.3 && tag["origin"] == "both", "{tag}");
    let given = search("4-7 --explain --limit 1");
    assert_eq!(given["documents"][0]["evidence"]["tags"][0]["origin"], "human");

    let table = autotag(&format!("search --index {index} --explain --facets /field piston")).ok();
    assert!(table.contains("documents match piston") && table.contains("/field/engine"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn documents_are_filtered_counted_sorted_and_paged_for_a_review() {
    let folder = Folder::new();
    let labeled = folder.write("labeled.jsonl", lines(&documents(20, 4)));
    let unlabeled = folder.write("unlabeled.jsonl", lines(&unlabeled(&documents(30, 5))));
    let (bundle, index) = (bundle(), folder.path("index"));
    autotag(&format!("index --bundle {bundle} --index {index} --data {labeled} {unlabeled}")).ok();
    let search =
        |line: &str| autotag(&format!("search --index {index} --format json {line}")).json();
    let total = |line: &str| search(&format!("--limit 0 {line}"))["total"].as_u64().unwrap();

    // Who gave the tags.
    assert_eq!(total("--origin human"), 20);
    assert_eq!(total("--origin predicted --origin untagged"), 30);

    // One tag or another, or neither.
    let (engine, music) = ("/field/engine", "/field/music");
    let either = total(&format!("--any-tag {engine} --any-tag {music}"));
    let neither = total(&format!("--not-tag {engine} --not-tag {music}"));
    assert_eq!(either + neither, 50);
    assert!(either >= total(&format!("--tag {engine}")) && neither < 50);

    // Counts as if another tag were chosen, of several facets at once.
    let counted = search(&format!("--any-tag {engine} --facets /field --facets / --disjunctive"));
    let whole = search("--facets /field");
    assert_eq!(counted["facets"][0], whole["facets"][0]);
    assert_eq!(counted["facets"][1]["below"], "/");
    let counted = search(&format!("--tag {engine} --facets /field"));
    assert_ne!(counted["facets"][0], whole["facets"][0]);

    // The least certain first, page by page.
    let line = "--origin predicted --sort tag_margin";
    let all = search(&format!("{line} --limit 50"));
    let all = all["documents"].as_array().unwrap();
    let margins: Vec<f64> = all.iter().map(|d| d["sort_value"].as_f64().unwrap()).collect();
    assert!(margins.is_sorted() && margins[0] < margins[margins.len() - 1], "{margins:?}");
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = search(&format!("{line} --limit 7 {cursor}"));
        paged.extend(page["documents"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("--cursor {next}"),
            None => break,
        }
    }
    assert_eq!(&paged, all);
    let error = autotag(&format!("search --index {index} --cursor abc")).error();
    assert!(error.contains("cursor is damaged"), "{error}");
    let error = autotag(&format!("search --index {index} --sort text")).error();
    assert!(error.contains("cannot be sorted by field \"text\""), "{error}");
    let latest = search("--sort tagged_at:desc --limit 1");
    assert!(latest["documents"][0]["sort_value"].as_str().unwrap().ends_with('Z'), "{latest}");

    let found = search("--snippets piston --limit 1");
    let html = found["documents"][0]["snippets"][0]["html"].as_str().unwrap();
    assert!(html.contains("<b>piston</b>"), "{html}");
    let table = autotag(&format!("search --index {index} --snippets --limit 2 {line}")).ok();
    assert!(table.contains("More: --cursor "), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn the_same_key_again_replaces() {
    let folder = Folder::new();
    let index = folder.path("index");
    let first = json!({"id": "a", "text": "piston oil gearbox", "labels": ["field::engine"]});
    let again = json!({"id": "a", "text": "violin chord melody", "labels": ["new::label"]});
    let data = folder.write("data.jsonl", lines(&[first, again]));
    let bundle = bundle();
    autotag(&format!("index --bundle {bundle} --index {index} --data {data}")).ok();
    // The bundle is remembered.
    let report = autotag(&format!("index --index {index} --data {data} --format json")).json();
    assert_eq!(report["documents"], 2);
    let found = autotag(&format!("search --index {index} --format json")).json();
    assert_eq!(found["total"], 1);
    assert_eq!(found["documents"][0]["text"], "violin chord melody");
    assert_eq!(found["documents"][0]["tags"], json!(["/new/label"]));
}

#[test]
fn a_label_given_once_is_found_by_the_neighbors() {
    let folder = Folder::new();
    let index = folder.path("index");
    let text = "violin chord melody tempo orchestra";
    let data = json!({"id": "a", "text": text, "labels": ["new::label"]});
    let data = folder.write("data.jsonl", lines(&[data]));
    autotag(&format!("index --bundle {} --index {index} --data {data}", bundle())).ok();
    let input = lines(&[json!({"id": "b", "text": text})]);
    let answers =
        autotag_with(&format!("tag --index {index} --k 1 --explain"), &input).json_lines();
    assert_eq!(answers[0]["neighbors"][0]["key"], "a");
    let tags = answers[0]["tags"].as_array().unwrap();
    let tag = tags.iter().find(|tag| tag["label"] == "new::label").unwrap();
    assert_eq!(
        (&tag["score"], &tag["model"], &tag["knn"]),
        (&json!(1.0), &Value::Null, &json!(1.0))
    );
}

#[test]
fn tag_answers_every_line_in_order() {
    let mut input = lines(&unlabeled(&documents(700, 6)));
    input.insert_str(0, "no json\n\n{\"id\": 7, \"text\": \"\"}\n{\"id\": \"x\"}\n");
    let run = autotag_with(&format!("tag --bundle {}", bundle()), &input);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("4 of 704 lines could not be tagged"), "{}", run.stderr);
    let answers: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 704);
    let failed: Vec<_> =
        answers[..4].iter().map(|a| (a["id"].clone(), a["line"].clone())).collect();
    let expected = [
        (Value::Null, json!(1)),
        (Value::Null, json!(2)),
        (json!("7"), json!(3)),
        (json!("x"), json!(4)),
    ];
    assert_eq!(failed, expected);
    assert!(answers[2]["error"].as_str().unwrap().contains("empty"), "{}", answers[2]);
    for (number, answer) in answers[4..].iter().enumerate() {
        assert_eq!(answer["id"], format!("6-{number}"));
        assert!(answer["tags"].is_array() && answer.get("neighbors").is_none(), "{answer}");
    }
}

#[test]
fn tag_answers_while_its_input_is_still_open() {
    use std::io::{BufRead, BufReader, Write};
    let mut child = command(&format!("tag --bundle {} --explain", bundle())).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for text in ["piston oil gearbox clutch", "wave coral reef tide"] {
        writeln!(input, "{}", json!({"id": text, "text": text})).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], text);
        let weights = answer["neighbors"].as_array().unwrap().iter();
        let total: f64 = weights.map(|neighbor| neighbor["weight"].as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-4, "{answer}");
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn training_twice_with_one_seed_gives_the_same_model() {
    let folder = Folder::new();
    let train = folder.write("train.csv", csv(&documents(60, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(30, 2)));
    let outs = ["one", "two"].map(|name| folder.path(name));
    for out in &outs {
        let line =
            format!("train --data {train} --dev {dev} --out {out} {SMALL} --epochs 2 --threads 1");
        let run = autotag(&format!("{line} --seed 7 --format json"));
        assert!(run.stderr.contains("epoch 2"), "{}", run.stderr);
        let report = run.json();
        assert_eq!((&report["n_train"], &report["labels"]), (&json!(60), &json!(6)));
    }
    let shown = outs.map(|out| autotag(&format!("bundle show {out} --format json")).json());
    assert_eq!(shown[0]["encoder_fingerprint"], shown[1]["encoder_fingerprint"]);
    assert_eq!(shown[0]["config"]["training"]["config"]["seed"], 7);
    assert_eq!(shown[0]["neighbors"], 60);
}

/// Writes labeled documents as CSV.
fn csv(documents: &[Value]) -> String {
    let row = |document: &Value| {
        let labels: Vec<&str> =
            document["labels"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        format!("{},{},{}\n", text("id"), labels.join(";"), text("text"))
    };
    let rows: String = documents.iter().map(row).collect();
    format!("id,labels,text\n{rows}")
}

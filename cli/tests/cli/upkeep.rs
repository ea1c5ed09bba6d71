//! What people do to an index over the years: correct, rename, tag again, move, mend, stop.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::support::{
    Folder, Run, SMALL, autotag, autotag_with, bundle, command, documents, lines, unlabeled,
};

/// An index of 20 labeled documents, keys 5-N, and 30 tagged ones, keys 6-N.
fn index(folder: &Folder) -> String {
    let labeled = folder.write("labeled.jsonl", lines(&documents(20, 5)));
    let plain = folder.write("plain.jsonl", lines(&unlabeled(&documents(30, 6))));
    let index = folder.path("index");
    let data = format!("--data {labeled} {plain}");
    autotag(&format!("index --bundle {} --index {index} {data}", bundle())).ok();
    index
}

fn document(index: &str, key: &str) -> Value {
    let found = autotag(&format!("search --index {index} --format json --explain {key}")).json();
    assert_eq!(found["documents"][0]["id"], key);
    found["documents"][0].clone()
}

fn tags(index: &str, key: &str) -> Vec<String> {
    serde_json::from_value(document(index, key)["tags"].clone()).unwrap()
}

fn is_sound(index: &str) -> bool {
    autotag(&format!("verify --index {index} --format json")).json()["sound"] == true
}

#[test]
fn a_correction_replaces_tags_and_teaches_a_new_label() {
    let folder = Folder::new();
    let index = index(&folder);
    let before = tags(&index, "6-1");
    let rejected = &before[0];
    let line = format!("correct --index {index} 6-1 --add /new/topic --reject {rejected}");
    let report = autotag(&format!("{line} --format json")).json();
    assert_eq!(report["documents"][0]["id"], "6-1");
    let after = tags(&index, "6-1");
    assert!(after.contains(&"/new/topic".to_owned()) && !after.contains(rejected), "{after:?}");
    assert_eq!(document(&index, "6-1")["evidence"]["tags"][0]["origin"], "human");

    // The same text under another key: its nearest neighbor is the corrected document.
    let text = document(&index, "6-1")["text"].clone();
    let input = lines(&[json!({"id": "twin", "text": text})]);
    let answers = autotag_with(&format!("tag --index {index} --k 1"), &input).json_lines();
    let found = answers[0]["tags"].as_array().unwrap();
    assert!(found.iter().any(|tag| tag["label"] == "new::topic"), "{}", answers[0]);

    // A person's word outlives the same document coming again from whoever feeds the index.
    let again = folder.write("again.jsonl", lines(&[json!({"id": "6-1", "text": text})]));
    autotag(&format!("index --index {index} --data {again}")).ok();
    assert_eq!(tags(&index, "6-1"), after);
    assert!(is_sound(&index));
}

#[test]
fn exact_labels_or_none_can_be_said() {
    let folder = Folder::new();
    let index = index(&folder);
    let line = format!("correct --index {index} 6-1 6-2 --set field::music --set /a/b");
    assert_eq!(autotag(&line).ok(), "6-1: /a/b, /field/music\n6-2: /a/b, /field/music\n");
    let line = format!("correct --index {index} 6-2 --no-labels");
    assert_eq!(autotag(&line).ok(), "6-2: no label\n");
    assert_eq!(tags(&index, "6-2"), [""; 0]);
}

#[test]
fn a_correction_that_cannot_be_made_changes_nothing() {
    let folder = Folder::new();
    let index = index(&folder);
    let before = tags(&index, "6-1");
    let line = format!("correct --index {index} 6-1 nobody --add /x");
    let error = autotag(&line).error();
    assert!(error.contains("nobody"), "{error}");
    let error = autotag(&format!("correct --index {index} 6-1 --reject /never/seen")).error();
    assert!(error.contains("never::seen"), "{error}");
    assert_eq!(tags(&index, "6-1"), before);
    for wrong in [
        "6-1",
        "6-1 --add /a --reject a",
        "--add /a",
        "6-1 --set a --add b",
        "6-1 --set a --confirm",
    ] {
        assert_eq!(autotag(&format!("correct --index {index} {wrong}")).code, 2, "{wrong}");
    }
}

#[test]
fn labels_are_renamed_merged_retired_and_restored() {
    let folder = Folder::new();
    let index = index(&folder);
    let count = |label: &str| -> Option<u64> {
        let list = autotag(&format!("labels --index {index} list --format json")).json();
        let rows = list["labels"].as_array().unwrap().clone();
        rows.iter().find(|row| row["label"] == label)?["documents"].as_u64()
    };
    let [music, ocean, space] =
        ["field::music", "field::ocean", "field::space"].map(|label| count(label).unwrap());
    assert!(music > 0 && ocean > 0 && space > 0);

    let changed =
        autotag(&format!("labels --index {index} rename field::music art::music --format json"));
    assert_eq!(changed.json()["changed"], music);
    assert_eq!((count("field::music"), count("art::music")), (None, Some(music)));
    autotag(&format!("labels --index {index} merge /field/ocean --into art::music")).ok();
    assert_eq!(count("field::ocean"), Some(0));
    assert!(count("art::music").unwrap() > music);
    autotag(&format!("labels --index {index} retire field::space")).ok();
    assert_eq!(count("field::space"), Some(0));

    // They hold for whatever comes, labeled or not.
    let text = "orbit rocket planet comet wave coral reef";
    let given = json!({"id": "a", "text": text, "labels": ["field::space", "field::ocean"]});
    let data = folder.write("more.jsonl", lines(&[given, json!({"id": "b", "text": text})]));
    autotag(&format!("index --index {index} --data {data}")).ok();
    assert_eq!(tags(&index, "a"), ["/art/music"]);
    assert!(!tags(&index, "b").iter().any(|tag| tag.starts_with("/field/space")));
    let list = autotag(&format!("labels --index {index} list")).ok();
    assert!(list.contains("merged into art::music") && list.contains("retired"), "{list}");
    assert!(list.contains("was field::music"), "{list}");

    autotag(&format!("labels --index {index} restore field::space")).ok();
    let retagged = autotag(&format!("retag --index {index} --format json")).json();
    assert!(retagged["gained"]["field::space"].as_u64().unwrap() > 0, "{retagged}");
    let error = autotag(&format!("labels --index {index} retire no::such")).error();
    assert!(error.contains("no::such"), "{error}");
    assert!(is_sound(&index));
}

#[test]
fn tagging_again_says_what_changed_and_encodes_nothing() {
    let folder = Folder::new();
    let index = index(&folder);
    let nothing = autotag(&format!("retag --index {index} --format json")).json();
    assert_eq!((&nothing["documents"], &nothing["changed"]), (&json!(30), &json!(0)));
    let low = autotag(&format!("retag --index {index} --threshold 0.02 --format json")).json();
    assert_eq!(low["documents"], 30);
    assert!(low["changed"].as_u64().unwrap() > 0 && low["lost"] == json!({}), "{low}");
    let one = autotag(&format!("retag --index {index} --query id:\"6-3\" --format json")).json();
    assert_eq!(one["documents"], 1);
    let table = autotag(&format!("retag --index {index}")).ok();
    assert!(table.contains("gained by") && table.contains("lost by"), "{table}");
    let resumed = autotag(&format!("retag --index {index} --resume --format json")).json();
    assert_eq!(resumed["documents"], 0, "nothing was interrupted");
    let error = autotag(&format!("retag --index {index} --query (")).error();
    assert!(error.contains('('), "{error}");
    assert!(is_sound(&index));
}

/// Trains a bundle unlike that of the other tests.
fn other_bundle(folder: &Folder) -> String {
    let (train, out) = (folder.write("t.jsonl", lines(&documents(80, 7))), folder.path("other"));
    let line = format!("train --data {train} --dev {train} --out {out} {SMALL} --epochs 2");
    autotag(&format!("{line} --seed 3")).ok();
    out
}

#[test]
fn an_index_moves_to_another_bundle_and_keeps_corrections() {
    let folder = Folder::new();
    let index = index(&folder);
    autotag(&format!("correct --index {index} 6-1 --set new::topic")).ok();
    let other = other_bundle(&folder);
    let data = folder.path("plain.jsonl");
    for refused in [
        format!("index --index {index} --bundle {other} --data {data}"),
        format!("retag --index {index} --bundle {other}"),
        format!("tag --index {index} --bundle {other}"),
    ] {
        let error = autotag(&refused).error();
        assert!(error.contains("autotag migrate"), "{refused}: {error}");
    }
    let moved = autotag(&format!("migrate --index {index} --bundle {other} --format json")).json();
    assert_eq!((&moved["labeled"], &moved["failed"]), (&json!(21), &json!([])));
    assert_eq!(moved["retagged"]["documents"], 29);
    assert_eq!(tags(&index, "6-1"), ["/new/topic"]);
    assert!(is_sound(&index));
    // The new bundle is remembered.
    autotag(&format!("index --index {index} --data {data}")).ok();
    assert_eq!(tags(&index, "6-1"), ["/new/topic"]);
}

#[test]
fn a_bundle_with_other_settings_is_used_from_then_on() {
    let folder = Folder::new();
    let index = index(&folder);
    let (dev, tuned) = (folder.write("dev.jsonl", lines(&documents(60, 2))), folder.path("tuned"));
    autotag(&format!("tune --bundle {} --data {dev} --k 1 --out {tuned}", bundle())).ok();
    let moved = autotag(&format!("migrate --index {index} --bundle {tuned} --format json")).json();
    assert_eq!(moved["retagged"]["documents"], 30);
    assert_eq!(document(&index, "6-1")["evidence"]["neighbors"].as_array().unwrap().len(), 1);
    let input = lines(&[json!({"id": "x", "text": "piston oil"})]);
    let answers = autotag_with(&format!("tag --index {index} --explain"), &input).json_lines();
    assert_eq!(answers[0]["neighbors"].as_array().unwrap().len(), 1);
}

#[test]
fn a_damaged_index_is_mended_and_says_what_was_lost() {
    let folder = Folder::new();
    let index = index(&folder);
    let sound = autotag(&format!("repair --index {index}")).ok();
    assert!(sound.contains("nothing was changed"), "{sound}");
    let files = fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
    let store = files.filter(|p| p.extension().is_some_and(|e| e == "store")).min().unwrap();
    let mut bytes = fs::read(&store).unwrap();
    bytes[10] ^= 1;
    fs::write(&store, bytes).unwrap();
    let report = autotag(&format!("repair --index {index} --format json")).json();
    assert_eq!((&report["sound"], &report["datastore_rebuilt"]), (&json!(true), &json!(true)));
    let (lost, known) = (&report["documents_lost"], report["lost"].as_array().unwrap());
    assert!(lost.as_u64().unwrap() > 0 && known.len() as u64 == lost.as_u64().unwrap());
    // Indexed again, all is there.
    let data = [folder.path("labeled.jsonl"), folder.path("plain.jsonl")].join(" ");
    autotag(&format!("index --index {index} --data {data}")).ok();
    let report = autotag(&format!("verify --index {index} --format json")).json();
    assert_eq!((&report["sound"], &report["documents"]), (&json!(true), &json!(50)));
}

#[cfg(unix)]
fn terminate(child: &Child) {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn a_signal_commits_what_came_and_tells_where_to_go_on() {
    let folder = Folder::new();
    let index = index(&folder);
    let all = lines(&unlabeled(&documents(40, 9)));
    let data = folder.write("all.jsonl", &all);
    let line = format!("index --index {index} --data - --commit-every 25 --verbose --format json");
    let mut child = command(&line).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let first: String = all.lines().take(25).map(|line| format!("{line}\n")).collect();
    input.write_all(first.as_bytes()).unwrap();
    // The input stays open; the program waits for more.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let committed = said.find(|line| line.as_ref().unwrap().contains("committed"));
    assert!(committed.is_some(), "commits are told");
    terminate(&child);
    let rest: Vec<String> = said.map(|line| line.unwrap()).collect();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let run = Run::from(output);
    assert_eq!(run.code, 1);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["tagged"], 25);
    let error = rest.iter().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains("everything before line 26 of -") && error.contains("--from-line 26"));
    assert!(is_sound(&index));

    let rest = format!("index --index {index} --data {data} --from-line 26 --format json");
    assert_eq!(autotag(&rest).json()["tagged"], 15);
    let found = autotag(&format!("search --index {index} --limit 0 --format json")).json();
    assert_eq!(found["total"], 90);
}

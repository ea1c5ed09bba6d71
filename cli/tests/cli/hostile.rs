//! Input that somebody made up to do harm, or by mistake: it is told, shown, and bounded.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Folder, Run, autotag, autotag_args, bundle, command, documents, lines, unlabeled,
};

const KEY: &str = "k\u{1b}[2J\u{202e}\u{9b}1m\nerror: forged\t\u{200b}";
const LABEL: &str = "field::\u{1b}]0;title\u{7}\u{2066}ocean\nforged";
const TEXT: &str = "piston \u{1b}[31m oil \u{9d} gearbox \u{2028}forged clutch \u{feff}";
const NAME: &str = "data\u{1b}[5m\nforged.jsonl";

/// Expects nothing that a terminal would obey or hide, and no line that was made up.
#[track_caller]
fn check_seen(text: &str) {
    let is_seen = |character: char| match character {
        '\n' => true,
        '\u{200b}' | '\u{202e}' | '\u{2028}' | '\u{2066}' | '\u{feff}' => false,
        character => !character.is_control(),
    };
    assert!(text.chars().all(is_seen), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{text:?}");
}

/// Runs a command and checks both of its streams; the hostile words must be in one of them.
#[track_caller]
fn check(args: &[&str], code: i32) -> Run {
    let run = autotag_args(args);
    assert_eq!(run.code, code, "{args:?}: {}{}", run.stdout, run.stderr);
    check_seen(&run.stdout);
    check_seen(&run.stderr);
    let shows = |text: &str| text.contains("\\u{1b}") || text.contains("\\u{202e}");
    let is_shown = shows(&run.stdout) || shows(&run.stderr);
    assert!(is_shown, "{args:?} shows nothing: {}{}", run.stdout, run.stderr);
    run
}

/// Makes an index with hostile documents; the file has a hostile name.
fn index(folder: &Folder) -> String {
    let index = folder.path("index");
    let mut all = documents(20, 5);
    all.push(json!({"id": KEY, "text": TEXT, "labels": [LABEL, "field::engine"]}));
    all.push(json!({"id": format!("{KEY}2"), "text": TEXT}));
    all.push(json!({"id": format!("{KEY}3"), "text": ""}));
    all.push(json!({"id": format!("{KEY}4"), "text": "a", "labels": ["\u{1b}".repeat(2000)]}));
    let data = folder.write(NAME, lines(&all));
    let bundle = bundle();
    let line = ["index", "--bundle", &bundle, "--index", &index, "--data", &data];
    let run = check(&[&line[..], &["--on-failure", "skip"]].concat(), 0);
    assert!(run.stdout.contains("failed in") && run.stderr.contains("could not be tagged"));
    index
}

#[test]
fn nothing_that_others_wrote_reaches_the_terminal_as_a_command() {
    let folder = Folder::new();
    let index = &index(&folder);
    check(&["search", "--index", index, "piston", "--facets", "/field"], 0);
    check(&["search", "--index", index, "--explain", KEY], 0);
    check(&["search", "--index", index, "--explain", "--limit", "30", "clutch"], 0);
    check(&["search", "--index", index, "\u{1b}31m"], 0);
    check(&["search", "--index", index, "--facets", "/\u{1b}[31m"], 0);
    check(&["search", "--index", index, "\"\u{1b}[31m"], 1);
    check(&["search", "--index", index, "--limit", "\u{1b}[31m\u{202e}"], 2);
    check(&["search", "--index", &format!("{index}\u{1b}[31m\nerror: forged"), "a"], 1);
    check(&["search", "--index", index, "--\u{1b}[31m\u{202e}"], 2);
    check(&["labels", "--index", index, "list"], 0);
    check(&["labels", "--index", index, "rename", LABEL, &format!("{LABEL}2")], 0);
    check(&["labels", "--index", index, "retire", LABEL], 0);
    check(&["labels", "--index", index, "retire", "no\u{1b}[31m"], 1);
    check(&["correct", "--index", index, KEY, "--add", "new\u{1b}[31m\nforged"], 0);
    check(&["correct", "--index", index, "none\u{1b}[31m", "--add", "a"], 1);
    check(&["correct", "--index", index, "a", "--add", "\u{1b}a", "--reject", "\u{1b}a"], 2);
    check(&["retag", "--index", index, "--query", "nofield\u{1b}:x"], 1);
    check(&["eval", "--bundle", "none\u{1b}[31m", "--data", "none\u{1b}[31m"], 1);
}

#[test]
fn problems_and_losses_are_told_without_commands_to_the_terminal() {
    let folder = Folder::new();
    let index = &index(&folder);
    // A neighbor without its document, and a file that does not belong here.
    let stores = fs::read_dir(index).unwrap().map(|entry| entry.unwrap().path());
    let damaged: Vec<_> = stores.filter(|p| p.extension().is_some_and(|e| e == "idx")).collect();
    for path in damaged {
        let mut bytes = fs::read(&path).unwrap();
        bytes[4] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let verified = autotag_args(&["verify", "--index", index]);
    check_seen(&verified.stdout);
    check_seen(&verified.stderr);
    assert_eq!(verified.code, 1, "{}", verified.stdout);
    let repaired = autotag_args(&["repair", "--index", index]);
    check_seen(&repaired.stdout);
    check_seen(&repaired.stderr);
    assert!(repaired.stdout.contains("\\u{1b}"), "{}{}", repaired.stdout, repaired.stderr);
}

#[test]
fn json_has_no_command_to_the_terminal_either_and_says_the_same() {
    let folder = Folder::new();
    let index = &index(&folder);
    let run = autotag_args(&["search", "--index", index, "--format", "json", "--explain", KEY]);
    check_seen(&run.stdout);
    let found = run.json();
    assert_eq!(found["documents"][0]["id"], KEY);
    assert_eq!(found["documents"][0]["text"], TEXT);
    let labels = autotag_args(&["labels", "--index", index, "--format", "json", "list"]);
    check_seen(&labels.stdout);
    let labels = labels.json();
    let is_label = |row: &Value| row["label"] == LABEL;
    assert!(labels["labels"].as_array().unwrap().iter().any(is_label), "{labels}");
}

#[test]
fn a_quote_that_never_closes_fails_whatever_the_policy() {
    let folder = Folder::new();
    let rows = "id,text,labels\n1,rose,\"a\n2,oven,b\n3,mast,c\n";
    let (data, bundle) = (folder.write("data.csv", rows), bundle());
    for policy in ["fail", "skip", "untagged"] {
        let index = folder.path(policy);
        let line = format!("index --bundle {bundle} --index {index} --data {data}");
        let error = autotag(&format!("{line} --on-failure {policy}")).error();
        assert!(error.contains("data.csv:2: the quote that opens here never closes"), "{error}");
        // Not even where the quote stands before the line to begin with.
        let error = autotag(&format!("{line} --on-failure {policy} --from-line 4")).error();
        assert!(error.contains("data.csv:2: the quote that opens here never closes"), "{error}");
    }
    let error = autotag(&format!("eval --bundle {bundle} --data {data}")).error();
    assert!(error.contains("data.csv:2: the quote"), "{error}");
}

#[test]
fn indexing_goes_on_at_the_line_that_the_message_named() {
    let folder = Folder::new();
    let bundle = bundle();
    for (number, end) in ["\n", "\r\n", "\r"].iter().enumerate() {
        let rows = [
            "id,text",
            "",
            "1,\"piston",
            "oil\"",
            "2,gearbox",
            "3,\"valve",
            "brake\"torque",
            "4,clutch",
        ];
        let data = folder.write("data.csv", rows.join(end));
        let index = folder.path(&format!("csv-{number}"));
        let line = format!("index --bundle {bundle} --index {index} --data {data}");
        let error = autotag(&line).error();
        assert!(error.contains("data.csv:7: text follows the quote"), "{error}");
        // Mended, the row is indexed though it begins a line before.
        folder.write("data.csv", rows.join(end).replace("\"torque", "\""));
        let report = autotag(&format!("{line} --from-line 7 --format json")).json();
        assert_eq!(report["tagged"], 2, "{end:?}");
        let found = autotag(&format!("search --index {index} --format json")).json();
        assert_eq!(found["total"], 4, "{end:?}");
    }
    let mut all = unlabeled(&documents(6, 4));
    all[3]["text"] = json!(7);
    let data = folder.write("data.jsonl", lines(&all).replace('\n', "\r\n\n"));
    let index = folder.path("jsonl");
    let line = format!("index --bundle {bundle} --index {index} --data {data}");
    let error = autotag(&line).error();
    assert!(error.contains("data.jsonl:7: the text in \"text\" must be a string"), "{error}");
    all[3]["text"] = json!("piston");
    folder.write("data.jsonl", lines(&all).replace('\n', "\r\n\n"));
    assert_eq!(autotag(&format!("{line} --from-line 7 --format json")).json()["tagged"], 3);
}

/// Returns the most memory that indexing one more line took, in bytes.
fn peak(folder: &Folder, name: &str, data: &str) -> i64 {
    let data = folder.write(name, data);
    let line = format!("index --bundle {} --index {}.index --data {data}", bundle(), data);
    let report = autotag(&format!("{line} --on-failure skip --format json")).json();
    report["peak_memory_bytes"].as_i64().expect("Linux tells it")
}

#[cfg(target_os = "linux")]
#[test]
fn absurd_lines_take_memory_like_their_own_length_at_most() {
    const LENGTH: usize = 8 << 20;
    let folder = Folder::new();
    let many = |part: &str| part.repeat(LENGTH / part.len()).trim_end_matches(',').to_owned();
    let usual = peak(&folder, "usual.jsonl", r#"{"id":"a","text":"piston"}"#);
    let unused = format!(r#"{{"id":"a","u":[{}],"text":"t"}}"#, many(r#"{"":0},"#));
    let labels = format!(r#"{{"id":"a","text":"t","labels":[{}]}}"#, many(r#""","#));
    let objects = format!(r#"{{"id":"a","text":"t","labels":[{}]}}"#, many("[[],{}],"));
    let key = format!(r#"{{"id":[{}],"text":"t"}}"#, many("[],"));
    let cells = format!("id,text,labels\na,b,{}\n", many(",x"));
    let in_a_cell = format!("id,text,labels\na,b,{}\n", many("x;"));
    let bound = usual + 6 * LENGTH as i64;
    for (name, data) in [
        ("unused.jsonl", unused),
        ("labels.jsonl", labels),
        ("objects.jsonl", objects),
        ("key.jsonl", key),
        ("cells.csv", cells),
        ("labels.csv", in_a_cell),
    ] {
        let peak = peak(&folder, name, &data);
        assert!(peak < bound, "{name}: {peak} bytes, {usual} for a short line");
    }
}

/// Lets a program tag lines whose answers nobody reads, until nothing moves any more; returns the most
/// memory that it took, in kilobytes.
#[cfg(target_os = "linux")]
fn peak_while_nobody_reads(labels: &[String]) -> u64 {
    let mut child = command(&format!("tag --bundle {}", bundle())).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let line = json!({"id": "a", "text": "piston oil", "labels": labels}).to_string() + "\n";
    let n_taken = Arc::new(AtomicUsize::new(0));
    let count = n_taken.clone();
    let writer = thread::spawn(move || {
        while input.write_all(line.as_bytes()).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (mut before, started) = (0, Instant::now());
    while before < 100 || before != n_taken.load(Ordering::Relaxed) {
        assert!(started.elapsed() < Duration::from_secs(60), "{before} lines were taken");
        before = n_taken.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(700));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    writer.join().unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    peak.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn labels_that_wait_are_counted_by_what_they_take() {
    let labels: Vec<String> = (0..8000).map(|number| format!("a{number}")).collect();
    let (few, many) = (peak_while_nobody_reads(&labels[..1]), peak_while_nobody_reads(&labels));
    // 32 MB ahead, and as much in the batch that is being tagged.
    assert!(many < few + (100 << 10), "{many} kB with many labels, {few} kB with one");
}

#[test]
fn a_query_nested_beyond_all_reason_is_an_error() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(3, 1)));
    let index = folder.path("index");
    autotag(&format!("index --bundle {} --index {index} --data {data}", bundle())).ok();
    let deep = format!("{}a{}", "(".repeat(6000), ")".repeat(6000));
    let error = autotag_args(&["search", "--index", &index, &deep]).error();
    assert!(error.contains("more than 100 parentheses"), "{error}");
    let error = autotag_args(&["retag", "--index", &index, "--query", &deep]).error();
    assert!(error.contains("more than 100 parentheses"), "{error}");
    let error = autotag_args(&["search", "--index", &index, &"a ".repeat(50_000)]).error();
    assert!(error.contains("100000 bytes") || error.contains("99999 bytes"), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_to_is_told_before_any_work() {
    let folder = Folder::new();
    let (bundle, file) = (bundle(), folder.write("notes.txt", "x"));
    let (taken, below) = (folder.path(""), folder.path("notes.txt/new"));
    // What the work would begin with is not there.
    let none = folder.path("none");
    for out in [&taken, &file, &below] {
        for line in [
            format!("tune --bundle {bundle} --data {none} --out {out}"),
            format!("bundle from-encoder --encoder {none} --data {none} --out {out}"),
            format!("index --bundle {none} --index {out} --data {file}"),
        ] {
            let error = autotag(&line).error();
            let is_told = error.contains("notes.txt") || error.contains("exists already");
            assert!(is_told && !error.contains("none"), "{line}: {error}");
        }
    }
    for out in [&taken, &below] {
        for line in [
            format!("report --runs {none} --out {out}"),
            format!("report --runs {none} --out {file} --json {out}"),
            format!("report --runs {none} --out {file} --markdown {out}"),
        ] {
            let error = autotag(&line).error();
            assert!(error.contains("folder") || error.contains("notes.txt is a file"), "{error}");
        }
    }
    let error = autotag(&format!("ablate --data {none} --model cnn --runs {below}")).error();
    assert!(error.contains("notes.txt"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

//! Whatever happens to a bundle's bytes, by accident or by somebody who also mends the manifest: it is
//! told, or the bundle answers with numbers; nothing panics and nothing hangs.
//!
//! `AUTOTAG_MUTATIONS=N` makes N changes instead of the few of the test command.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use autotag::{Embedding, Encoder, SearchMode};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use tempfile::TempDir;

use crate::fixture::{self, parts, reseal};
use crate::ngrams;

/// The changes that the test command makes.
const MUTATIONS: usize = 510;

/// No change may take longer, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(45);

/// A datastore that somebody made is opened too.
const HOSTILE_DATASTORES: bool = true;

const DATASTORE: &str = "datastore/data.mdb";

/// The outcome of the changes.
#[derive(Debug, Default)]
struct Counts {
    told_as_damage: usize,
    told_when_opened: usize,
    told_when_loaded: usize,
    told_by_the_text: usize,
    answered: usize,
}

#[test]
fn a_changed_bundle_is_told_or_answers_with_numbers() {
    let n: usize = std::env::var("AUTOTAG_MUTATIONS")
        .map_or(MUTATIONS, |n| n.parse().expect("AUTOTAG_MUTATIONS is a number"));
    let (_roots, bundles): (Vec<TempDir>, Vec<_>) =
        [committed(), fixture::bundle(parts()), ngrams::published()].into_iter().unzip();
    let bundles: Vec<Files> = bundles.iter().map(|path| read(path)).collect();
    let mut counts = Counts::default();
    let mut random = Random(1);
    let started = Instant::now();
    for number in 0..n {
        let bundle = &bundles[number % bundles.len()];
        let (changed, change) = mutate(bundle, &mut random);
        let begun = Instant::now();
        let checked =
            panic::catch_unwind(AssertUnwindSafe(|| check(bundle, &changed, &mut counts)));
        assert!(checked.is_ok(), "change {number}, {change}: it panicked");
        assert!(begun.elapsed() < DEADLINE, "change {number}, {change}: {:?}", begun.elapsed());
    }
    println!("{n} changes to bundles in {:.1?}: {counts:?}", started.elapsed());
    // Otherwise nothing is tried.
    assert!(counts.told_as_damage > n / 4, "{counts:?}");
    assert!(counts.told_when_opened > 0 && counts.told_when_loaded > 0, "{counts:?}");
    assert!(counts.answered > n / 50, "{counts:?}");
}

type Files = BTreeMap<String, Vec<u8>>;

/// A copy of the bundle that an earlier version wrote.
fn committed() -> (TempDir, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/bundle");
    let path = root.path().join("bundle");
    write(&path, &read(&from));
    (root, path)
}

fn read(bundle: &Path) -> Files {
    let mut files = Files::new();
    for name in fs::read_dir(bundle).unwrap() {
        let path = name.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_file() {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files.insert(DATASTORE.to_owned(), fs::read(bundle.join(DATASTORE)).unwrap());
    files
}

fn write(bundle: &Path, files: &Files) {
    fs::create_dir_all(bundle.join("datastore")).unwrap();
    for (name, bytes) in files {
        fs::write(bundle.join(name), bytes).unwrap();
    }
}

/// Looks at a changed bundle, first as it is, then with a manifest that fits the change.
fn check(sound: &Files, changed: &Files, counts: &mut Counts) {
    if sound == changed {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("bundle");
    write(&path, changed);
    let opened = ModelBundle::open(&path);
    if without_stamp(sound) == without_stamp(changed) {
        opened.expect("a stamp says nothing of a bundle's content");
    } else if sound["manifest.json"] == changed["manifest.json"] {
        let error = opened.expect_err("the manifest lists other files").to_string();
        assert!(error.contains("bundle"), "{error}");
        counts.told_as_damage += 1;
        reseal(&path);
    }
    answer(&path, counts);
    if HOSTILE_DATASTORES || sound[DATASTORE] == changed[DATASTORE] {
        search(&path);
    }
}

fn without_stamp(files: &Files) -> Vec<(&String, &Vec<u8>)> {
    files.iter().filter(|(name, _)| *name != "stamp.json").collect()
}

/// Verifies a bundle and, where that is possible, searches its datastore.
fn search(path: &Path) {
    let Ok(bundle) = ModelBundle::verify(path, &options()) else { return };
    let Ok(reader) = bundle.datastore().unwrap().reader() else { return };
    let query = vec![0.5; bundle.config().dimensions.get()];
    let query = Embedding::new(query).unwrap();
    let Ok(found) = reader.nearest(query.as_row(), 3, SearchMode::Exact) else { return };
    assert!(found[0].iter().all(|neighbor| neighbor.distance.is_finite()));
}

/// Answers texts as far as that is possible.
fn answer(path: &Path, counts: &mut Counts) {
    let Ok(bundle) = ModelBundle::open(path) else {
        counts.told_when_opened += 1;
        return;
    };
    let Ok(encoder) = OnnxEncoder::open(&bundle, &options()) else {
        counts.told_when_loaded += 1;
        return;
    };
    let texts = ["a b", "an oven, and bread from it: 12 grams", "語\u{300}\u{0}\t🦀 nan"];
    let inputs: Vec<_> = texts.iter().filter_map(|text| encoder.tokenize(text).ok()).collect();
    let answers: Vec<_> = encoder.encode(&inputs).outcomes().flatten().collect();
    for answer in &answers {
        let scores = answer.scores.iter().flat_map(|scores| scores.values());
        assert!(answer.embedding.values().iter().chain(scores).all(|value| value.is_finite()));
    }
    *if answers.is_empty() { &mut counts.told_by_the_text } else { &mut counts.answered } += 1;
}

fn options() -> OnnxOptions {
    let mut options = fixture::on_cpu();
    options.sessions = std::num::NonZeroUsize::MIN;
    options
}

/// Changes one file, or exchanges two, and says how.
fn mutate(bundle: &Files, random: &mut Random) -> (Files, String) {
    let mut files = bundle.clone();
    let names: Vec<&String> = bundle.keys().collect();
    let name = names[random.below(names.len())];
    if random.below(20) == 0 {
        let other = names[random.below(names.len())];
        files.insert(name.clone(), bundle[other].clone());
        files.insert(other.clone(), bundle[name].clone());
        return (files, format!("{name} and {other} exchanged"));
    }
    let bytes = files.get_mut(name).unwrap();
    let at = random.below(bytes.len());
    let length = 1 + random.below(bytes.len() - at).min(random.below(40));
    let change = match random.below(if name.ends_with(".json") { 12 } else { 6 }) {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            format!("a bit of byte {at}")
        }
        2 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        3 => {
            let more = bytes[at..at + length].repeat(1 + random.below(100));
            bytes.splice(at..at, more);
            format!("{length} bytes at {at} repeated")
        }
        4 => {
            bytes.drain(at..at + length);
            format!("{length} bytes at {at} removed")
        }
        5 => {
            let other = random.below(256) as u8;
            bytes[at..at + length].fill(other);
            format!("{length} bytes at {at} are {other}")
        }
        _ => value(bytes, at, random),
    };
    (files, format!("{name}: {change}"))
}

/// Puts another value in the place of the number or word behind a position of a JSON file.
fn value(bytes: &mut Vec<u8>, at: usize, random: &mut Random) -> String {
    const VALUES: [&str; 14] = [
        "0",
        "-1",
        "1e308",
        "1e-25",
        "18446744073709551615",
        "4294967296",
        "1e400",
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"\\ud800\"",
        "[[[[[[]]]]]]",
    ];
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+\"#[]".contains(byte);
    let start = at + bytes[at..].iter().position(is_part).unwrap_or_default();
    let length = bytes[start..].iter().take_while(|byte| is_part(byte)).count();
    let value = VALUES[random.below(VALUES.len())];
    bytes.splice(start..start + length, value.bytes());
    format!("{length} bytes at {start} are {value}")
}

/// A small generator (Knuth's MMIX), so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

//! Every input that was worth keeping is replayed.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::path::Path;

use autotag_fuzz::TARGETS;

#[test]
fn every_target_survives_its_corpus() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut n_inputs = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            // Where it panics, the last of these lines names the input.
            eprintln!("{}", path.display());
            target(&bytes);
            n_inputs += 1;
        }
        assert!(n_inputs >= 10, "{name} has {n_inputs} inputs, so that little is checked");
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, extension) in [("fuzz_targets", ".rs"), ("corpus", "")] {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        let mut found: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut expected: Vec<String> =
            TARGETS.iter().map(|(name, _)| format!("{name}{extension}")).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{folder}");
    }
}

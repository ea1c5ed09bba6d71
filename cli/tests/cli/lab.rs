//! `autotag ablate` and `autotag report`: the laboratory.

mod ablating;
mod browser;
mod reporting;

use std::fs::{self, File};
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::support::{Folder, PROGRAM, autotag, documents, lines};

/// The options of models that are trained in no time.
pub(crate) const TINY: &str = "--batch-size 16 --filters 8 --widths 1,2 --embedding-dimensions 12 \
    --learning-rate 0.02 --max-length 40 --epochs 3";

/// Writes the parts of a data set into a folder of its own and returns the folder.
pub(crate) fn data(folder: &Folder, parts: &[(&str, usize)]) -> String {
    let path = folder.path("data");
    fs::create_dir_all(&path).unwrap();
    for (seed, (part, n_texts)) in (1..).zip(parts) {
        let texts = lines(&documents(*n_texts, seed));
        fs::write(Path::new(&path).join(format!("{part}.jsonl")), texts).unwrap();
    }
    path
}

/// The parts of the data set that the shared runs are of.
const PARTS: [(&str, usize); 3] = [("train", 160), ("dev", 40), ("test", 60)];

/// Returns a folder of runs that this build of the program has made: two seeds, two more gammas.
pub(crate) fn runs() -> String {
    let modified = fs::metadata(PROGRAM).unwrap().modified().unwrap();
    let build = modified.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let runs = folder.join(format!("runs-{build}"));
    // Tests run in several processes at the same time.
    let lock = File::create(folder.join("runs.lock")).unwrap();
    lock.lock().unwrap();
    if !runs.exists() {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in entries.filter(|path| path.is_dir()) {
            if path.file_name().unwrap().to_string_lossy().starts_with("runs-") {
                fs::remove_dir_all(path).unwrap();
            }
        }
        let files = Folder::new();
        let (data, unfinished) = (data(&files, &PARTS), folder.join("runs-unfinished"));
        let line = format!("ablate --data {data} --runs {} --seeds 2 {TINY}", unfinished.display());
        let said = autotag(&line).ok();
        assert!(said.contains("9 runs of --model cnn") && said.contains("0 of them"), "{said}");
        fs::rename(unfinished, &runs).unwrap();
    }
    runs.to_str().unwrap().to_owned()
}

/// Copies the shared runs, for a test that changes them.
pub(crate) fn copied_runs(folder: &Folder) -> String {
    let to = folder.path("copied");
    copy(Path::new(&runs()), Path::new(&to));
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

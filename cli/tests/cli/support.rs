//! Runs the program, and makes small labeled data and a small bundle.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_autotag");

/// The outcome of a run of the program.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Expects success and returns standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// Expects success and returns standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Expects success and returns each line of standard output as a JSON value.
    #[track_caller]
    pub(crate) fn json_lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Expects a failure and returns the error and its causes.
    #[track_caller]
    pub(crate) fn error(self) -> String {
        assert_eq!(self.code, 1, "{}{}", self.stdout, self.stderr);
        let at = self.stderr.find("error: ").expect("an error is printed");
        self.stderr[at..].to_owned()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run {
            code: output.status.code().expect("the program is not killed"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// Runs a command line; words are separated by spaces.
pub(crate) fn autotag(line: &str) -> Run {
    autotag_with(line, "")
}

/// Runs the program with arguments that may hold spaces.
pub(crate) fn autotag_args(args: &[&str]) -> Run {
    let mut command = command("");
    command.args(args).stdin(Stdio::null());
    command.output().unwrap().into()
}

/// Runs a command line with something on standard input.
pub(crate) fn autotag_with(line: &str, input: &str) -> Run {
    let mut child = command(line).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // On a thread of its own: neither side waits for the other with a full pipe.
    let writer = std::thread::spawn(move || {
        // A program that fails early does not read its input.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

/// Prepares a command line whose streams are pipes.
pub(crate) fn command(line: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(line.split_whitespace()).env_remove("AUTOTAG_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A folder for one test's files.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    /// Returns the path of a file in the folder, which has no spaces.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Shows paths in this folder as the same on every machine.
    pub(crate) fn mask(&self, text: &str) -> String {
        text.replace(self.0.path().to_str().unwrap(), "FOLDER")
    }
}

const TOPICS: [(&str, &str); 6] = [
    ("field::kitchen", "oven bread flour butter sugar dough bake recipe yeast pastry"),
    ("field::garden", "soil seeds tomato prune compost roots blossom hedge lawn mulch"),
    ("field::engine", "piston oil gearbox clutch torque diesel valve brake exhaust spark"),
    ("field::music", "violin chord melody tempo orchestra rhythm guitar drums harmony singer"),
    ("field::ocean", "wave coral reef tide whale current harbor sailing anchor plankton"),
    ("field::space", "orbit rocket planet comet telescope galaxy lunar asteroid crater star"),
];

/// Labeled documents, each about one or two of six topics, the same for the same seed.
pub(crate) fn documents(n: usize, seed: u64) -> Vec<Value> {
    let mut random = Random(seed);
    let document = |number: usize| {
        let first = random.below(TOPICS.len());
        let second = if random.below(3) == 0 { random.below(TOPICS.len()) } else { first };
        let mut words = Vec::new();
        for _ in 0..12 {
            let topic = TOPICS[if random.below(2) == 0 { first } else { second }].1;
            words.push(topic.split(' ').nth(random.below(10)).unwrap());
            words.extend((random.below(4) == 0).then_some("and"));
        }
        let mut labels = vec![TOPICS[first].0, TOPICS[second].0];
        labels.dedup();
        json!({"id": format!("{seed}-{number}"), "text": words.join(" "), "labels": labels})
    };
    (0..n).map(document).collect()
}

/// Returns documents as JSON lines.
pub(crate) fn lines(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("{document}\n")).collect()
}

/// Returns documents without their labels.
pub(crate) fn unlabeled(documents: &[Value]) -> Vec<Value> {
    documents.iter().map(|d| json!({"id": d["id"], "text": d["text"]})).collect()
}

/// A small generator (Knuth's MMIX), so that the data depend on nothing else.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// The options, beside the number of epochs, that keep training small.
pub(crate) const SMALL: &str = "--model cnn --batch-size 16 --filters 16 --widths 1,2 \
    --embedding-dimensions 24 --learning-rate 0.01 --max-length 40";

/// Returns a bundle that was trained by this build of the program, training it where that has not
/// been done.
pub(crate) fn bundle() -> String {
    let modified = fs::metadata(PROGRAM).unwrap().modified().unwrap();
    let build = modified.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let bundle = folder.join(format!("bundle-{build}"));
    // Tests run in several processes at the same time.
    let lock = File::create(folder.join("bundle.lock")).unwrap();
    lock.lock().unwrap();
    if !bundle.exists() {
        remove_older(folder);
        let data = Folder::new();
        let train = data.write("train.jsonl", lines(&documents(300, 1)));
        let dev = data.write("dev.jsonl", lines(&documents(60, 2)));
        let out = bundle.display();
        autotag(&format!("train --data {train} --dev {dev} --out {out} {SMALL} --epochs 12")).ok();
    }
    bundle.to_str().unwrap().to_owned()
}

/// Copies a folder with everything below it.
pub(crate) fn copy_folder(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.as_ref().join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(entry.path(), target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn remove_older(folder: &Path) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_bundle =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("bundle-");
    for path in entries.filter(is_bundle) {
        fs::remove_dir_all(path).unwrap();
    }
}

//! The main job, end to end: data, training, evaluation, index, search.
//!
//! Every step writes a marker file last, which names its input. A later run skips the step where the marker
//! fits, and removes what an interrupted step left.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::data::{self, Data, Source};
use crate::explain;
use crate::process::{self, Steps};
use crate::setup::{self, Build};
use crate::tour::Tour;
use crate::wheel;

/// The demo's options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Labeled documents to use in place of Debtags.
    pub(crate) data: Option<PathBuf>,
    pub(crate) out: Option<PathBuf>,
    /// Trains for a short time: shows the path, not the quality.
    pub(crate) quick: bool,
}

impl Options {
    /// Returns the folder for everything that the demo makes; `target` is cargo's.
    fn out(&self, target: &Path) -> PathBuf {
        if let Some(out) = &self.out {
            return out.clone();
        }
        match self.data.as_deref().and_then(Path::file_stem) {
            Some(stem) => target.join(format!("demo-{}", stem.to_string_lossy())),
            None => target.join("demo"),
        }
    }

    fn source(&self) -> Source {
        self.data.clone().map_or(Source::Debtags, Source::File)
    }
}

/// Runs all steps, and prints how long each took.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    let result = run_steps(options, &mut steps);
    steps.print_times();
    result
}

fn run_steps(options: &Options, steps: &mut Steps) -> Result<()> {
    let out = options.out(&from_here(&process::target_folder()?)?);
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    steps.run("set up ONNX Runtime", || setup::onnxruntime(Build::Cpu))?;
    let init = steps.run("fetch MiniLM's token table", || Ok(minilm()))?;
    let program = steps.run("build autotag", build)?;
    let data = steps.run("make the data set", || data::prepare(&options.source(), &out))?;
    let demo = Demo { program, bundle: out.join("bundle"), index: out.join("index"), data };
    steps.run("train", || demo.train(init.as_deref(), options.quick))?;
    steps.run("evaluate", || demo.evaluate())?;
    steps.run("index and tag", || demo.index())?;
    steps.run("search", || demo.search())?;
    steps.run("explain", || demo.explain())?;
    demo.print_next_commands();
    Ok(())
}

/// Writes a path relative to the current folder, where it lies inside of it.
fn from_here(path: &Path) -> Result<PathBuf> {
    let here = env::current_dir().context("the current folder is gone")?;
    Ok(path.strip_prefix(here).unwrap_or(path).to_owned())
}

/// Fetches MiniLM, which the demo can do without.
fn minilm() -> Option<PathBuf> {
    match setup::minilm() {
        Ok(folder) => Some(folder),
        Err(error) => {
            eprintln!(
                "warning: {error:#}\nwarning: going on without MiniLM: the token table starts at \
                 random, which costs about two points of F1"
            );
            None
        }
    }
}

/// Builds the program and returns its path, as cargo reports it.
fn build() -> Result<PathBuf> {
    let mut command = process::cargo();
    command.args(["build", "--release", "--package", "autotag-cli", "--bin", "autotag"]);
    command.arg("--message-format=json-render-diagnostics");
    let messages = process::output(&mut command)?;
    let messages = String::from_utf8_lossy(&messages);
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    let program = messages.lines().rev().find_map(executable);
    let program = program.context("cargo built no program autotag")?;
    let relative = from_here(&program)?;
    // A name without a folder would be looked up in PATH.
    Ok(if relative.components().count() > 1 { relative } else { program })
}

/// The model of the demo: on the dev part of the Debian packages it is the best of those that need no
/// pretrained encoder to run (docs/results.md has the figures).
const MODEL: &str = "wide-cnn";

/// The demo's files, once the data set exists.
struct Demo {
    program: PathBuf,
    bundle: PathBuf,
    index: PathBuf,
    data: Data,
}

impl Demo {
    fn train(&self, init: Option<&Path>, quick: bool) -> Result<()> {
        let mut command = self.autotag("train");
        command.arg("--data").arg(self.data.file("train"));
        command.arg("--dev").arg(self.data.file("dev"));
        // What an interrupted demo trained is not trained again.
        command.args(["--model", MODEL, "--resume"]);
        if let Some(folder) = init {
            command.arg("--init").arg(folder);
        }
        if quick {
            command.args(["--epochs", "2"]);
        }
        command.arg("--out").arg(&self.bundle);

        let key = json!({
            "data": self.data.fingerprint,
            "init": init.is_some(),
            "quick": quick,
            "model": MODEL,
        });
        let mark = Mark::beside(&self.bundle, key);
        if mark.is_set() && self.verify()? {
            eprintln!("{} is there and intact: not trained again", self.bundle.display());
            return Ok(());
        }
        mark.clear()?;
        eprintln!(
            "training {MODEL}, word n-grams and a CNN as one: of the models that are cheap on a CPU, \
             the best on the dev part of the Debian packages"
        );
        process::run(&mut command)?;
        mark.set()
    }

    fn verify(&self) -> Result<bool> {
        process::succeeds(self.autotag("bundle").arg("verify").arg(&self.bundle))
    }

    fn evaluate(&self) -> Result<()> {
        let mut command = self.autotag("eval");
        command.arg("--bundle").arg(&self.bundle);
        command.arg("--data").arg(self.data.file("test"));
        command.arg("--tune").arg(self.data.file("dev"));
        process::run(&mut command)
    }

    fn index(&self) -> Result<()> {
        let manifest = wheel::sha256(&self.bundle.join("manifest.json"))?;
        let key = json!({ "data": self.data.fingerprint, "bundle": manifest });
        let mark = Mark::beside(&self.index, key);
        if mark.is_set() {
            eprintln!("{} is there: not indexed again", self.index.display());
            return Ok(());
        }
        mark.clear()?;
        let mut command = self.autotag("index");
        command.arg("--bundle").arg(&self.bundle);
        command.arg("--index").arg(&self.index);
        command.arg("--data").arg(self.data.file("tagged"));
        command.arg("--data").arg(self.data.file("untagged"));
        process::run(&mut command)?;
        mark.set()
    }

    fn search(&self) -> Result<()> {
        let Tour { queries, drill_down: (query, tag), .. } = &self.data.tour;
        for (query, facet) in queries {
            process::run(self.search_command(query).arg("--facets").arg(facet))?;
            eprintln!();
        }
        process::run(self.search_command(query).arg("--tag").arg(tag))
    }

    fn explain(&self) -> Result<()> {
        if self.data.tour.explained.is_empty() {
            eprintln!("every document came with labels: there is no tag to explain");
            return Ok(());
        }
        let documents = self.data.file("explained");
        let input = File::open(&documents)
            .with_context(|| format!("cannot open {}", documents.display()))?;
        let mut command = self.autotag("tag");
        command.arg("--index").arg(&self.index).arg("--explain").stdin(input);
        eprintln!("$ {} < {}", process::command_line(&command), documents.display());
        print!("{}", explain::render(&process::quiet_output(&mut command)?)?);
        Ok(())
    }

    fn search_command(&self, query: &str) -> Command {
        let mut command = self.autotag("search");
        command.arg("--index").arg(&self.index).arg(query);
        command
    }

    fn autotag(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).stdin(Stdio::null());
        command
    }

    fn print_next_commands(&self) {
        let Tour { queries, drill_down: (_, tag), .. } = &self.data.tour;
        let (query, facet) = queries.first().cloned().unwrap_or_default();
        let lines = [
            self.line(&["search", "--index"], &self.index, &["--facets", &facet, &query]),
            self.line(&["search", "--index"], &self.index, &["--tag", tag, "--explain", &query]),
            self.line(&["bundle", "show"], &self.bundle, &[]),
        ];
        println!("\nThe bundle lies in {}", self.bundle.display());
        println!("The index lies in  {}", self.index.display());
        println!("\nTry next:");
        for line in lines {
            println!("  {line}");
        }
        let text = r#"{"id": "mine", "text": "a terminal program that searches files"}"#;
        println!(
            "  echo '{text}' | {}",
            self.line(&["tag", "--index"], &self.index, &["--explain"])
        );
        println!("  cargo xtask demo --data YOUR.jsonl");
    }

    fn line(&self, before: &[&str], path: &Path, after: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.args(before).arg(path).args(after);
        process::command_line(&command)
    }
}

/// A marker beside a folder: the folder is complete, and was made from what the marker names.
struct Mark {
    folder: PathBuf,
    file: PathBuf,
    key: Value,
}

impl Mark {
    fn beside(folder: &Path, key: Value) -> Self {
        let mut name = folder.file_name().map(OsStr::to_owned).unwrap_or_default();
        name.push(".complete.json");
        Self { folder: folder.to_owned(), file: folder.with_file_name(name), key }
    }

    /// Tells whether the folder is complete and was made from the same input.
    fn is_set(&self) -> bool {
        let text = fs::read(&self.file).unwrap_or_default();
        self.folder.is_dir() && serde_json::from_slice::<Value>(&text).is_ok_and(|v| v == self.key)
    }

    /// Removes the marker, then the folder.
    fn clear(&self) -> Result<()> {
        if self.file.exists() {
            fs::remove_file(&self.file)
                .with_context(|| format!("cannot remove {}", self.file.display()))?;
        }
        Ok(wheel::remove(&self.folder)?)
    }

    fn set(&self) -> Result<()> {
        data::write_whole(&self.file, &format!("{:#}\n", self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_for_the_same_origin_and_a_folder_that_is_there() {
        let root = std::env::temp_dir().join(format!("xtask-demo-{}", std::process::id()));
        wheel::remove(&root).unwrap();
        let folder = root.join("bundle");
        fs::create_dir_all(&folder).unwrap();
        let mark = Mark::beside(&folder, json!({ "data": "a" }));
        assert!(!mark.is_set());
        mark.set().unwrap();
        assert!(mark.is_set());
        assert!(!Mark::beside(&folder, json!({ "data": "b" })).is_set());
        mark.clear().unwrap();
        assert!(!mark.is_set() && !folder.exists());
        mark.set().unwrap();
        assert!(!mark.is_set());
        wheel::remove(&root).unwrap();
    }

    #[test]
    fn each_file_of_the_user_has_a_folder_of_its_own() {
        let target = Path::new("target");
        let tickets = Options { data: Some("/x/tickets.jsonl".into()), ..Options::default() };
        assert_eq!(tickets.out(target), Path::new("target/demo-tickets"));
        assert_eq!(Options::default().out(target), Path::new("target/demo"));
        let chosen = Options { out: Some("/y".into()), ..tickets };
        assert_eq!(chosen.out(target), Path::new("/y"));
    }
}

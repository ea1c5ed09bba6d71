//! How are the bundle and the index in `tests/fixtures` made, which every later version must open?
//!
//! `cargo run --example fixtures [FOLDER]`
//!
//! Run it when a format's version changes, and commit what it wrote beside what the test expects.

#![allow(clippy::print_stdout)]

// Not all of it is used here.
#[allow(dead_code)]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use autotag::{Encoded, Encoder};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use autotag_train::{Dataset, Init, ModelSpec, Preset, TrainingRun};
use serde_json::{Value, json};
use tantivy::doc;
use tantivy::schema::{STORED, Schema, TEXT};
use tantivy_autotag::{
    BundleSource, Correction, FieldNames, IndexFolder, LabelChange, TagFields, WriterOptions,
};

/// What belongs to processes, not to what they wrote.
const LOCKS: [&str; 4] = ["lock.mdb", "writer.lock", ".tantivy-writer.lock", ".tantivy-meta.lock"];

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"),
        PathBuf::from,
    );
    for old in ["bundle", "index"].map(|name| folder.join(name)) {
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    fs::create_dir_all(&folder)?;
    let bundle = train(&folder.join("bundle"))?;
    fs::write(folder.join("answers.json"), serde_json::to_vec_pretty(&answers(&bundle)?)?)?;
    index(&folder.join("index"), &bundle)?;
    remove_locks(&folder)?;
    println!("wrote {}: {} bytes", folder.display(), size(&folder)?);
    Ok(())
}

/// Trains on few texts, so that the files stay small.
fn train(folder: &Path) -> Result<ModelBundle> {
    let train = Dataset::new(tiny::documents("train", 50))?;
    let dev = Dataset::with_vocabulary(tiny::documents("dev", 30), train.vocabulary())?;
    let Preset { mut spec, mut config } = tiny::preset()?;
    if let ModelSpec::Cnn(cnn) = &mut spec {
        (cnn.embedding_dimensions, cnn.filters) = (8, 6);
    }
    (config.epochs, config.threads) = (20, 1);
    let options = OnnxOptions::default();
    let run = TrainingRun::new(&train, &dev, &config, folder, &options);
    let (bundle, _) = run.train(&spec, Init::Random, None, &mut |_| {})?;
    Ok(bundle)
}

/// Lets the encoder answer for some texts.
fn answers(bundle: &ModelBundle) -> Result<Value> {
    let encoder = OnnxEncoder::open(bundle, &OnnxOptions::default())?;
    let mut answers = Vec::new();
    for topic in 0..tiny::TOPICS.len() {
        let text = tiny::text(&[topic], 7_000 + topic);
        let tokens = encoder.tokenize(&text)?;
        let Encoded { embedding, scores } = encoder.encode(&[tokens]).row(0)?;
        let scores = scores.context("the model gives scores")?;
        answers.push(
            json!({"text": text, "embedding": embedding.values(), "scores": scores.values()}),
        );
    }
    Ok(answers.into())
}

/// Makes an index of several commits in which everything happened that leaves a trace.
fn index(folder: &Path, bundle: &ModelBundle) -> Result<()> {
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
    let source = BundleSource {
        // Not where this machine has it.
        path: Path::new("../bundle"),
        fingerprint: bundle.fingerprint(),
        training_set: &bundle.datastore()?,
    };
    let index = IndexFolder::create(folder, schema.build(), &fields, &source)?;
    let writer = index.writer(bundle.tagger(&OnnxOptions::default())?, WriterOptions::default())?;
    for (number, document) in tiny::documents("plain", 10).into_iter().enumerate() {
        let (key, text) = (document.key, document.text);
        writer
            .add(doc!(fields.key => key, fields.texts[0] => text, title => format!("n{number}")))?;
    }
    writer.commit()?;
    for document in tiny::documents("human", 5) {
        let (key, text) = (document.key, document.text);
        let labeled = doc!(fields.key => key, fields.texts[0] => text, title => "human");
        writer.add_labeled(labeled, &document.labels)?;
    }
    writer.delete("plain-9")?;
    writer.commit()?;
    writer.correct("plain-1", &Correction::labels(["arts::theater"]))?;
    writer.correct("plain-2", &Correction::change(["news"], [tiny::TOPICS[2].0]))?;
    let name = |name: &str| name.to_owned();
    let rename = LabelChange::Rename { label: name("news"), name: name("press::news") };
    writer.change_labels(&rename, |_| {})?;
    let retire = LabelChange::Retire { label: name(tiny::TOPICS[3].0) };
    writer.change_labels(&retire, |_| {})?;
    writer.commit()?;
    writer.close()?;
    Ok(())
}

/// Lists the files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn remove_locks(folder: &Path) -> Result<()> {
    for file in files(folder)? {
        if file.file_name().is_some_and(|name| LOCKS.iter().any(|lock| name == *lock)) {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn size(folder: &Path) -> Result<u64> {
    files(folder)?.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
}

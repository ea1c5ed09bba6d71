//! How do I embed the writer in an async service?
//!
//! `cargo run --example async_service`
//!
//! The writer blocks, so it gets a thread of its own (`async_service/indexer.rs`). Handlers reach it
//! through a bounded channel, whose back-pressure holds them up and never a thread of the runtime. The
//! thread commits at intervals and then tells every handler what became of its document. No handler
//! publishes what others have not finished.

#![allow(clippy::print_stdout)]

#[path = "async_service/indexer.rs"]
mod indexer;
mod tiny;

use std::time::Duration;

use anyhow::{Result, ensure};
use autotag_onnx::{OnnxEncoder, OnnxOptions, runtime};
use tantivy::doc;
use tantivy::schema::Schema;
use tantivy_autotag::{
    BundleSource, Correction, FieldNames, IndexFolder, InitialNeighbors, OnFailure, TagFields,
    TaggingWriter, WriterOptions, tag_path,
};

fn main() -> Result<()> {
    // Before there are other threads: loading switches ONNX Runtime's telemetry off.
    runtime::load(None)?;
    let mut tokio = tokio::runtime::Builder::new_multi_thread();
    tokio.worker_threads(2).enable_time().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    let (index, fields, writer) = tokio::task::spawn_blocking(move || open(&path)).await??;
    let (indexer, closed) = indexer::start(writer, Duration::from_millis(100))?;

    // Many handlers at work at the same time, each with a document.
    let mut handlers = Vec::new();
    for document in tiny::documents("handled", 100) {
        let (indexer, fields) = (indexer.clone(), fields.clone());
        handlers.push(tokio::spawn(async move {
            // Every tenth document comes with labels from a person.
            let labels = document.key.ends_with('0').then_some(document.labels);
            let document = doc!(fields.key => document.key, fields.texts[0] => document.text);
            indexer.add(document, labels).await
        }));
    }
    for handler in handlers {
        let status = handler.await??;
        ensure!(status.is_committed(), "a document is {status:?}");
    }
    let status = indexer.correct("handled-7", Correction::set(["press::news"])).await?;
    println!("the correction is {status:?}");

    // No handle left: the thread ends.
    drop(indexer);
    let report = closed.await??;
    ensure!(report.uncommitted.is_empty(), "not committed: {:?}", report.uncommitted);
    let searcher = index.searcher()?;
    let corrected = searcher.document("handled-7")?;
    let tags: Vec<String> = corrected.iter().flat_map(|found| &found.tags).map(tag_path).collect();
    println!("{} documents in the index; one is about {}", searcher.n_documents(), tags.join(", "));
    Ok(())
}

fn open(folder: &std::path::Path) -> Result<(IndexFolder, TagFields, TaggingWriter<OnnxEncoder>)> {
    let bundle = tiny::bundle(&folder.join("bundle"))?;
    let mut schema = Schema::builder();
    let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
    let source = BundleSource {
        path: bundle.path(),
        fingerprint: bundle.fingerprint(),
        neighbors: InitialNeighbors::TrainingSet(&bundle.datastore()?),
    };
    let index = IndexFolder::create(&folder.join("index"), schema.build(), &fields, &source)?;
    let tagger = bundle.tagger(&OnnxOptions::default())?;
    // One bad document is told to its handler and holds up nobody.
    let options = WriterOptions::new().on_failure(OnFailure::Skip);
    let writer = index.writer(tagger, options)?;
    Ok((index, fields, writer))
}

//! How do I embed the writer in an async service?
//!
//! `cargo run --example async_service`
//!
//! Handlers send documents through a bounded channel; one blocking task owns the writer, so that
//! its back-pressure holds up the channel and never a runtime thread. A commit's answer goes back to
//! whoever asked for it.

#![allow(clippy::print_stdout)]

mod tiny;

use anyhow::{Context, Result};
use autotag_onnx::{OnnxEncoder, OnnxOptions, runtime};
use tantivy::TantivyDocument;
use tantivy::doc;
use tantivy::schema::Schema;
use tantivy_autotag::{
    BundleSource, CommitSummary, FieldNames, IndexFolder, InitialNeighbors, OnFailure, TagFields,
    TaggingWriter, WriterOptions,
};
use tokio::sync::{mpsc, oneshot};

/// What a handler asks of the writer.
enum Request {
    Add(TantivyDocument),
    Label(TantivyDocument, Vec<String>),
    Commit(oneshot::Sender<Result<CommitSummary, tantivy_autotag::Error>>),
}

fn main() -> Result<()> {
    // Before there are other threads: loading switches ONNX Runtime's telemetry off.
    runtime::load(None)?;
    let mut tokio = tokio::runtime::Builder::new_multi_thread();
    tokio.worker_threads(2).build()?.block_on(run())
}

async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    let (index, fields, writer) = tokio::task::spawn_blocking(move || open(&path)).await??;
    let (requests, inbox) = mpsc::channel(64);
    let indexer = tokio::task::spawn_blocking(move || serve(&writer, inbox));

    // Two handlers at work at the same time.
    let mut handlers = Vec::new();
    for handler in 0..2 {
        let (requests, fields) = (requests.clone(), fields.clone());
        handlers.push(tokio::spawn(async move {
            for document in tiny::documents(&format!("handler{handler}"), 50) {
                // Every tenth document comes with labels from a person.
                let is_labeled = document.key.ends_with('0');
                let labels = document.labels;
                let document = doc!(fields.key => document.key, fields.texts[0] => document.text);
                let request = if is_labeled {
                    Request::Label(document, labels)
                } else {
                    Request::Add(document)
                };
                requests.send(request).await?;
            }
            Ok::<(), mpsc::error::SendError<Request>>(())
        }));
    }
    for handler in handlers {
        handler.await??;
    }
    let (answer, committed) = oneshot::channel();
    requests.send(Request::Commit(answer)).await?;
    let summary = committed.await.context("the indexer ended before it committed")??;
    println!("tagged {}, labeled {}", summary.tagged, summary.labeled);

    // No sender left: the indexer ends.
    drop(requests);
    indexer.await??;
    println!("{} documents in the index", index.searcher()?.n_documents());
    Ok(())
}

/// Takes requests until the last sender is gone.
fn serve(
    writer: &TaggingWriter<OnnxEncoder>,
    mut inbox: mpsc::Receiver<Request>,
) -> Result<(), tantivy_autotag::Error> {
    while let Some(request) = inbox.blocking_recv() {
        match request {
            Request::Add(document) => writer.add(document)?,
            Request::Label(document, labels) => writer.add_labeled(document, labels)?,
            Request::Commit(answer) => {
                // Whoever asked may be gone; the commit is made all the same.
                let _ = answer.send(writer.commit());
            }
        }
    }
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
    // One bad document is reported in the commit's summary and holds up nobody.
    let options = WriterOptions { on_failure: OnFailure::Skip, ..WriterOptions::default() };
    let writer = index.writer(tagger, options)?;
    Ok((index, fields, writer))
}

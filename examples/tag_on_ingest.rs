//! How do I tag documents while they go into an index with a schema of my own?
//!
//! `cargo run --example tag_on_ingest`

#![allow(clippy::print_stdout)]

mod tiny;

use anyhow::Result;
use autotag_onnx::OnnxOptions;
use tantivy::doc;
use tantivy::schema::{FAST, INDEXED, STORED, Schema};
use tantivy_autotag::{
    BundleSource, FieldNames, IndexFolder, InitialNeighbors, TagFields, WriterOptions,
};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bundle = tiny::bundle(&folder.path().join("bundle"))?;

    // Your schema: autotag needs a key, texts, and two fields of its own; the rest is yours.
    let mut schema = Schema::builder();
    let year = schema.add_u64_field("year", INDEXED | STORED | FAST);
    let names = FieldNames::new().texts(["title", "body"]);
    let fields = TagFields::add_to(&mut schema, &names)?;
    let (key, title, body) = (fields.key, fields.texts[0], fields.texts[1]);

    // The index's neighbors begin as the training set's.
    let source = BundleSource {
        path: bundle.path(),
        fingerprint: bundle.fingerprint(),
        neighbors: InitialNeighbors::TrainingSet(&bundle.datastore()?),
    };
    let path = folder.path().join("index");
    let index = IndexFolder::create(&path, schema.build(), &fields, &source)?;

    // The bundle's settings decide: k, tau, lambda and the threshold were tuned on dev.
    let tagger = bundle.tagger(&OnnxOptions::default())?;
    let writer = index.writer(tagger, WriterOptions::default())?;
    writer.add(doc!(
        key => "a",
        title => "Launch day",
        body => "people saw the rocket leave for orbit around the moon",
        year => 2024u64,
    ))?;
    // A person's labels count: this document is a neighbor from the next commit on.
    writer.add_labeled(
        doc!(
            key => "b",
            title => "Strings",
            body => "a guitar melody at the concert with piano",
            year => 2025u64,
        ),
        ["arts::music", "arts::live"],
    )?;
    let summary = writer.commit()?;
    println!("tagged {}, labeled {}", summary.tagged, summary.labeled);

    // `arts::live` is a label that no model was trained on; neighbors carry it.
    writer.add(doc!(
        key => "c",
        title => "Strings again",
        body => "the concert with a guitar melody and piano",
        year => 2026u64,
    ))?;
    writer.commit()?;
    writer.close()?;

    let searcher = index.searcher()?;
    for key in ["a", "b", "c"] {
        if let Some(found) = searcher.document(key)? {
            let tags: Vec<String> = found.tags.iter().map(ToString::to_string).collect();
            println!("{key}: {}", tags.join(" "));
        }
    }
    Ok(())
}

//! How do I tag documents without any model?
//!
//! `cargo run --example without_a_model`
//!
//! [`TokenHashEncoder`] compares documents by the words that they share. There is nothing to train or
//! to download, and the index begins empty: it learns from each document that comes with labels.

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use autotag::{DatastoreOptions, Tagger};
use tantivy::doc;
use tantivy::schema::Schema;
use tantivy_autotag::{
    BundleSource, FieldNames, IndexFolder, TagFields, TokenHashEncoder, WriterOptions,
};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (index, fields) = create(&folder.path().join("index"))?;
    let writer = index
        .writer(Tagger::new(Arc::new(TokenHashEncoder::default())), WriterOptions::default())?;

    // Documents that people labeled are neighbors from the next commit on.
    for (key, text, label) in [
        ("1", "Replacing the oil filter of a diesel engine", "cars::engines"),
        ("2", "The engine loses oil below the filter", "cars::engines"),
        ("3", "Which oil for an old diesel engine?", "cars::engines"),
        ("4", "A light bread of flour, water and salt", "food::baking"),
        ("5", "Flour and butter for a sponge cake", "food::baking"),
        ("6", "Bake the bread until the cake tin is hot", "food::baking"),
    ] {
        let document = doc!(fields.key => key, fields.texts[0] => text);
        writer.add_labeled(document, [label])?;
    }
    writer.commit()?;

    // The next ones are tagged by them.
    writer.add(doc!(fields.key => "7", fields.texts[0] => "oil drips from my diesel engine"))?;
    writer.add(doc!(fields.key => "8", fields.texts[0] => "bread with flour and butter"))?;
    writer.commit()?;
    writer.close()?;

    let searcher = index.searcher()?;
    for (key, expected) in [("7", "/cars/engines"), ("8", "/food/baking")] {
        let found = searcher.document(key)?.expect("it was committed");
        let tags: Vec<String> = found.tags.iter().map(ToString::to_string).collect();
        println!("{key}: {}", tags.join(" "));
        ensure!(tags == [expected], "{key} should be tagged {expected}");
    }
    Ok(())
}

/// Makes an index whose neighbors begin empty.
fn create(path: &Path) -> Result<(IndexFolder, TagFields)> {
    let mut schema = Schema::builder();
    let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
    let neighbors = DatastoreOptions::of(&TokenHashEncoder::default())?;
    let source = BundleSource::without_bundle(&neighbors);
    let index = IndexFolder::create(path, schema.build(), &fields, &source)?;
    Ok((index, fields))
}

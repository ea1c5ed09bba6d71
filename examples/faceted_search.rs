//! How do I search by predicted tags, and show why a document has them?
//!
//! `cargo run --example faceted_search`

#![allow(clippy::print_stdout)]

mod tiny;

use anyhow::Result;
use autotag_onnx::OnnxOptions;
use tantivy::doc;
use tantivy::schema::Schema;
use tantivy_autotag::{
    BundleSource, FieldNames, IndexFolder, InitialNeighbors, SearchRequest, TagFields,
    WriterOptions, parse_tag, tag_path,
};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bundle = tiny::bundle(&folder.path().join("bundle"))?;
    let index = tagged_index(&folder.path().join("index"), &bundle)?;
    let searcher = index.searcher()?;

    // Which kinds of documents are there? Counts of the tags of the first level.
    let all = searcher.search(&SearchRequest::new().facets([parse_tag("/")?]).limit(0))?;
    println!("{} documents", all.total);
    for facet in &all.facets[0].counts {
        println!("  {:>3}  {}", facet.count, tag_path(&facet.tag));
    }

    // A query, drilled down to one tag, counting the tags below.
    let request = SearchRequest::new()
        .query("today")
        .tags([parse_tag("/science")?])
        .facets([parse_tag("/science")?])
        .limit(2);
    let found = searcher.search(&request)?;
    println!("'today' within /science: {} documents", found.total);
    for facet in &found.facets[0].counts {
        println!("  {:>3}  {}", facet.count, tag_path(&facet.tag));
    }

    // The evidence: each tag's score, its two parts, and the neighbors that voted for it.
    for document in &found.documents {
        println!("{}: {}", document.key, document.texts.join(" "));
        let Some(evidence) = &document.evidence else { continue };
        for tag in &evidence.tags {
            let model = tag.model.unwrap_or_default();
            println!(
                "  {:<16} score {:.2} = model {model:.2} with neighbors {:.2}",
                tag.label, tag.score, tag.knn
            );
            for voter in evidence.voters(&tag.label).take(3) {
                println!("    {} at distance {:.2}", voter.key, voter.distance);
            }
        }
    }
    Ok(())
}

fn tagged_index(path: &std::path::Path, bundle: &autotag_onnx::ModelBundle) -> Result<IndexFolder> {
    let mut schema = Schema::builder();
    let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
    let source = BundleSource {
        path: bundle.path(),
        fingerprint: bundle.fingerprint(),
        neighbors: InitialNeighbors::TrainingSet(&bundle.datastore()?),
    };
    let index = IndexFolder::create(path, schema.build(), &fields, &source)?;
    let tagger = bundle.tagger(&OnnxOptions::default())?;
    let writer = index.writer(tagger, WriterOptions::default())?;
    for document in tiny::documents("news", 100) {
        writer.add(doc!(fields.key => document.key, fields.texts[0] => document.text))?;
    }
    writer.commit()?;
    writer.close()?;
    Ok(index)
}

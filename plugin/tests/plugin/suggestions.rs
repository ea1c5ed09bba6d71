//! Labels between the review threshold and the threshold are suggestions.

use autotag::{Origin, Threshold};
use tantivy::Index;
use tantivy::schema::{Facet, Schema};
use tantivy_autotag::{
    Error, FieldNames, SearchRequest, TagFields, TagSearcher, TaggingWriter, WriterOptions,
    parse_tag, tag_path,
};

use crate::support::{Fixture, LABELS, Words, document, tagger};

/// Returns an index whose schema has a field for suggestions, or has none.
fn fixture(suggestions: Option<&str>) -> Fixture {
    let mut schema = Schema::builder();
    let names = FieldNames::new().suggestions(suggestions);
    let fields = TagFields::add_to(&mut schema, &names).unwrap();
    let extra = schema.add_text_field("extra", tantivy::schema::STORED);
    let index = Index::create_in_ram(schema.build());
    Fixture { index, fields, extra, ..Fixture::new() }
}

/// Opens a writer whose tagger suggests from 0.3 on; labels need 0.95, the model gives 0.9.
fn writer(fixture: &Fixture) -> TaggingWriter<Words> {
    let mut tagger = tagger(Words::new(&LABELS));
    tagger.selection.threshold = Threshold::new(0.95).unwrap();
    tagger.selection.per_label = vec![Threshold::new(0.85).unwrap()];
    tagger.selection.review = Some(Threshold::new(0.3).unwrap());
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let (fields, options) = (fixture.fields.clone(), WriterOptions::default());
    TaggingWriter::open(index, datastore, tagger, fields, options).unwrap()
}

fn fill(fixture: &Fixture) {
    let writer = writer(fixture);
    writer.add(fixture.document("vim", "a program for editing")).unwrap();
    writer.add(fixture.document("zlib", "a library")).unwrap();
    writer.add_labeled(fixture.document("ed", "for editing"), ["use::editing"]).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
}

fn suggested(searcher: &TagSearcher, tags: &[&str]) -> Result<Vec<String>, Error> {
    let suggested = tags.iter().map(|tag| parse_tag(tag).unwrap());
    let found = searcher.search(&SearchRequest::new().suggestions(suggested))?;
    let mut keys: Vec<String> = found.documents.into_iter().map(|found| found.key).collect();
    keys.sort();
    Ok(keys)
}

#[test]
fn suggestions_are_kept_apart_from_tags_and_found() {
    let fixture = fixture(Some("suggestions"));
    fill(&fixture);
    assert_eq!(fixture.tags("vim"), ["/role/program"]);
    let vim = fixture.found("vim").unwrap();
    let paths: Vec<String> = vim.suggestions.iter().map(tag_path).collect();
    assert_eq!(paths, ["/use/editing"]);
    let evidence = vim.evidence.unwrap();
    assert_eq!(evidence.tags.len(), 1);
    let suggestion = &evidence.suggestions[0];
    assert_eq!((suggestion.label.as_str(), suggestion.origin), ("use::editing", Origin::Model));
    assert_eq!((suggestion.score, suggestion.model), (0.9, Some(0.9)));

    let searcher = fixture.searcher();
    assert_eq!(suggested(&searcher, &["/use"]).unwrap(), ["vim"]);
    assert_eq!(suggested(&searcher, &["role::library"]).unwrap(), ["zlib"]);
    assert_eq!(suggested(&searcher, &["role::program"]).unwrap(), [""; 0]);
    // A document that a person labeled has no suggestions.
    assert!(fixture.found("ed").unwrap().suggestions.is_empty());
}

#[test]
fn without_a_field_suggestions_stand_in_the_evidence_only() {
    let fixture = fixture(None);
    fill(&fixture);
    let vim = fixture.found("vim").unwrap();
    assert!(vim.suggestions.is_empty());
    assert_eq!(vim.evidence.unwrap().suggestions[0].label, "use::editing");
    let error = suggested(&fixture.searcher(), &["/use"]).unwrap_err();
    assert!(matches!(error, Error::NoSuggestions), "{error}");
    assert_eq!(suggested(&fixture.searcher(), &[]).unwrap(), ["ed", "vim", "zlib"]);
}

#[test]
fn the_field_for_suggestions_is_autotags_own() {
    let fixture = fixture(Some("suggestions"));
    let mut own = document(&fixture.fields, "a", "a program");
    own.add_facet(fixture.fields.suggestions.unwrap(), Facet::from("/a"));
    let error = writer(&fixture).add(own).unwrap_err();
    assert!(
        matches!(&error, Error::ReservedField { field, .. } if field == "suggestions"),
        "{error}"
    );
}

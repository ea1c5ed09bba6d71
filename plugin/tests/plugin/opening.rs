//! Checks at the opening of an index for tagging.

use autotag::Datastore;
use tantivy::schema::{Schema, TEXT};
use tantivy::{Index, IndexWriter, TantivyDocument};
use tantivy_autotag::{Error, TagSearcher, TaggingWriter, WriterOptions};

use crate::support::{Fixture, LABELS, Words, datastore_options, tagger};

#[test]
fn a_second_writer_is_refused() {
    let fixture = Fixture::new();
    let first = fixture.writer();
    let second = fixture.open(Words::new(&LABELS), WriterOptions::default());
    assert!(matches!(second, Err(Error::InUse)));
    drop(first);
    fixture.writer();
}

#[test]
fn a_datastore_that_another_writer_changes_is_refused() {
    let fixture = Fixture::new();
    let _first = fixture.writer();
    let other = Fixture::new();
    let second = TaggingWriter::open(
        other.index,
        fixture.datastore.clone(),
        tagger(Words::new(&LABELS)),
        other.fields,
        WriterOptions::default(),
    );
    assert!(matches!(second, Err(Error::InUse)));
}

#[test]
fn an_index_made_with_another_bundle_is_refused() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    drop(writer);
    let other = Words::new(&LABELS).with_fingerprint(9);
    let error = fixture.open(other, WriterOptions::default()).err().unwrap();
    assert!(matches!(error, Error::EncoderMismatch { .. }));
    let message = error.to_string();
    assert!(message.contains(&"07".repeat(32)) && message.contains(&"09".repeat(32)), "{message}");
}

#[test]
fn a_datastore_made_for_other_labels_is_refused() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("other");
    let datastore =
        Datastore::create(&folder, &datastore_options(&["role::program", "x"])).unwrap();
    let opened = TaggingWriter::open(
        fixture.index,
        datastore,
        tagger(Words::new(&LABELS)),
        fixture.fields,
        WriterOptions::default(),
    );
    let error = opened.err().unwrap();
    assert!(matches!(&error, Error::LabelMismatch { id: 1, .. }), "{error}");
}

#[test]
fn a_schema_without_the_fields_is_refused() {
    let fixture = Fixture::new();
    let mut schema = Schema::builder();
    schema.add_text_field("text", TEXT);
    let index = Index::create_in_ram(schema.build());
    assert!(TagSearcher::new(&index, fixture.fields.clone()).is_err());
    let opened = TaggingWriter::open(
        index,
        fixture.datastore,
        tagger(Words::new(&LABELS)),
        fixture.fields,
        WriterOptions::default(),
    );
    assert!(matches!(opened, Err(Error::FieldType { .. } | Error::FieldMissing { .. })));
}

#[test]
fn an_index_that_was_written_without_autotag_is_taken_as_it_is() {
    let fixture = Fixture::new();
    let mut plain: IndexWriter<TantivyDocument> = fixture.index.writer(15_000_000).unwrap();
    plain.add_document(fixture.document("plain", "program")).unwrap();
    let mut prepared = plain.prepare_commit().unwrap();
    prepared.set_payload("not autotag's");
    prepared.commit().unwrap();
    drop(plain);
    let writer = fixture.writer();
    writer.add(fixture.document("tagged", "program")).unwrap();
    assert_eq!(writer.commit().unwrap().generation, 1);
    assert_eq!(fixture.keys(), ["plain", "tagged"]);
    assert!(fixture.tags("plain").is_empty());
}

#[test]
fn memory_that_tantivy_does_not_accept_is_an_error() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().tantivy_memory(1);
    let opened = fixture.open(Words::new(&LABELS), options);
    assert!(matches!(opened, Err(Error::Tantivy { .. })));
}

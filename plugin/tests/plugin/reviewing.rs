//! The fields that a review sorts and filters by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use autotag::Threshold;
use tantivy::Index;
use tantivy::schema::{STORED, Schema, Value};
use tantivy_autotag::{
    Clock, Correction, DocumentOrigin, Error, FieldNames, LabelChange, OnFailure, ReviewNames,
    SearchRequest, SortBy, TagFields, TaggingWriter, WriterOptions,
};

use crate::support::{Fixture, LABELS, Words, document, tagger};

/// A clock that stands still until it is set.
#[derive(Clone, Default)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let time = self.0.clone();
        Clock::new(move || UNIX_EPOCH + Duration::from_secs(time.load(Ordering::SeqCst)))
    }
}

fn fixture(names: &FieldNames) -> Fixture {
    let mut schema = Schema::builder();
    let fields = TagFields::add_to(&mut schema, names).unwrap();
    let extra = schema.add_text_field("extra", STORED);
    let index = Index::create_in_ram(schema.build());
    Fixture { index, fields, extra, ..Fixture::new() }
}

/// Opens a writer by whose tagger the model's scores, 0.9 and 0.05, stay as they are: nothing votes.
///
/// The thresholds are 0.8 for programs, 0.5 for libraries and 0.95 for editing, which is suggested from
/// 0.3 on.
fn writer(fixture: &Fixture, time: &Time) -> TaggingWriter<Words> {
    let mut tagger = tagger(Words::new(&LABELS));
    tagger.interpolation.proportion = autotag::Proportion::new(0.0).unwrap();
    tagger.selection.per_label = [0.8, 0.5, 0.95].map(|t| Threshold::new(t).unwrap()).to_vec();
    tagger.selection.review = Some(Threshold::new(0.3).unwrap());
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let options = WriterOptions::new().on_failure(OnFailure::IndexUntagged).clock(time.clock());
    TaggingWriter::open(index, datastore, tagger, fixture.fields.clone(), options).unwrap()
}

/// A document's margin, best score, origin and time of the last change.
type Values = (Option<f64>, Option<f64>, u64, i64);

fn values(fixture: &Fixture, key: &str) -> Values {
    let found = fixture.found(key).unwrap();
    let review = fixture.fields.review.unwrap();
    let number = |field| found.document.get_first(field).and_then(|value| value.as_f64());
    let origin = found.document.get_first(review.origin).and_then(|value| value.as_u64()).unwrap();
    let changed = found.document.get_first(review.changed).and_then(|value| value.as_datetime());
    let changed = changed.unwrap().into_timestamp_secs();
    assert_eq!(DocumentOrigin::of(found.evidence.as_ref()).code(), origin);
    assert_eq!(
        found.evidence.as_ref().and_then(autotag::Evidence::margin).map(|m| (m * 1e4).round()),
        number(review.margin).map(|m| (m * 1e4).round() as f32)
    );
    (number(review.margin), number(review.score), origin, changed)
}

#[test]
fn a_document_has_the_values_of_its_tags() {
    let fixture = fixture(&FieldNames::new().suggestions("suggestions"));
    let time = Time::default();
    time.set(1_000);
    let writer = writer(&fixture, &time);
    writer.add(fixture.document("program", "a program")).unwrap();
    writer.add(fixture.document("library", "a library")).unwrap();
    writer.add(fixture.document("editing", "for editing")).unwrap();
    writer.add(fixture.document("unknown", "nothing known")).unwrap();
    writer.add(fixture.document("broken", "a broken program")).unwrap();
    time.set(2_000);
    writer.add_labeled(fixture.document("given", "anything"), ["cat"]).unwrap();
    writer.commit().unwrap();
    let check = |key: &str, (margin, score, origin): (Option<f64>, Option<f64>, u64)| {
        let found = values(&fixture, key);
        assert_eq!((found.0, found.1, found.2), (margin, score, origin), "{key}");
        assert!((1_000..=2_000).contains(&found.3));
    };
    check("program", (Some(0.1), Some(0.9), 1));
    check("library", (Some(0.4), Some(0.9), 1));
    // A suggestion, no tag.
    check("editing", (Some(0.05), Some(0.9), 0));
    check("unknown", (Some(0.45), None, 0));
    check("broken", (None, None, 0));
    check("given", (None, Some(1.0), 3));
    assert_eq!(values(&fixture, "given").3, 2_000);
}

#[test]
fn a_review_sees_the_least_certain_first_and_what_people_decided_last() {
    let fixture = fixture(&FieldNames::new().suggestions("suggestions"));
    let writer = writer(&fixture, &Time::default());
    writer.add_labeled(fixture.document("given", "anything"), ["cat"]).unwrap();
    for (key, text) in [("l", "a library"), ("e", "for editing"), ("p", "program"), ("n", "none")] {
        writer.add(fixture.document(key, text)).unwrap();
    }
    writer.commit().unwrap();
    let searcher = fixture.searcher();
    let queue = |request: SearchRequest| {
        let found = searcher.search(&request.sort(SortBy::ascending("tag_margin"))).unwrap();
        found.documents.into_iter().map(|found| found.key).collect::<Vec<_>>()
    };
    assert_eq!(queue(SearchRequest::new()), ["e", "p", "l", "n", "given"]);
    let origins = [DocumentOrigin::Predicted, DocumentOrigin::Mixed];
    assert_eq!(queue(SearchRequest::new().origins(origins)), ["p", "l"]);
    assert_eq!(queue(SearchRequest::new().origins([DocumentOrigin::Human])), ["given"]);
    // In the query language, too.
    assert_eq!(queue(SearchRequest::new().query("tag_margin:[0 TO 0.1]")), ["e", "p"]);
    assert_eq!(
        queue(SearchRequest::new().query("tag_origin:3 OR tag_score:[0.95 TO *]")),
        ["given"]
    );
}

#[test]
fn the_values_follow_corrections_tagging_again_and_changed_labels() {
    let fixture = fixture(&FieldNames::default());
    let time = Time::default();
    let writer = writer(&fixture, &time);
    for (key, text) in [("p", "a program"), ("q", "one program"), ("l", "a library")] {
        writer.add(fixture.document(key, text)).unwrap();
    }
    writer.commit().unwrap();

    time.set(10);
    writer.correct("p", &Correction::set(["cat"])).unwrap();
    writer.commit().unwrap();
    assert_eq!(values(&fixture, "p"), (None, Some(1.0), 3, 10));
    assert_eq!(values(&fixture, "l"), (Some(0.4), Some(0.9), 1, 0));

    // Another threshold: only the documents that it matters to are written.
    time.set(20);
    let mut tagger = tagger(Words::new(&LABELS));
    tagger.interpolation.proportion = autotag::Proportion::new(0.0).unwrap();
    tagger.selection.per_label = vec![Threshold::new(0.88).unwrap()];
    writer.replace_tagger(tagger).unwrap();
    writer.retag("", |_| {}).unwrap();
    // The corrected document votes now, with a label that the model does not know.
    assert_eq!(fixture.tags("q"), ["/cat", "/role/program"]);
    assert_eq!(values(&fixture, "q"), (Some(0.02), Some(1.0), 1, 20));
    assert_eq!(values(&fixture, "p").3, 10);

    time.set(30);
    let rename = LabelChange::Rename { label: LABELS[0].into(), name: "role::app".into() };
    writer.change_labels(&rename, |_| {}).unwrap();
    assert_eq!(fixture.tags("q"), ["/cat", "/role/app"]);
    assert_eq!(values(&fixture, "q"), (Some(0.02), Some(1.0), 1, 30));
    // The correction rejected the renamed label: the document's evidence names it.
    assert_eq!(values(&fixture, "p").3, 30);
}

#[test]
fn a_rejected_label_is_no_longer_uncertain() {
    let fixture = fixture(&FieldNames::default());
    let writer = writer(&fixture, &Time::default());
    writer.add(fixture.document("e", "for editing with a program")).unwrap();
    writer.commit().unwrap();
    assert_eq!(values(&fixture, "e").0, Some(0.05));
    // What remains to be tagged are the labels that nobody rejected.
    let none = Correction::set([""; 0]).and(Correction::reject([LABELS[2]]));
    writer.correct("e", &none).unwrap();
    writer.commit().unwrap();
    writer.add(fixture.document("e", "another text for editing a program")).unwrap();
    writer.commit().unwrap();
    let found = fixture.found("e").unwrap().evidence.unwrap();
    assert!(found.tags.is_empty());
    assert_eq!(values(&fixture, "e").0, Some(0.45), "{found:?}");
}

#[test]
fn an_index_without_the_fields_works_and_says_so() {
    let fixture = fixture(&FieldNames::new().review(None));
    let writer = writer(&fixture, &Time::default());
    writer.add(fixture.document("p", "a program")).unwrap();
    writer.commit().unwrap();
    writer.correct("p", &Correction::set(["cat"])).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.tags("p"), ["/cat"]);
    let searcher = fixture.searcher();
    let error = searcher.search(&SearchRequest::new().origins([DocumentOrigin::Human]));
    assert!(matches!(error, Err(Error::NoReviewFields)));
    let error = searcher.search(&SearchRequest::new().sort(SortBy::ascending("tag_margin")));
    assert!(matches!(error, Err(Error::SortField { .. })));
}

#[test]
fn the_fields_are_autotags_own_whatever_their_names() {
    let review = ReviewNames::new().margin("m").score("s").origin("o").changed("c");
    let fixture = fixture(&FieldNames::new().review(review));
    let writer = writer(&fixture, &Time::default());
    let mut own = document(&fixture.fields, "a", "a program");
    own.add_u64(fixture.fields.review.unwrap().origin, 3);
    let error = writer.add(own).unwrap_err();
    assert!(matches!(&error, Error::ReservedField { field, .. } if field == "o"), "{error}");
    writer.add(fixture.document("a", "a program")).unwrap();
    writer.commit().unwrap();
    assert_eq!(values(&fixture, "a"), (Some(0.1), Some(0.9), 1, 0));
}

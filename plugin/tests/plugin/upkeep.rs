//! Upkeep of documents in the index: corrections, tagging again, changes of labels.

use std::sync::atomic::Ordering;
use std::time::Duration;

use autotag::{Datastore, Origin, Proportion, Threshold};
use tantivy::Index;
use tantivy::schema::{STRING, Schema};
use tantivy_autotag::{
    Correction, Corrections, Error, FieldNames, JobProgress, LabelChange, OnFailure, RetagReport,
    TagFields, TagSettings, TaggingWriter, WriterOptions,
};

use crate::support::{Fixture, LABELS, Words, chunks_of, datastore_options, document, tagger};

fn commit(writer: &TaggingWriter<Words>) {
    writer.commit().unwrap();
}

fn correct(writer: &TaggingWriter<Words>, key: &str, correction: &Correction) {
    writer.correct(key, correction).unwrap();
    commit(writer);
}

const NONE: [&str; 0] = [];

#[test]
fn the_same_text_is_not_encoded_again() {
    let fixture = Fixture::new();
    let encoder = Words::new(&LABELS);
    let writer = fixture.open(encoder, WriterOptions::default()).unwrap();
    let n_encoded = || writer.stats().encoded;
    writer.add(fixture.document("a", "program")).unwrap();
    writer.add_labeled(fixture.document("b", "library"), ["cat"]).unwrap();
    commit(&writer);
    assert_eq!(n_encoded(), 2);
    writer.add(fixture.document("a", "program")).unwrap();
    writer.add(fixture.document("b", "library")).unwrap();
    commit(&writer);
    assert_eq!((n_encoded(), writer.stats().reused), (2, 2));
    // Without its label it votes no more.
    assert_eq!(fixture.neighbor_keys(), NONE);
    writer.add(fixture.document("a", "program editing")).unwrap();
    commit(&writer);
    assert_eq!(n_encoded(), 3);
    assert_eq!(fixture.tags("a"), ["/role/program", "/use/editing"]);
}

#[test]
fn what_the_encoder_is_asked_is_what_the_statistics_say() {
    let fixture = Fixture::new();
    let tagger = tagger(Words::new(&LABELS));
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let (fields, options) = (fixture.fields.clone(), WriterOptions::default());
    let writer = TaggingWriter::open(index, datastore, tagger.clone(), fields, options).unwrap();
    for _ in 0..3 {
        writer.add(fixture.document("a", "program")).unwrap();
        commit(&writer);
    }
    assert_eq!(tagger.encoder().n_encoded.load(Ordering::SeqCst), 1);
}

#[test]
fn a_corrected_document_votes_and_its_rejected_label_stays_away() {
    let fixture = Fixture::new();
    let writer = mostly_model(&fixture);
    add_plain_neighbors(&fixture, &writer);
    writer.add(fixture.document("a", "program oven")).unwrap();
    commit(&writer);
    correct(
        &writer,
        "a",
        &Correction::add(["use::baking"]).and(Correction::reject(["role::program"])),
    );
    assert_eq!(fixture.tags("a"), ["/use/baking"]);
    assert!(fixture.neighbor_keys().contains(&"a".to_owned()));
    let evidence = fixture.found("a").unwrap().evidence.unwrap();
    assert!(evidence.tags.iter().all(|tag| tag.origin == Origin::Human));

    // The nearest neighbor of the same words knows a label that the model does not.
    writer.add(fixture.document("b", "program oven")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("b"), ["/role/program", "/use/baking"]);

    // Where nothing but a rejection is known, another text is tagged anew, but never with that.
    correct(&writer, "a", &Correction::set(NONE));
    writer.add(fixture.document("a", "program")).unwrap();
    writer.add(fixture.document("c", "program")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("a"), NONE);
    assert_eq!(fixture.tags("c"), ["/role/program"]);
    assert!(!fixture.neighbor_keys().contains(&"a".to_owned()));
    writer.retag("", |_| {}).unwrap();
    assert_eq!(fixture.tags("a"), NONE);
    // Until a person gives it.
    correct(&writer, "a", &Correction::set(["role::program"]));
    assert_eq!(fixture.tags("a"), ["/role/program"]);
}

#[test]
fn a_label_that_a_person_gave_stays_with_every_text_until_somebody_says_otherwise() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().on_failure(OnFailure::IndexUntagged);
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    writer.add(fixture.document("z", "program")).unwrap();
    commit(&writer);
    correct(&writer, "z", &Correction::set(["cat"]));
    let distance = |text: &str| {
        writer.add(fixture.document("other", text)).unwrap();
        commit(&writer);
        let evidence = fixture.found("other").unwrap().evidence.unwrap();
        evidence.neighbors.iter().find(|n| n.key == "z").map(|neighbor| neighbor.distance)
    };
    // One word more; then a text that cannot be encoded; then a third one.
    for (text, votes) in [("program library", true), ("broken", false), ("editing", true)] {
        writer.add(fixture.document("z", text)).unwrap();
        commit(&writer);
        assert_eq!(fixture.tags("z"), ["/cat"], "{text}");
        // The new text's representation votes, and not the old one's.
        if votes {
            assert_eq!(distance(text), Some(0.0), "{text}");
        }
    }
    writer.retag("", |_| {}).unwrap();
    assert_eq!(fixture.tags("z"), ["/cat"]);
    // A labeled document says otherwise.
    writer.add_labeled(fixture.document("z", "program"), ["dog"]).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("z"), ["/dog"]);
    writer.add(fixture.document("z", "library")).unwrap();
    commit(&writer);
    assert!(!fixture.tags("z").contains(&"/cat".to_owned()));
}

#[test]
fn a_correction_outlives_the_document_coming_again() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    commit(&writer);
    correct(&writer, "a", &Correction::set(["cat"]));
    writer.add(fixture.document("a", "program")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("a"), ["/cat"]);
    assert_eq!(fixture.neighbor_keys(), ["a"]);
    writer.delete("a").unwrap();
    commit(&writer);
    writer.add(fixture.document("a", "program")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("a"), ["/role/program"], "a deleted document is forgotten");
}

#[test]
fn a_documents_earlier_version_does_not_vote_on_it() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "purring"), ["cat"]).unwrap();
    writer.add_labeled(fixture.document("b", "oven"), ["use::baking"]).unwrap();
    commit(&writer);
    writer.add(fixture.document("a", "purring")).unwrap();
    writer.add(fixture.document("c", "purring")).unwrap();
    commit(&writer);
    let voters = |key: &str| -> Vec<String> {
        let evidence = fixture.found(key).unwrap().evidence.unwrap();
        evidence.neighbors.into_iter().map(|neighbor| neighbor.key).collect()
    };
    assert_eq!(voters("a"), ["b"]);
    assert_eq!(voters("c"), ["a", "b"]);
    assert_eq!(fixture.neighbor_keys(), ["b"]);
}

#[test]
fn a_job_holds_up_no_other_operation() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    for key in ["a", "b", "c"] {
        writer.add(fixture.document(key, "program")).unwrap();
    }
    commit(&writer);
    // Each follows the job's own operation on that key.
    let mut keys = ["a", "b", "c"].into_iter();
    let during = |_| match keys.next().unwrap() {
        "b" => drop(writer.delete("b").unwrap()),
        key => drop(writer.add(fixture.document(key, "library")).unwrap()),
    };
    writer.retag("", during).unwrap();
    commit(&writer);
    assert_eq!(fixture.keys(), ["a", "c"]);
    assert_eq!(fixture.tags("a"), ["/role/library"]);
    assert_eq!(fixture.tags("c"), ["/role/library"]);
}

#[test]
fn corrections_that_cannot_be_made_are_told() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    commit(&writer);
    let check = |key: &str, correction: Correction, part: &str| {
        let error = writer.correct(key, &correction).unwrap_err();
        let mut text = error.to_string();
        text += &std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(text.contains(part), "{text}");
    };
    check("b", Correction::set(["cat"]), "\"b\"");
    check("a", Correction::set([" "]), "no visible character");
    check("a", Correction::reject(["never::seen"]), "never::seen");
    writer.change_labels(&LabelChange::Retire { label: LABELS[2].into() }, |_| {}).unwrap();
    check("a", Correction::set([LABELS[2]]), "retired");
    assert_eq!(fixture.tags("a"), ["/role/program"]);
}

#[test]
fn documents_that_are_not_stored_whole_cannot_be_corrected() {
    let mut schema = Schema::builder();
    schema.add_text_field("unstored", STRING);
    let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
    let index = Index::create_in_ram(schema.build());
    let fixture = Fixture { index, fields, ..Fixture::new() };
    let refused = fixture.open(Words::new(&LABELS), WriterOptions::default());
    let corrections = Corrections::Unsupported;
    let options = WriterOptions::new().corrections(corrections);
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    writer.add(document(&fixture.fields, "a", "program")).unwrap();
    commit(&writer);
    let errors = [
        refused.err().unwrap(),
        writer.correct("a", &Correction::set(["cat"])).unwrap_err(),
        writer.retag("", |_| {}).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("unstored"), "{error}");
    }
}

/// Adds documents of which a later neighbor changes the tags.
fn add_many(fixture: &Fixture, writer: &TaggingWriter<Words>) {
    for number in 10..40 {
        writer.add(fixture.document(&format!("{number}"), "purring")).unwrap();
    }
    commit(writer);
    writer.add_labeled(fixture.document("teacher", "purring"), ["cat"]).unwrap();
    commit(writer);
}

#[test]
fn tagging_again_lets_old_documents_profit_and_says_what_changed() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    add_many(&fixture, &writer);
    assert_eq!(fixture.tags("10"), NONE);
    let mut last = None;
    let retagged = writer.retag("", |at| last = Some(at)).unwrap();
    assert_eq!(last.map(|at| (at.done, at.total)), Some((31, 31)));
    assert_eq!((retagged.documents, retagged.changed), (30, 30));
    assert_eq!(retagged.gained.into_iter().collect::<Vec<_>>(), [("cat".to_owned(), 30)]);
    assert_eq!(fixture.tags("39"), ["/cat"]);
    let nothing = writer.retag("", |_| {}).unwrap();
    assert_eq!((nothing.documents, nothing.changed), (30, 0));
    // Nothing was encoded for it.
    assert_eq!(writer.stats().encoded, 31);
}

#[test]
fn an_interrupted_job_waits_keeps_others_off_and_goes_on() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().job_documents(7.try_into().unwrap());
    let writer = fixture.open(Words::new(&LABELS), options.clone()).unwrap();
    add_many(&fixture, &writer);
    let first = writer.retag("", |at| {
        if at.done == 11 {
            writer.interrupt_job();
        }
    });
    let first = first.unwrap();
    assert_eq!(first.documents, 12);
    let job = writer.unfinished_job().unwrap();
    let settings = TagSettings::of(&tagger(Words::new(&LABELS)));
    assert!(job.is_retagging("", &settings) && job.after.as_deref() == Some("21"), "{job}");
    assert!(matches!(writer.retag("", |_| {}), Err(Error::JobUnfinished { .. })));
    drop(writer);

    // Another process goes on; other writing does meanwhile too.
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    writer.add(fixture.document("new", "library")).unwrap();
    commit(&writer);
    let second = writer.resume(|_| {}).unwrap();
    assert_eq!((first.documents + second.documents, writer.unfinished_job()), (31, None));
    assert_eq!(writer.resume(|_| {}).unwrap(), RetagReport::default());
    assert_eq!(fixture.tags("39"), ["/cat"]);
    assert_eq!(fixture.tags("new"), ["/cat"], "its one neighbor votes alone for a new label");
}

#[test]
fn a_query_chooses_what_is_tagged_again() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    add_many(&fixture, &writer);
    assert_eq!(writer.retag("id:12", |_| {}).unwrap().documents, 1);
    assert_eq!((fixture.tags("12").len(), fixture.tags("13").len()), (1, 0));
    assert!(matches!(writer.retag("(", |_| {}), Err(Error::Query { .. })));
    assert_eq!(writer.unfinished_job(), None);
}

/// Has a neighbor without labels near every text that is not the same as another neighbor's.
fn add_plain_neighbors(fixture: &Fixture, writer: &TaggingWriter<Words>) {
    for text in ["program", "library", "editing"] {
        writer.add_labeled(fixture.document(text, text), NONE).unwrap();
    }
    commit(writer);
}

/// Lets the model and the nearest neighbor decide, the model with more weight.
fn mostly_model(fixture: &Fixture) -> TaggingWriter<Words> {
    let mut tagger = tagger(Words::new(&LABELS));
    tagger.interpolation.k = 1.try_into().unwrap();
    tagger.interpolation.proportion = Proportion::new(0.25).unwrap();
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let (fields, options) = (fixture.fields.clone(), WriterOptions::default());
    TaggingWriter::open(index, datastore, tagger, fields, options).unwrap()
}

#[test]
fn labels_change_in_documents_votes_and_predictions() {
    let fixture = Fixture::new();
    let writer = mostly_model(&fixture);
    add_plain_neighbors(&fixture, &writer);
    writer.add(fixture.document("tagged", "program")).unwrap();
    writer.add_labeled(fixture.document("given", "purring"), ["cat"]).unwrap();
    commit(&writer);
    let change = |change| writer.change_labels(&change, |_| {}).unwrap().changed;
    let rename = |label: &str, name: &str| LabelChange::Rename {
        label: label.to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(change(rename("cat", "animal::cat")), 1);
    assert_eq!(change(rename("role::program", "kind::program")), 1);
    assert_eq!(fixture.tags("given"), ["/animal/cat"]);
    assert_eq!(fixture.tags("tagged"), ["/kind/program"]);
    // Whoever still says the old name means the new one; so does the model.
    writer.add_labeled(fixture.document("late", "oven"), ["cat"]).unwrap();
    writer.add(fixture.document("later", "program")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("late"), ["/animal/cat"]);
    assert_eq!(fixture.tags("later"), ["/kind/program"]);

    let into = "kind::program".to_owned();
    assert_eq!(change(LabelChange::Merge { label: "cat".into(), into }), 2);
    assert_eq!(fixture.tags("given"), ["/kind/program"]);
    assert_eq!(change(LabelChange::Retire { label: "kind::program".into() }), 4);
    assert_eq!(fixture.tags("given"), NONE);
    writer.add(fixture.document("latest", "program")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("latest"), NONE, "a retired label does not come back by itself");
    change(LabelChange::Restore { label: "kind::program".into() });
    writer.retag("", |_| {}).unwrap();
    assert_eq!(fixture.tags("latest"), ["/kind/program"]);
    for wrong in [rename("nobody", "x"), rename("cat", "use::editing")] {
        assert!(writer.change_labels(&wrong, |_| {}).is_err(), "{wrong:?}");
    }
    assert_eq!(writer.unfinished_job(), None);
}

#[test]
fn a_new_tagger_is_used_at_once_or_the_old_one_stays() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("given", "program"), ["role::library"]).unwrap();
    commit(&writer);
    let other = tagger(Words::new(&LABELS).with_fingerprint(9));
    let refused = writer.replace_tagger(other).unwrap_err();
    assert!(matches!(refused, Error::EncoderMismatch { .. }), "{refused}");
    let refused = writer.replace_tagger(tagger(Words::new(&["other"]))).unwrap_err();
    assert!(matches!(refused, Error::LabelMismatch { .. }), "{refused}");
    writer.add(fixture.document("before", "program")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("before"), ["/role/library"], "the neighbor has half of the weight");

    let mut alone = tagger(Words::new(&LABELS));
    alone.interpolation.proportion = Proportion::MODEL;
    writer.replace_tagger(alone).unwrap();
    writer.add(fixture.document("after", "program")).unwrap();
    commit(&writer);
    assert_eq!(fixture.tags("after"), ["/role/program"]);
}

#[test]
fn a_job_knows_exactly_what_it_was_asked_for() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().job_documents(7.try_into().unwrap());
    let mut by_model = tagger(Words::new(&LABELS));
    by_model.interpolation.proportion = Proportion::MODEL;
    let mut strict = by_model.clone();
    strict.selection.threshold = Threshold::new(0.95).unwrap();
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let fields = fixture.fields.clone();
    let writer = TaggingWriter::open(index, datastore, strict.clone(), fields, options).unwrap();
    add_many(&fixture, &writer);
    let stop = |at: JobProgress| {
        if at.done == 11 {
            writer.interrupt_job();
        }
    };
    writer.retag("", stop).unwrap();
    drop(writer);
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let (fields, options) = (fixture.fields.clone(), WriterOptions::default());
    let writer = TaggingWriter::open(index, datastore, by_model.clone(), fields, options).unwrap();
    let job = writer.unfinished_job().unwrap();
    assert!(job.is_retagging(" ", &TagSettings::of(&strict)));
    assert!(!job.is_retagging("", &TagSettings::of(&by_model)));
    assert!(!job.is_retagging("id:1", &TagSettings::of(&strict)));
    assert!(job.to_string().contains("threshold 0.95"), "{job}");
    // What comes meanwhile is tagged by the writer's own settings.
    writer.add(fixture.document("meanwhile", "program")).unwrap();
    writer.resume(|_| {}).unwrap();
    // The model gives it .9, which is below the job's threshold.
    assert!(fixture.tags("meanwhile").contains(&"/role/program".to_owned()));
    drop(writer);

    let writer = fixture.writer();
    let rename = |name: &str| LabelChange::Rename { label: "cat".into(), name: name.into() };
    writer.change_labels(&rename("feline"), |_| writer.interrupt_job()).unwrap();
    let job = writer.unfinished_job().unwrap();
    assert!(job.is_making(&rename("feline")) && !job.is_making(&rename("animal::cat")));
    assert!(!job.is_making(&LabelChange::Retire { label: "cat".into() }));
}

#[test]
fn what_a_failed_job_handed_over_is_tagged_by_its_settings() {
    let fixture = Fixture::new();
    let mut lenient = tagger(Words::new(&LABELS).with_delay(Duration::from_millis(20)));
    lenient.interpolation.proportion = Proportion::MODEL;
    let mut strict = tagger(Words::new(&LABELS));
    strict.interpolation.proportion = Proportion::MODEL;
    strict.selection.threshold = Threshold::new(0.95).unwrap();
    let open = |datastore: Datastore, tagger, options| {
        let (index, fields) = (fixture.index.clone(), fixture.fields.clone());
        TaggingWriter::open(index, datastore, tagger, fields, options).unwrap()
    };
    let untagged = OnFailure::IndexUntagged;
    let options = WriterOptions::new().on_failure(untagged);
    let writer = open(fixture.datastore.clone(), strict, options);
    for number in 0..9 {
        let text = if number == 3 { "broken" } else { "program" };
        writer.add(fixture.document(&number.to_string(), text)).unwrap();
    }
    commit(&writer);
    writer.retag("", |_| writer.interrupt_job()).unwrap();
    writer.close().unwrap();

    // A datastore that has nothing of the documents: all of them are encoded again.
    let path = fixture.folder.path().join("other");
    let other = Datastore::create(&path, &datastore_options(&LABELS)).unwrap();
    let options = chunks_of(1).pending_operations(2.try_into().unwrap());
    let writer = open(other, lenient, options);
    let failed = writer.resume(|_| {});
    assert!(matches!(failed, Err(Error::Document { .. })), "{failed:?}");
    commit(&writer);
    for number in 0..9 {
        // The model gives it .9, which is below the job's threshold.
        assert_eq!(fixture.tags(&number.to_string()), NONE, "{number}");
    }
}

//! Reviews: what people decide of a document's labels, and what they leave open.

use autotag::{Evidence, Origin, Proportion, Review, Standing, StoredItem, Threshold};
use tantivy_autotag::{Correction, LabelChange, TaggingWriter};

use crate::mending::{move_to, other_encoder, other_seed};
use crate::restoring::repaired;
use crate::support::{Fixture, LABELS, Words, bundle, document, tagger};
use crate::verify::Sample;

fn correct(writer: &TaggingWriter<Words>, key: &str, correction: &Correction) {
    writer.correct(key, correction).unwrap();
    writer.commit().unwrap();
}

fn evidence(fixture: &Fixture, key: &str) -> Evidence {
    fixture.found(key).unwrap().evidence.unwrap()
}

/// Returns the labels that a neighbor votes for, and those that it abstains on.
fn vote(fixture: &Fixture, key: &str) -> [Vec<String>; 2] {
    let reader = fixture.datastore.reader().unwrap();
    let StoredItem { labels, undecided, .. } = reader.get(key).unwrap().unwrap();
    [labels, undecided].map(|labels| {
        labels.ids().iter().map(|&label| reader.labels().name(label).to_owned()).collect()
    })
}

/// An index with document "a", tagged as a program and a library.
fn reviewed() -> (Fixture, TaggingWriter<Words>) {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program library")).unwrap();
    writer.commit().unwrap();
    (fixture, writer)
}

#[test]
fn an_added_label_confirms_no_other() {
    let (fixture, writer) = reviewed();
    correct(&writer, "a", &Correction::add(["cat"]));
    let after = evidence(&fixture, "a");
    let standing = |label| after.standing(label);
    assert_eq!(standing("cat"), Some(Standing::Person));
    assert_eq!(standing("role::program"), Some(Standing::Undecided));
    assert_eq!(standing("role::library"), Some(Standing::Undecided));
    assert_eq!((standing("use::editing"), after.review), (None, Review::Partial));
    let guess = after.tags.iter().find(|tag| tag.label == "role::program").unwrap();
    assert!(guess.origin != Origin::Human && guess.score < 1.0, "{guess:?}");
    assert_eq!(vote(&fixture, "a"), [vec!["cat"], vec!["role::program", "role::library"]]);

    // It votes for what was decided, and abstains on the rest: the model alone answers.
    let mut tagger = tagger(Words::new(&LABELS));
    tagger.interpolation.proportion = Proportion::NEIGHBORS;
    writer.replace_tagger(tagger).unwrap();
    writer.add(fixture.document("b", "program library")).unwrap();
    writer.commit().unwrap();
    let predicted = evidence(&fixture, "b");
    assert_eq!(predicted.standing("cat"), Some(Standing::Predicted));
    let tag = predicted.tags.iter().find(|tag| tag.label == "role::program").unwrap();
    assert_eq!((tag.score, tag.model, tag.knn), (0.9, Some(0.9), 0.0));
    assert_eq!(predicted.neighbors[0].labels, ["cat"]);
    assert_eq!(predicted.neighbors[0].undecided, ["role::program", "role::library"]);
}

#[test]
fn a_rejected_label_confirms_no_other() {
    let (fixture, writer) = reviewed();
    correct(&writer, "a", &Correction::reject(["role::library"]));
    let after = evidence(&fixture, "a");
    assert_eq!(after.standing("role::library"), Some(Standing::Rejected));
    assert_eq!(after.standing("role::program"), Some(Standing::Undecided));
    assert_eq!(after.rejected, ["role::library"]);
    assert_eq!(vote(&fixture, "a"), [vec![], vec!["role::program"]]);
}

#[test]
fn confirming_decides_all_labels() {
    let (fixture, writer) = reviewed();
    correct(&writer, "a", &Correction::reject(["role::library"]).and(Correction::confirm()));
    let after = evidence(&fixture, "a");
    assert_eq!((after.given(), after.review), (vec!["role::program".to_owned()], Review::Complete));
    assert_eq!(vote(&fixture, "a"), [vec!["role::program"], vec![]]);
    // A change of a complete one leaves it complete.
    correct(&writer, "a", &Correction::add(["cat"]));
    assert_eq!(evidence(&fixture, "a").review, Review::Complete);
    assert_eq!(vote(&fixture, "a"), [vec!["role::program", "cat"], vec![]]);
    // A document that came with its labels has no undecided ones either.
    writer.add_labeled(fixture.document("b", "program"), ["dog"]).unwrap();
    writer.commit().unwrap();
    correct(&writer, "b", &Correction::add(["cat"]));
    assert_eq!(evidence(&fixture, "b").review, Review::Complete);
    assert_eq!(fixture.tags("b"), ["/cat", "/dog"]);
}

#[test]
fn undecided_labels_are_predicted_anew_and_decided_ones_stay() {
    let (fixture, writer) = reviewed();
    let decisions = Correction::add(["cat"]).and(Correction::reject(["role::library"]));
    correct(&writer, "a", &decisions);
    assert_eq!(fixture.tags("a"), ["/cat", "/role/program"]);
    // Another text.
    writer.add(fixture.document("a", "library editing")).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.tags("a"), ["/cat", "/use/editing"]);
    assert_eq!(vote(&fixture, "a"), [vec!["cat"], vec!["use::editing"]]);
    assert_eq!(evidence(&fixture, "a").rejected, ["role::library"]);
    // Other settings.
    let mut strict = tagger(Words::new(&LABELS));
    strict.selection.threshold = Threshold::new(0.95).unwrap();
    writer.replace_tagger(strict).unwrap();
    let report = writer.retag("", |_| {}).unwrap();
    assert_eq!((report.changed, report.lost["use::editing"]), (1, 1));
    assert_eq!(fixture.tags("a"), ["/cat"]);
    assert_eq!(vote(&fixture, "a"), [vec!["cat"], vec![]]);
    let after = evidence(&fixture, "a");
    assert_eq!((after.review, after.rejected.len()), (Review::Partial, 1));
}

#[test]
fn decisions_follow_their_labels_names() {
    let (fixture, writer) = reviewed();
    let decisions = Correction::add(["cat"]).and(Correction::reject(["role::library"]));
    correct(&writer, "a", &decisions);
    let change = |change: LabelChange| writer.change_labels(&change, |_| {}).unwrap();
    change(LabelChange::Rename { label: "cat".into(), name: "animal::cat".into() });
    change(LabelChange::Rename { label: "role::library".into(), name: "role::lib".into() });
    assert_eq!(evidence(&fixture, "a").rejected, ["role::lib"], "though no tag was renamed");
    change(LabelChange::Rename { label: "role::program".into(), name: "role::app".into() });
    let after = evidence(&fixture, "a");
    assert_eq!(
        (after.given(), &after.rejected),
        (vec!["animal::cat".into()], &vec!["role::lib".into()])
    );
    assert_eq!(vote(&fixture, "a"), [vec!["animal::cat"], vec!["role::app"]]);
    // An undecided label that a given one takes over is decided.
    change(LabelChange::Merge { label: "role::app".into(), into: "animal::cat".into() });
    assert_eq!(vote(&fixture, "a"), [vec!["animal::cat"], vec![]]);
    assert_eq!(fixture.tags("a"), ["/animal/cat"]);
}

#[test]
fn decisions_outlive_reopening_moving_and_the_loss_of_the_datastore() {
    let sample = Sample::new();
    let writer = sample.writer();
    let (_, fields) = sample.index().index().unwrap();
    for key in ["plain 1", "plain 2"] {
        writer.add(document(&fields, key, "program library")).unwrap();
    }
    writer.commit().unwrap();
    let decisions = Correction::add(["cat"]).and(Correction::reject(["role::library"]));
    correct(&writer, "plain 1", &decisions);
    correct(&writer, "plain 2", &Correction::reject(["role::library", "role::program"]));
    writer.close().unwrap();
    let report = sample.verify();
    assert!(report.is_sound(), "{report:#?}");
    let before = decided(&sample);

    std::fs::remove_dir_all(sample.path().join("autotag/datastore")).unwrap();
    assert!(repaired(&sample).rebuilt.is_some());
    let writer = sample.writer();
    writer.retag("", |_| {}).unwrap();
    writer.close().unwrap();
    assert_eq!(decided(&sample), before);

    let mut index = sample.index();
    let seed = other_seed(sample.path().parent().unwrap());
    move_to(&mut index, other_encoder(), &bundle("other bundle", &seed));
    assert_eq!(decided(&sample), before);
    let report = sample.verify();
    assert!(report.is_sound(), "{report:#?}");
}

/// Returns given, rejected and review of the reviewed documents.
fn decided(sample: &Sample) -> Vec<(Vec<String>, Vec<String>, Review)> {
    let searcher = sample.index().searcher().unwrap();
    let of = |key| {
        let found = searcher.document(key).unwrap().unwrap();
        let evidence = found.evidence.unwrap();
        (evidence.given(), evidence.rejected, evidence.review)
    };
    ["plain 1", "plain 2"].map(of).to_vec()
}

#[test]
fn evidence_of_earlier_versions_is_read() {
    let json =
        r#"{"tags": [{"label": "a", "score": 1.0, "model": null, "knn": 0.0, "origin": "human"}]}"#;
    let evidence: Evidence = serde_json::from_str(json).unwrap();
    assert_eq!((evidence.review, evidence.rejected.len()), (Review::None, 0));
    assert_eq!(evidence.standing("a"), Some(Standing::Person));
    assert_eq!(evidence.to_json(), json.replace(' ', ""));
}

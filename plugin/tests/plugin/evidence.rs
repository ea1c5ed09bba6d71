//! The evidence that is stored beside the tags.

use crate::support::Fixture;
use autotag::Origin;

#[test]
fn evidence_tells_scores_origins_and_voters() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer
        .add_labeled(fixture.document("voter", "program purring"), ["role::program", "cat"])
        .unwrap();
    writer.commit().unwrap();
    writer.add(fixture.document("a", "program purring")).unwrap();
    writer.add(fixture.document("far", "editing")).unwrap();
    writer.commit().unwrap();

    let found = fixture.found("a").unwrap();
    let evidence = fixture.fields.evidence_of(&found.document).unwrap().unwrap();
    assert_eq!(found.evidence.as_ref(), Some(&evidence));
    let cat = &evidence.tags[0];
    assert_eq!((cat.label.as_str(), cat.origin), ("cat", Origin::Neighbors));
    assert_eq!((cat.score, cat.model, cat.knn), (1.0, None, 1.0));
    let program = &evidence.tags[1];
    assert_eq!((program.label.as_str(), program.origin), ("role::program", Origin::Both));
    assert_eq!((program.model, program.knn), (Some(0.9), 1.0));
    assert!((program.score - 0.95).abs() < 1e-6);
    let voters: Vec<&str> = evidence.voters("cat").map(|voter| voter.key.as_str()).collect();
    assert_eq!(voters, ["voter"]);
    assert_eq!(evidence.neighbors[0].distance, 0.0);
    assert_eq!(evidence.neighbors[0].weight, 1.0);
    assert_eq!(evidence.neighbors[0].labels, ["role::program", "cat"]);
}

#[test]
fn an_empty_datastore_leaves_the_model_alone() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    let evidence = fixture.found("a").unwrap().evidence.unwrap();
    assert_eq!(evidence.tags[0].origin, Origin::Model);
    assert_eq!(evidence.tags[0].score, 0.9);
    assert!(evidence.neighbors.is_empty());
}

#[test]
fn labels_given_by_people_say_so() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add_labeled(fixture.document("a", "library"), ["role::program"]).unwrap();
    writer.commit().unwrap();
    let evidence = fixture.found("a").unwrap().evidence.unwrap();
    assert_eq!(evidence.tags.len(), 1);
    assert_eq!(evidence.tags[0].origin, Origin::Human);
    assert_eq!((evidence.tags[0].score, evidence.tags[0].model), (1.0, None));
}

#[test]
fn no_more_neighbors_are_stored_than_voted() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    for number in 0..30 {
        let key = format!("n{number}");
        writer.add_labeled(fixture.document(&key, &format!("word{number}")), ["cat"]).unwrap();
    }
    writer.commit().unwrap();
    writer.add(fixture.document("a", "word1 word2")).unwrap();
    writer.commit().unwrap();
    let evidence = fixture.found("a").unwrap().evidence.unwrap();
    assert_eq!(evidence.neighbors.len(), 5);
    let total: f32 = evidence.neighbors.iter().map(|neighbor| neighbor.weight).sum();
    assert!((total - 1.0).abs() < 1e-5);
    assert!(evidence.neighbors.is_sorted_by(|a, b| a.distance <= b.distance));
}

use autotag::{ItemId, Neighbor, Scores};

use super::*;
use crate::parts::Part;
use crate::runs::DataRecord;

fn labels(ids: &[u32]) -> LabelSet {
    ids.iter().copied().map(LabelId).collect()
}

fn text(key: &str, given: &[u32]) -> TextRecord {
    TextRecord { key: key.to_owned(), labels: labels(given), text: format!("text of {key}") }
}

fn prediction(given: &[u32], scores: &[f32], neighbors: &[(u32, &[u32])]) -> Prediction {
    let neighbor =
        |&(row, ids): &(u32, &[u32])| Neighbor::new(ItemId(row), row as f32, labels(ids));
    Prediction {
        given: labels(given),
        model: Some(Scores::new(scores.to_vec()).unwrap()),
        neighbors: neighbors.iter().map(neighbor).collect(),
    }
}

fn setting(lambda: f32) -> Setting {
    let proportion = autotag::Proportion::new(lambda).unwrap();
    Setting {
        interpolation: Interpolation { proportion, ..Interpolation::default() },
        threshold: Threshold::default(),
        dev_micro_f1: 0.5,
    }
}

fn data() -> KeptData {
    let record = DataRecord {
        format: 1,
        digest: "0".repeat(64),
        name: "x".to_owned(),
        labels: ["a", "b", "c"].map(str::to_owned).to_vec(),
        n_known: 3,
        measured: Part::Test,
        notes: vec![],
    };
    let train = vec![text("n0", &[0]), text("n1", &[1]), text("n2", &[1, 2])];
    let measured = vec![text("1", &[0]), text("2", &[0, 2]), text("3", &[2])];
    KeptData { record, train, dev: vec![], measured }
}

/// A model's predictions for the three texts: right; a missed for b; b wrongly given.
fn predictions() -> Vec<Prediction> {
    vec![
        prediction(&[0], &[0.9, 0.2, 0.0], &[(0, &[0])]),
        prediction(&[0, 2], &[0.1, 0.8, 0.6], &[(1, &[1]), (2, &[1, 2])]),
        prediction(&[2], &[0.0, 0.95, 0.7], &[]),
    ]
}

fn decide<'a>(
    predictions: &'a [Prediction],
    data: &'a KeptData,
    setting: &Setting,
) -> Vec<Decision<'a>> {
    let texts = predictions.iter().zip(&data.measured);
    texts.map(|(prediction, text)| Decision::new(prediction, text, setting)).collect()
}

#[test]
fn each_label_is_counted_for_itself() {
    let (data, predictions, setting) = (data(), predictions(), setting(0.0));
    let counts = label_counts(&decide(&predictions, &data, &setting), 3);
    let numbers = |label: usize| LabelNumbers::new("x", 1, counts[label], Threshold::default());
    let [a, b, c] = [0, 1, 2].map(numbers);
    assert_eq!((a.support, a.precision, a.recall), (2, Some(1.0), Some(0.5)));
    assert_eq!((b.support, b.precision, b.recall, b.f1), (0, Some(0.0), None, 0.0));
    assert_eq!((c.support, c.f1), (2, 1.0));
}

#[test]
fn the_worst_mistakes_come_first_with_the_neighbors_that_voted() {
    let (data, predictions, setting) = (data(), predictions(), setting(0.0));
    let decisions = decide(&predictions, &data, &setting);
    let wrong = mistakes(&data, &decisions, Kind::FalsePositive, &setting);
    let found: Vec<(&str, &str)> =
        wrong.iter().map(|mistake| (mistake.key.as_str(), mistake.label.as_str())).collect();
    assert_eq!(found, [("3", "b"), ("2", "b")]);
    assert!(wrong[0].neighbors.is_empty());
    let neighbors = &wrong[1].neighbors;
    assert_eq!((neighbors[0].key.as_str(), neighbors[0].has_label), ("n1", true));
    assert!(neighbors[0].weight > neighbors[1].weight);
    let missed = mistakes(&data, &decisions, Kind::FalseNegative, &setting);
    assert_eq!(
        (missed.len(), missed[0].label.as_str(), missed[0].score),
        (1, "a", f64::from(0.1f32))
    );
    assert_eq!(missed[0].given, ["a", "c"]);
}

#[test]
fn a_label_that_is_missed_for_another_makes_a_pair() {
    let (data, predictions, setting) = (data(), predictions(), setting(0.0));
    let pairs = confused(&decide(&predictions, &data, &setting), &data.record.labels);
    assert_eq!(pairs.len(), 1);
    let ConfusedPair { missed, given_instead, n_texts, n_missed } = &pairs[0];
    assert_eq!((missed.as_str(), given_instead.as_str(), *n_texts, *n_missed), ("a", "b", 1, 1));
}

#[test]
fn reliability_is_the_share_of_right_labels_by_tenths() {
    let predictions =
        [prediction(&[0], &[0.91, 0.93, 0.0], &[]), prediction(&[0, 2], &[1.0, 0.15, 0.12], &[])];
    let bins = reliability(&predictions, Method::Model, &Interpolation::default());
    assert_eq!(bins.len(), 2, "{bins:?}");
    assert_eq!((bins[0].n, bins[0].right), (2, 0.5));
    assert!((bins[0].score - 0.135).abs() < 1e-6);
    assert_eq!((bins[1].n, bins[1].right), (3, 2.0 / 3.0));
}

#[test]
fn labels_are_grouped_by_the_training_texts_that_have_them() {
    let counts = |tp, fp| Confusion { true_positives: tp, false_positives: fp, false_negatives: 0 };
    // The label of no training text is nobody's.
    let bins = by_frequency(
        &[0, 3, 9, 10, 5000],
        &[counts(9, 9), counts(1, 1), counts(1, 1), counts(0, 0), counts(1, 0)],
        &[counts(9, 9), counts(1, 0), counts(1, 0), counts(0, 0), counts(1, 0)],
    );
    let groups: Vec<(usize, Option<usize>, usize)> =
        bins.iter().map(|bin| (bin.from, bin.below, bin.n_labels)).collect();
    assert_eq!(groups, [(1, Some(10), 2), (10, Some(20), 1), (1000, None, 1)]);
    assert_eq!((bins[0].model, bins[0].knn), (2.0 / 3.0, 1.0));
    assert_eq!((bins[1].knn, bins[2].knn), (0.0, 1.0));
}

use proptest::prelude::*;

use super::*;
use crate::{
    Interpolation, ItemId, LabelId, LabelSet, Neighbor, Proportion, Scores, Selection, Threshold,
};

fn prediction(given: &[u32], model: &[f32], neighbors: &[(f32, &[u32])]) -> Prediction {
    let labels = |ids: &[u32]| ids.iter().copied().map(LabelId).collect::<LabelSet>();
    Prediction {
        given: labels(given),
        model: Some(Scores::new(model).unwrap()),
        neighbors: neighbors
            .iter()
            .map(|&(distance, ids)| Neighbor::new(ItemId(0), distance, labels(ids)))
            .collect(),
    }
}

#[test]
fn the_coarse_grid_is_a_part_of_the_whole() {
    let (coarse, whole) = (Grid::coarse(), Grid::fixed());
    assert!(coarse.ks.iter().all(|k| whole.ks.contains(k)));
    assert!(coarse.temperatures.iter().all(|tau| whole.temperatures.contains(tau)));
    assert!(coarse.proportions.iter().all(|lambda| whole.proportions.contains(lambda)));
    let size = |grid: &Grid| grid.ks.len() * grid.temperatures.len() * grid.proportions.len();
    assert!(20 * size(&coarse) < size(&whole));
}

#[test]
fn tuning_finds_the_threshold_that_separates() {
    let predictions = [prediction(&[0], &[0.30, 0.10], &[]), prediction(&[1], &[0.15, 0.25], &[])];
    let tuned = tune(&predictions, Method::Model);
    assert_eq!(tuned.score, 1.0);
    assert!((0.155..=0.25).contains(&tuned.threshold.get()), "{tuned:?}");
}

#[test]
fn neighbors_that_know_better_get_the_weight() {
    let predictions = [
        prediction(&[0], &[0.3, 0.5], &[(1.0, &[0])]),
        prediction(&[1], &[0.5, 0.3], &[(1.0, &[1])]),
    ];
    let tuned = tune(&predictions, Method::Interpolated);
    assert_eq!(tuned.score, 1.0);
    assert!(tune(&predictions, Method::Model).score < 1.0);
}

#[test]
fn an_adaptive_lambda_is_found_where_no_fixed_one_does() {
    // Neighbors know better where the model is confident of nothing, and only there: a neighbor's
    // wrong label weighs lambda in the first text, its right one weighs lambda in the second.
    let predictions = [
        prediction(&[0], &[0.9, 0.0, 0.0], &[(1.0, &[1])]),
        prediction(&[2], &[0.45, 0.45, 0.0], &[(1.0, &[2])]),
        prediction(&[0], &[0.51, 0.3, 0.0], &[(1.0, &[2])]),
        prediction(&[1], &[0.46, 0.0, 0.0], &[(1.0, &[1])]),
    ];
    let fixed = tune(&predictions, Method::Interpolated);
    let grid = Grid::default();
    let tuned = tune_for(&predictions, 3, Method::Interpolated, Objective::Micro, &grid);
    assert_eq!(tuned.score, 1.0);
    assert_eq!((tuned.interpolation.proportion, fixed.score < 1.0), (Proportion::ADAPTIVE, true));
}

#[test]
fn macro_f1_is_tuned_for_rare_labels() {
    // The frequent label 0 does best at .6, the rare labels 1 and 2 at .2.
    let mut predictions = vec![prediction(&[0], &[0.7, 0.0, 0.0], &[]); 20];
    predictions.extend(vec![prediction(&[], &[0.5, 0.0, 0.0], &[]); 20]);
    predictions.push(prediction(&[1], &[0.0, 0.3, 0.0], &[]));
    predictions.push(prediction(&[2], &[0.0, 0.0, 0.3], &[]));
    let grid = Grid::default();
    let tune = |objective| tune_for(&predictions, 3, Method::Model, objective, &grid).threshold;
    assert!((0.505..=0.7).contains(&tune(Objective::Micro).get()));
    assert!(tune(Objective::Macro).get() <= 0.3);
}

#[test]
fn an_empty_grid_or_no_predictions_give_the_defaults() {
    let empty = Grid { ks: vec![], ..Grid::default() };
    let predictions = [prediction(&[0], &[0.9], &[])];
    for objective in [Objective::Micro, Objective::Macro] {
        for (predictions, grid) in [(&predictions[..], &empty), (&[], &Grid::default())] {
            let tuned = tune_for(predictions, 1, Method::Interpolated, objective, grid);
            assert_eq!((tuned.threshold, tuned.score), (Threshold::default(), 0.0));
            assert_eq!(tuned.interpolation, Interpolation::default());
        }
        let tuned = tune(&[], Method::Model);
        assert!(tune_labels(&[], 0, objective, &tuned, None).thresholds.is_empty());
    }
}

/// Texts of two frequent labels, whose scores separate at .2 and at .8, and of a rare one.
fn two_scales() -> Vec<Prediction> {
    let mut predictions = Vec::new();
    for _ in 0..300 {
        predictions.push(prediction(&[0], &[0.3, 0.7, 0.0], &[]));
        predictions.push(prediction(&[1], &[0.1, 0.9, 0.0], &[]));
    }
    predictions.extend(vec![prediction(&[], &[0.08, 0.08, 0.0], &[]); 1000]);
    predictions.push(prediction(&[2], &[0.0, 0.0, 0.05], &[]));
    // Every stretch of the documents has some of each kind.
    let n = predictions.len();
    (0..n).map(|i| predictions[i * 7 % n].clone()).collect()
}

#[test]
fn frequent_labels_get_thresholds_of_their_own_and_rare_ones_do_not() {
    let predictions = two_scales();
    for objective in [Objective::Micro, Objective::Macro] {
        let tuned = tune_for(&predictions, 3, Method::Model, objective, &Grid::default());
        let labels = tune_labels(&predictions, 3, objective, &tuned, Some(100.0));
        let thresholds: Vec<f32> = labels.thresholds.iter().map(|t| t.get()).collect();
        assert!(0.1 < thresholds[0] && thresholds[0] <= 0.3, "{thresholds:?}");
        assert!(0.7 < thresholds[1] && thresholds[1] <= 0.9, "{thresholds:?}");
        // One example, at .05, does not pull the threshold down to where everything is a tag.
        assert!(thresholds[2] > 0.05, "{thresholds:?}");
        let chosen = tune_labels(&predictions, 3, objective, &tuned, None);
        assert!(chosen.held_out > chosen.held_out_global, "{chosen:?}");
        assert_eq!(chosen.thresholds.len(), 3);
    }
}

#[test]
fn where_one_threshold_does_as_well_it_stays() {
    let predictions = vec![prediction(&[0], &[0.9, 0.1], &[]), prediction(&[1], &[0.1, 0.9], &[])];
    let tuned = tune(&predictions, Method::Model);
    let labels = tune_labels(&predictions, 2, Objective::Micro, &tuned, None);
    assert!(labels.thresholds.is_empty(), "{labels:?}");
}

/// Texts with scores for three labels, some of them with neighbors, which know a fourth label.
fn texts() -> impl Strategy<Value = Vec<Prediction>> {
    let scores = prop::collection::vec(0.0f32..=1.0, 3);
    let row = (scores, 0u32..3, 0u32..4, 0.1f32..5.0, any::<bool>());
    let text = |(model, given, other, d, is_alone): (Vec<f32>, u32, u32, f32, bool)| {
        let (others, given_too) = ([other], [given, 3]);
        let neighbors = [(d, &others[..]), (d + 1.0, &given_too[..])];
        prediction(&[given], &model, if is_alone { &[] } else { &neighbors })
    };
    prop::collection::vec(row.prop_map(text), 1..12)
}

proptest! {
    /// What the grid promises is what evaluating its settings gives.
    #[test]
    fn the_tuned_score_is_what_evaluation_gives(predictions in texts()) {
        let adaptive = Grid { proportions: vec![Proportion::ADAPTIVE], ..Grid::default() };
        for method in [Method::Model, Method::Knn, Method::Interpolated] {
            for objective in [Objective::Micro, Objective::Macro] {
                for grid in [&Grid::fixed(), &adaptive] {
                    let tuned = tune_for(&predictions, 4, method, objective, grid);
                    let selection = Selection::at(tuned.threshold);
                    let evaluation =
                        evaluate(&predictions, 4, method, &tuned.interpolation, &selection);
                    prop_assert!(
                        (objective.of(&evaluation) - tuned.score).abs() < 1e-9,
                        "{method:?} {objective:?} {tuned:?} {evaluation:?}"
                    );
                }
            }
        }
    }

    /// With no example of its own that weighs, every label gets what is best for all.
    #[test]
    fn much_smoothing_gives_the_one_threshold(predictions in texts()) {
        let method = Method::Interpolated;
        for objective in [Objective::Micro, Objective::Macro] {
            let tuned = tune_for(&predictions, 4, method, objective, &Grid::default());
            let labels = tune_labels(&predictions, 4, objective, &tuned, Some(1e18));
            prop_assert_eq!(labels.thresholds.len(), 4);
            for threshold in labels.thresholds {
                let selection = Selection::at(threshold);
                let all = evaluate(&predictions, 4, method, &tuned.interpolation, &selection);
                prop_assert!((objective.of(&all) - tuned.score).abs() < 1e-9, "{threshold:?}");
            }
        }
    }

    /// Without smoothing, thresholds of their own are at least as good where they are chosen.
    #[test]
    fn own_thresholds_are_no_worse_where_they_are_chosen(predictions in texts()) {
        for objective in [Objective::Micro, Objective::Macro] {
            let tuned =
                tune_for(&predictions, 4, Method::Interpolated, objective, &Grid::default());
            let labels = tune_labels(&predictions, 4, objective, &tuned, Some(0.0));
            let selection =
                Selection { per_label: labels.thresholds, ..Selection::at(tuned.threshold) };
            let own =
                evaluate(&predictions, 4, Method::Interpolated, &tuned.interpolation, &selection);
            prop_assert!(objective.of(&own) >= tuned.score - 1e-9, "{own:?} {tuned:?}");
        }
    }
}

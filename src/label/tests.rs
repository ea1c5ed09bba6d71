use super::*;

#[test]
fn ids_follow_the_order_of_names() {
    let mut vocabulary = LabelVocabulary::new(["b", "a"]).unwrap();
    assert_eq!(vocabulary.id("b"), Some(LabelId(0)));
    assert_eq!(vocabulary.insert("c").unwrap(), LabelId(2));
    assert_eq!(vocabulary.insert("a").unwrap(), LabelId(1));
    assert_eq!(vocabulary.name(LabelId(2)), "c");
}

#[test]
fn names_that_cannot_be_facets_are_refused() {
    for name in ["", "/", "::", " ", "a\0b", &"x".repeat(2000)] {
        assert!(LabelVocabulary::new([name]).is_err(), "{name:?}");
    }
    assert!(matches!(
        LabelVocabulary::new(["a", "a"]),
        Err(Error::DuplicateLabel { name }) if name == "a"
    ));
}

#[test]
fn sets_are_sorted_and_count_what_they_share() {
    let a: LabelSet = [3, 1, 3].map(LabelId).into_iter().collect();
    let b: LabelSet = [1, 2, 3].map(LabelId).into_iter().collect();
    assert_eq!(a.ids(), [1, 3].map(LabelId));
    assert_eq!(a.shared(&b), 2);
    assert_eq!(b.shared(&a), 2);
}

fn changed() -> (LabelVocabulary, [LabelId; 4]) {
    let labels = LabelVocabulary::new(["a", "b", "c", "d"]).unwrap();
    (labels, [0, 1, 2, 3].map(LabelId))
}

#[test]
fn every_name_of_a_label_leads_to_it() {
    let (mut labels, [a, ..]) = changed();
    labels.rename(a, "x").unwrap();
    labels.rename(a, "y").unwrap();
    for name in ["a", "x", "y"] {
        assert_eq!(labels.resolve_name(name), Some("y"), "{name}");
        assert_eq!(labels.insert(name).unwrap(), a, "{name}");
    }
    labels.rename(a, "a").unwrap();
    assert_eq!(labels.resolve_name("x"), Some("a"));
    assert_eq!(labels.first_names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert!(matches!(labels.rename(a, "b"), Err(Error::LabelTaken { .. })));
    assert!(matches!(labels.rename(a, "::"), Err(Error::LabelName { .. })));
}

#[test]
fn a_label_that_has_had_as_many_names_as_are_kept_is_not_renamed() {
    let (mut labels, [a, ..]) = changed();
    let former = |n: usize| (0..n).map(|number| format!("a {number}")).collect();
    let history = |n| LabelHistory { name: "a".into(), former: former(n), fate: LabelFate::Active };
    assert_eq!(labels.put_history(a, history(MAX_FORMER_NAMES + 1)), None);
    labels.put_history(a, history(MAX_FORMER_NAMES - 1)).unwrap();
    labels.rename(a, "last").unwrap();
    let full = labels.clone();
    assert_eq!(full.history(a).former.len(), MAX_FORMER_NAMES);
    let refused = labels.rename(a, "one too many");
    assert!(matches!(refused, Err(Error::LabelNames { name, max: 65535 }) if name == "last"));
    assert_eq!(labels, full);
    // Back to an older name, none is added; only the current one does not fit.
    assert!(matches!(labels.rename(a, "a 7"), Err(Error::LabelNames { .. })));
}

#[test]
fn merged_and_retired_labels_resolve_through_all_steps() {
    let (mut labels, [a, b, c, d]) = changed();
    labels.merge(a, b).unwrap();
    labels.merge(b, c).unwrap();
    assert_eq!(labels.resolve(a), Some(c));
    let set: LabelSet = [a, b, d].into_iter().collect();
    assert_eq!(labels.resolve_set(&set).ids(), [c, d]);
    labels.retire(c).unwrap();
    assert_eq!(labels.resolve(a), None);
    assert_eq!(labels.resolve_set(&set).ids(), [d]);
    assert!(matches!(labels.merge(c, d), Err(Error::LabelInactive { .. })));
    assert!(matches!(labels.merge(d, a), Err(Error::LabelInactive { .. })));
    assert!(matches!(labels.merge(d, d), Err(Error::LabelItself { .. })));
    labels.restore(c);
    assert_eq!(labels.resolve(a), Some(c));
    labels.restore(a);
    assert_eq!(labels.resolve(a), Some(a));
}

#[test]
fn histories_make_the_same_vocabulary_again() {
    let (mut labels, [a, b, c, _]) = changed();
    labels.rename(a, "x").unwrap();
    labels.merge(b, a).unwrap();
    labels.retire(c).unwrap();
    let mut copy = LabelVocabulary::default();
    for id in (0..labels.len() as u32).map(LabelId) {
        copy.put_history(id, labels.history(id)).unwrap();
    }
    assert_eq!(copy, labels);
    let taken = LabelHistory { name: "x".into(), former: vec![], fate: LabelFate::Active };
    assert_eq!(copy.put_history(b, taken.clone()), None);
    assert_eq!(copy.put_history(LabelId(9), taken), None);
}

//! Any operations against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::support::{Fixture, LABELS, Words, chunks_of};

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Label(u8, u8),
    Fail(u8),
    Delete(u8),
    Commit,
    /// Drops the writer without a commit and opens another.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u8..6;
    prop_oneof![
        4 => key.clone().prop_map(Step::Add),
        4 => (key.clone(), 0u8..4).prop_map(|(key, label)| Step::Label(key, label)),
        1 => key.clone().prop_map(Step::Fail),
        2 => key.prop_map(Step::Delete),
        1 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ]
}

/// Each key's label, where people gave one.
type State = BTreeMap<String, Option<String>>;

fn check(fixture: &Fixture, expect: &State) {
    let keys: Vec<String> = expect.keys().cloned().collect();
    assert_eq!(fixture.keys(), keys);
    let labeled = expect.iter().filter(|(_, label)| label.is_some());
    let labeled: Vec<String> = labeled.map(|(key, _)| key.clone()).collect();
    assert_eq!(fixture.neighbor_keys(), labeled);
    for (key, label) in expect {
        if let Some(label) = label {
            assert_eq!(fixture.tags(key), [format!("/{label}")]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_hold_what_a_map_holds(
        steps in prop::collection::vec(step(), 1..40),
        chunk in 1usize..9,
    ) {
        let fixture = Fixture::new();
        let options = tantivy_autotag::WriterOptions {
            on_failure: tantivy_autotag::OnFailure::Skip,
            ..chunks_of(chunk)
        };
        let open = || fixture.open(Words::new(&LABELS), options.clone()).unwrap();
        let mut writer = open();
        let (mut committed, mut current) = (State::new(), State::new());
        for step in steps {
            match step {
                Step::Add(key) => {
                    let key = format!("k{key}");
                    writer.add(fixture.document(&key, "some text")).unwrap();
                    current.insert(key, None);
                }
                Step::Label(key, label) => {
                    let (key, label) = (format!("k{key}"), format!("label{label}"));
                    writer.add_labeled(fixture.document(&key, "some text"), [&label]).unwrap();
                    current.insert(key, Some(label));
                }
                Step::Fail(key) => {
                    writer.add(fixture.document(&format!("k{key}"), "broken")).unwrap();
                }
                Step::Delete(key) => {
                    let key = format!("k{key}");
                    writer.delete(&key).unwrap();
                    current.remove(&key);
                }
                Step::Commit => {
                    writer.commit().unwrap();
                    committed = current.clone();
                    check(&fixture, &committed);
                }
                Step::Reopen => {
                    drop(writer);
                    writer = open();
                    current = committed.clone();
                    check(&fixture, &committed);
                }
            }
        }
        writer.commit().unwrap();
        check(&fixture, &current);
    }
}

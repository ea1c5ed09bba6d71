//! A snapshot that was brought to a later commit is the one that would have been loaded.

use super::*;

#[derive(Clone, Debug)]
enum Change {
    Put(u8, i8, bool),
    Delete(u8),
    /// Renames a label, on which all items depend.
    Rename(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<u8>(), any::<i8>(), any::<bool>()).prop_map(|(k, v, p)| Change::Put(k, v, p)),
        3 => any::<u8>().prop_map(Change::Delete),
        1 => any::<u8>().prop_map(Change::Rename),
    ]
}

/// Returns all that a reader tells, in its order.
fn told(reader: &DatastoreReader) -> Vec<(String, StoredItem)> {
    let mut items = Vec::new();
    let note = |key: &str, item: StoredItem| -> Result<()> {
        items.push((key.to_owned(), item));
        Ok(())
    };
    reader.for_each(note).unwrap();
    items
}

#[test]
fn a_snapshot_is_advanced_where_few_items_were_changed_and_no_label() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 2);
    fill(&datastore, &clustered(100, 2, 1));
    let mut writer = datastore.writer().unwrap();
    let n_advanced = || datastore.shared.n_advanced.load(std::sync::atomic::Ordering::Relaxed);
    let mut check = |n_items: usize, renames: bool, expected: usize| {
        for number in 0..n_items {
            let vector = embedding(&[1.0, number as f32]);
            writer.put(&number.to_string(), &vector, &["red"], Source::Human).unwrap();
        }
        if renames {
            writer.change_labels(|labels| labels.rename(LabelId(1), "blue")).unwrap();
        }
        writer.commit().unwrap();
        datastore.reader().unwrap();
        assert_eq!(n_advanced(), expected);
    };
    check(1, false, 1);
    check(12, false, 2);
    // All items depend on labels.
    check(1, true, 2);
    check(50, false, 2);
    check(1, false, 3);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(8),
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_advanced_snapshot_is_a_loaded_one(
        commits in prop::collection::vec(prop::collection::vec(change(), 1..8), 1..10),
        reads in prop::collection::vec(any::<bool>(), 10),
        asks_by_key: bool,
        holds: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let datastore = create(&folder.path().join("advanced"), 2);
        fill(&datastore, &clustered(100, 2, 1));
        let mut writer = datastore.writer().unwrap();
        let mut held = Vec::new();
        for (number, changes) in commits.into_iter().enumerate() {
            for change in changes {
                match change {
                    Change::Put(key, value, is_partial) => {
                        let vector = embedding(&[f32::from(value), 1.0]);
                        let undecided: &[&str] = if is_partial { &["green"] } else { &[] };
                        writer.put_partial(&key.to_string(), &vector, &["red"], undecided).unwrap();
                    }
                    Change::Delete(key) => writer.delete(&key.to_string()).unwrap(),
                    Change::Rename(name) => writer
                        .change_labels(|labels| labels.rename(LabelId(0), &format!("red {name}")))
                        .unwrap(),
                }
            }
            writer.commit().unwrap();
            if !reads[number] {
                continue;
            }
            let reader = datastore.reader().unwrap();
            let copy = folder.path().join(number.to_string());
            datastore.copy_to(&copy).unwrap();
            let loaded = Datastore::open(&copy, &ENCODER).unwrap().reader().unwrap();
            prop_assert_eq!(told(&reader), told(&loaded));
            prop_assert_eq!(reader.labels(), loaded.labels());
            if asks_by_key {
                for key in 0..=255u8 {
                    let key = key.to_string();
                    prop_assert_eq!(reader.get(&key).unwrap(), loaded.get(&key).unwrap());
                }
            }
            let query = matrix(&[vec![3.0, 1.0]]);
            let nearest = |reader: &DatastoreReader| {
                reader.nearest(query.view(), 20, SearchMode::Exact).unwrap()
            };
            prop_assert_eq!(nearest(&reader), nearest(&loaded));
            if holds {
                held.push((told(&reader), reader));
            }
        }
        for (before, reader) in held {
            prop_assert_eq!(told(&reader), before, "a held snapshot stays as it was");
        }
    }
}

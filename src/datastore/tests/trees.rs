//! Trees that lag behind the items: searched together with what they do not cover, rebuilt now and then.

use super::*;

/// Puts vectors under numbers from `first` on as keys, and commits.
fn put(datastore: &Datastore, first: usize, vectors: &[Vec<f32>]) {
    let mut writer = datastore.writer().unwrap();
    for (key, vector) in (first..).zip(vectors) {
        writer.put(&key.to_string(), &embedding(vector), &["red"], Source::Human).unwrap();
    }
    writer.commit().unwrap();
}

fn delete(datastore: &Datastore, keys: std::ops::Range<usize>) {
    let mut writer = datastore.writer().unwrap();
    keys.for_each(|key| writer.delete(&key.to_string()).unwrap());
    writer.commit().unwrap();
}

/// Returns how many items the trees do not cover; `None` where there are no trees.
fn n_uncovered(datastore: &Datastore) -> Option<u64> {
    let store = &datastore.shared.store;
    let header = store.read(|txn| store.header(txn)).unwrap();
    (header.n_centered > 0).then_some(header.n_uncovered)
}

/// Checks that the trees and what they do not cover are all items, in the order of an exact search.
fn check_complete(reader: &DatastoreReader, seed: u64) {
    let queries = matrix(&clustered(2, reader.dimensions(), seed));
    let nearest = |mode| reader.nearest(queries.view(), reader.len() + 1, mode).unwrap();
    assert_eq!(nearest(SearchMode::Arroy), nearest(SearchMode::Exact));
}

/// Returns how many of the 10 nearest items of 100 queries the trees find too.
fn n_recalled(reader: &DatastoreReader) -> usize {
    let queries = matrix(&clustered(100, reader.dimensions(), 5));
    let nearest = |mode| reader.nearest(queries.view(), 10, mode).unwrap();
    let (exact, found) = (nearest(SearchMode::Exact), nearest(SearchMode::Arroy));
    let shared = |(exact, found): (&Vec<Neighbor>, &Vec<Neighbor>)| {
        found.iter().filter(|neighbor| exact.contains(neighbor)).count()
    };
    exact.iter().zip(&found).map(shared).sum()
}

#[test]
fn small_commits_are_searched_beside_trees_that_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 16);
    put(&datastore, 0, &clustered(3_000, 16, 1));
    assert_eq!(n_uncovered(&datastore), Some(0));
    let store = &datastore.shared.store;
    let nodes = || store.read(|txn| super::super::trees::checksum(store, txn)).unwrap();
    let built = nodes();
    // New items, replaced ones, and deleted ones, whose numbers are given to others in the end.
    put(&datastore, 3_000, &clustered(100, 16, 2));
    assert_eq!(n_uncovered(&datastore), Some(100));
    check_complete(&datastore.reader().unwrap(), 3);
    put(&datastore, 500, &clustered(100, 16, 3));
    delete(&datastore, 550..650);
    assert_eq!(n_uncovered(&datastore), Some(250));
    check_complete(&datastore.reader().unwrap(), 4);
    put(&datastore, 4_000, &clustered(150, 16, 6));
    assert_eq!(nodes(), built);
    let reader = datastore.reader().unwrap();
    check_complete(&reader, 5);
    assert!(n_recalled(&reader) >= 970, "{} of 1000 found", n_recalled(&reader));
    assert_eq!(datastore.verify().unwrap().problems, []);
}

#[test]
fn many_changes_rebuild_the_trees() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 8);
    put(&datastore, 0, &clustered(6_000, 8, 1));
    let before = datastore.reader().unwrap();
    put(&datastore, 5_000, &clustered(4_000, 8, 2));
    assert_eq!(n_uncovered(&datastore), Some(4_000));
    let between = datastore.reader().unwrap();
    delete(&datastore, 0..200);
    assert_eq!(n_uncovered(&datastore), Some(0), "4,200 changes are too many");
    let reader = datastore.reader().unwrap();
    check_complete(&reader, 3);
    assert!(n_recalled(&reader) >= 970, "{} of 1000 found", n_recalled(&reader));
    assert_eq!(datastore.verify().unwrap().problems, []);
    // Earlier snapshots keep their items, whatever the trees hold.
    for reader in [&before, &between] {
        check_complete(reader, 4);
    }
    assert_eq!((before.len(), between.len(), reader.len()), (6_000, 9_000, 8_800));
}

#[test]
fn a_few_items_have_no_trees() {
    let folder = tempfile::tempdir().unwrap();
    let storage = StorageOptions { indexed_from: 100, ..StorageOptions::default() };
    let datastore = Datastore::create_with(folder.path(), &options(4), storage).unwrap();
    let check = |expected: Option<u64>| {
        assert_eq!(n_uncovered(&datastore), expected);
        let reader = datastore.reader().unwrap();
        check_complete(&reader, 1);
        let always_exact = reader.chosen_mode(1) == Some(SearchMode::Exact);
        assert_eq!(always_exact, expected.is_none());
        assert_eq!(datastore.verify().unwrap().problems, []);
    };
    check(None);
    put(&datastore, 0, &clustered(99, 4, 1));
    check(None);
    put(&datastore, 99, &clustered(1, 4, 2));
    check(Some(0));
    // Trees that are there are kept until half of the items are gone.
    delete(&datastore, 0..50);
    check(Some(50));
    delete(&datastore, 50..51);
    check(None);
    put(&datastore, 200, &clustered(51, 4, 3));
    check(Some(0));
}

#[test]
fn a_changed_list_of_uncovered_items_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 4);
    put(&datastore, 0, &clustered(100, 4, 1));
    put(&datastore, 100, &clustered(5, 4, 2));
    let store = &datastore.shared.store;
    let others: roaring::RoaringBitmap = (0..4).collect();
    for changed in [None, Some(format::encode_ids(&others)), Some(vec![1; 30])] {
        let change = |txn: &mut heed::RwTxn| {
            let meta = store.databases.meta;
            let changed = match &changed {
                Some(bytes) => meta.put(txn, "uncovered", bytes),
                None => meta.delete(txn, "uncovered").map(drop),
            };
            changed.map_err(store.lmdb("changed the list"))
        };
        store.write("changed the list", change).unwrap();
        assert_eq!(datastore.verify().unwrap().n_problems, 1);
        let query = embedding(&[1.0; 4]);
        let reader = datastore.reader().unwrap();
        let found = reader.nearest(query.as_row(), 1, SearchMode::Arroy);
        assert!(matches!(found, Err(Error::DatastoreDamaged { .. })), "{found:?}");
        assert_eq!(reader.nearest(query.as_row(), 1, SearchMode::Exact).unwrap()[0].len(), 1);
    }
}

#[derive(Clone, Debug)]
enum Change {
    Put(u8, i8),
    Delete(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<u8>(), any::<i8>()).prop_map(|(key, value)| Change::Put(key, value)),
        any::<u8>().prop_map(Change::Delete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.div_ceil(8),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_changes_trees_find_all_items_of_every_snapshot(
        commits in prop::collection::vec(prop::collection::vec(change(), 1..20), 1..8),
        reopens: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut datastore = create(folder.path(), 2);
        fill(&datastore, &clustered(200, 2, 1));
        let mut held = vec![datastore.reader().unwrap()];
        for changes in commits {
            let mut writer = datastore.writer().unwrap();
            for change in changes {
                match change {
                    Change::Put(key, value) => {
                        let vector = embedding(&[f32::from(value), 1.0]);
                        writer.put(&key.to_string(), &vector, &["red"], Source::Human).unwrap();
                    }
                    Change::Delete(key) => writer.delete(&key.to_string()).unwrap(),
                }
            }
            writer.commit().unwrap();
            drop(writer);
            if reopens {
                held.clear();
                drop(datastore);
                datastore = Datastore::open_with(folder.path(), &ENCODER, indexed()).unwrap();
            }
            held.push(datastore.reader().unwrap());
            held.iter().zip(1..).for_each(|(reader, seed)| check_complete(reader, seed));
        }
        prop_assert_eq!(datastore.verify().unwrap().problems, []);
    }
}

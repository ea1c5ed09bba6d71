use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;

use ndarray::Array2;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::{Embedding, Error, LabelId, LabelSet, LabelVocabulary};

mod damage;
#[cfg(unix)]
mod places;
mod prepared;
#[cfg(unix)]
mod processes;
mod snapshots;
mod trees;

const ENCODER: Fingerprint = Fingerprint([1; 32]);

/// A map that even creating the databases fills.
const TINY: StorageOptions =
    StorageOptions { initial_map_bytes: 1, staged_bytes: 4096, indexed_from: 0 };

/// Storage options with trees, whatever the number of items.
fn indexed() -> StorageOptions {
    StorageOptions { indexed_from: 0, ..StorageOptions::default() }
}

fn options(dimensions: usize) -> DatastoreOptions {
    let labels = LabelVocabulary::new(["red", "green"]).unwrap();
    DatastoreOptions::new(NonZeroUsize::new(dimensions).unwrap(), ENCODER, labels)
}

fn create(folder: &Path, dimensions: usize) -> Datastore {
    Datastore::create_with(folder, &options(dimensions), indexed()).unwrap()
}

fn embedding(values: &[f32]) -> Embedding {
    Embedding::new(values).unwrap()
}

fn matrix(vectors: &[Vec<f32>]) -> Array2<f32> {
    let shape = (vectors.len(), vectors.first().map_or(0, Vec::len));
    Array2::from_shape_vec(shape, vectors.concat()).unwrap()
}

/// Puts the vectors under their positions as keys and commits.
fn fill(datastore: &Datastore, vectors: &[Vec<f32>]) -> DatastoreReader {
    let mut writer = datastore.writer().unwrap();
    for (position, vector) in vectors.iter().enumerate() {
        let label = ["red", "green"][position % 2];
        writer.put(&position.to_string(), &embedding(vector), &[label], Source::Training).unwrap();
    }
    writer.commit().unwrap();
    datastore.reader().unwrap()
}

fn found_keys(reader: &DatastoreReader, query: &[f32], k: usize, mode: SearchMode) -> Vec<String> {
    let neighbors = reader.nearest(embedding(query).as_row(), k, mode).unwrap().remove(0);
    let key = |neighbor: &Neighbor| reader.key(neighbor.item).unwrap().to_owned();
    neighbors.iter().map(key).collect()
}

/// Vectors around centers, so that neighbors mean something.
fn clustered(n: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut centers = Vec::new();
    for _ in 0..50 {
        centers.push((0..dimensions).map(|_| rng.random_range(-1.0f32..1.0)).collect::<Vec<_>>());
    }
    let around = |center: &Vec<f32>, rng: &mut StdRng| {
        center.iter().map(|value| value + rng.random_range(-0.5..0.5)).collect()
    };
    (0..n).map(|i| around(&centers[i % centers.len()], &mut rng)).collect()
}

/// The expected result of an exact search: (distance, position) of the k nearest.
fn brute_force(vectors: &[Vec<f32>], query: &[f32], k: usize) -> Vec<(f32, usize)> {
    let distance = |vector: &Vec<f32>| {
        let squares = vector.iter().zip(query).map(|(a, b)| (*a as f64 - *b as f64).powi(2));
        (squares.sum::<f64>().sqrt() as f32).min(f32::MAX)
    };
    let mut all: Vec<(f32, usize)> = vectors.iter().map(distance).zip(0..).collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.truncate(k);
    all
}

fn check_exact(vectors: &[Vec<f32>], queries: &[Vec<f32>], k: usize) {
    let folder = tempfile::tempdir().unwrap();
    let reader = fill(&create(folder.path(), queries[0].len()), vectors);
    let found = reader.nearest(matrix(queries).view(), k, SearchMode::Exact).unwrap();
    for (query, neighbors) in queries.iter().zip(found) {
        let found: Vec<(f32, usize)> =
            neighbors.iter().map(|n| (n.distance, n.item.0 as usize)).collect();
        assert_eq!(found, brute_force(vectors, query, k));
    }
}

/// Vectors of few distinct values: duplicates and ties abound.
fn coarse_vectors(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<f32>>> {
    let value = (-2i8..3).prop_map(f32::from);
    let vector = proptest::collection::vec(value, 3);
    let vector = vector.prop_filter("embeddings are not zero", |v| v.iter().any(|x| *x != 0.0));
    proptest::collection::vec(vector, n)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exact_search_is_brute_force_with_duplicates(
        vectors in coarse_vectors(0..60),
        queries in coarse_vectors(1..5),
        k in 0usize..80,
    ) {
        check_exact(&vectors, &queries, k);
    }
}

#[test]
fn exact_search_is_brute_force_over_many_blocks() {
    let vectors = clustered(1_700, 20, 1);
    check_exact(&vectors, &clustered(300, 20, 2), 7);
}

#[test]
fn exact_search_survives_offsets_and_extreme_values() {
    let mut far_away = clustered(600, 8, 3);
    far_away.iter_mut().flatten().for_each(|value| *value = 1_000.0 + *value * 1e-2);
    check_exact(&far_away, &far_away[..3], 5);
    let huge = vec![vec![3e38f32, -3e38], vec![1e30, 0.0], vec![-2e38, 1.0]];
    check_exact(&huge, &[vec![1e30, 1.0], vec![3e38, -3e38]], 2);
    let small = vec![vec![1e-30f32, 0.0], vec![0.0, 2e-30], vec![1e-38, 1e-38]];
    check_exact(&small, &[vec![1e-30, 1e-32]], 3);
}

#[test]
fn a_crowd_of_duplicates_is_found_in_the_order_of_its_numbers() {
    let vectors = vec![vec![0.1f32, 0.7, -0.3]; 2_000];
    check_exact(&vectors, &vectors[..2], 5);
}

#[test]
fn the_trees_recall_at_10_is_at_least_97_percent() {
    let folder = tempfile::tempdir().unwrap();
    let reader = fill(&create(folder.path(), 64), &clustered(5_000, 64, 4));
    let queries = matrix(&clustered(100, 64, 5));
    let exact = reader.nearest(queries.view(), 10, SearchMode::Exact).unwrap();
    let approximate = reader.nearest(queries.view(), 10, SearchMode::Arroy).unwrap();
    let mut n_shared = 0;
    for (exact, approximate) in exact.iter().zip(&approximate) {
        assert_eq!(approximate.len(), 10);
        n_shared += approximate.iter().filter(|neighbor| exact.contains(neighbor)).count();
    }
    assert!(n_shared >= 970, "{n_shared} of 1000 found");
}

#[test]
fn auto_finds_neighbors_whatever_it_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let reader = fill(&create(folder.path(), 8), &clustered(6_000, 8, 6));
    let queries = matrix(&clustered(3, 8, 7));
    let exact = reader.nearest(queries.view(), 1, SearchMode::Exact).unwrap();
    for _ in 0..5 {
        let found = reader.nearest(queries.view(), 1, SearchMode::Auto).unwrap();
        assert_eq!(found.len(), exact.len());
        assert!(found.iter().zip(&exact).filter(|(found, exact)| found == exact).count() >= 2);
    }
    assert!(reader.nearest(Array2::zeros((0, 8)).view(), 1, SearchMode::Auto).unwrap().is_empty());
}

#[test]
fn an_empty_datastore_has_no_neighbors() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 2);
    for mode in [SearchMode::Auto, SearchMode::Exact, SearchMode::Arroy] {
        assert!(found_keys(&datastore.reader().unwrap(), &[1.0, 0.0], 3, mode).is_empty());
    }
    fill(&datastore, &[vec![1.0, 0.0]]);
    let mut writer = datastore.writer().unwrap();
    writer.delete("0").unwrap();
    writer.commit().unwrap();
    for mode in [SearchMode::Auto, SearchMode::Exact, SearchMode::Arroy] {
        assert!(found_keys(&datastore.reader().unwrap(), &[1.0, 0.0], 3, mode).is_empty());
    }
}

#[test]
fn a_reader_keeps_seeing_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 2);
    let before = fill(&datastore, &[vec![1.0, 0.0], vec![0.0, 1.0]]);
    let mut writer = datastore.writer().unwrap();
    writer.delete("0").unwrap();
    writer.put("1", &embedding(&[5.0, 5.0]), &["blue", "red"], Source::Human).unwrap();
    writer.put("2", &embedding(&[1.0, 0.1]), &[], Source::Human).unwrap();
    let unchanged = datastore.reader().unwrap();
    assert_eq!((unchanged.len(), unchanged.labels().len()), (2, 2));
    writer.commit().unwrap();
    for mode in [SearchMode::Exact, SearchMode::Arroy, SearchMode::Auto] {
        assert_eq!(found_keys(&before, &[1.0, 0.0], 5, mode), ["0", "1"]);
    }
    let after = datastore.reader().unwrap();
    for mode in [SearchMode::Exact, SearchMode::Arroy, SearchMode::Auto] {
        assert_eq!(found_keys(&after, &[1.0, 0.0], 5, mode), ["2", "1"]);
    }
    assert_eq!(before.labels().id("blue"), None);
    let blue = after.labels().id("blue").unwrap();
    let item = after.get("1").unwrap().unwrap();
    assert_eq!(item.embedding, embedding(&[5.0, 5.0]));
    assert!(item.labels.contains(blue) && item.labels.len() == 2);
    assert_eq!((item.item, item.source), (ItemId(1), Source::Human));
    assert_eq!(before.get("0").unwrap().unwrap().source, Source::Training);
    assert_eq!(after.get("0").unwrap(), None);
    assert_eq!(after.keys().map(|(_, key)| key).collect::<Vec<_>>(), ["2", "1"]);
}

#[test]
fn operations_on_one_key_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 1);
    let mut writer = datastore.writer().unwrap();
    for (key, value) in [("a", 1.0), ("b", 2.0), ("a", 3.0), ("b", 4.0), ("c", 5.0)] {
        writer.put(key, &embedding(&[value]), &[], Source::Human).unwrap();
    }
    writer.delete("b").unwrap();
    writer.delete("c").unwrap();
    writer.put("c", &embedding(&[6.0]), &[], Source::Human).unwrap();
    writer.commit().unwrap();
    let reader = datastore.reader().unwrap();
    let value = |key| reader.get(key).unwrap().map(|item| item.embedding.values()[0]);
    assert_eq!([value("a"), value("b"), value("c")], [Some(3.0), None, Some(6.0)]);
}

#[test]
fn a_map_that_is_full_grows_and_staged_changes_spill() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = Datastore::create_with(folder.path(), &options(32), TINY).unwrap();
    let vectors = clustered(1_000, 32, 8);
    let reader = fill(&datastore, &vectors);
    assert_eq!(reader.len(), 1_000);
    for position in [0, 512, 999] {
        let item = reader.get(&position.to_string()).unwrap().unwrap();
        assert_eq!(item.embedding.values(), vectors[position]);
    }
}

#[test]
fn what_is_not_committed_is_lost_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    {
        let datastore = Datastore::create_with(folder.path(), &options(32), TINY).unwrap();
        fill(&datastore, &clustered(10, 32, 9));
        let mut writer = datastore.writer().unwrap();
        for (position, vector) in clustered(500, 32, 10).iter().enumerate() {
            let key = format!("lost {position}");
            writer.put(&key, &embedding(vector), &["lost"], Source::Human).unwrap();
        }
    }
    let datastore = Datastore::open(folder.path(), &ENCODER).unwrap();
    let mut writer = datastore.writer().unwrap();
    writer.put("kept", &embedding(&[1.0; 32]), &["kept"], Source::Human).unwrap();
    writer.commit().unwrap();
    let reader = datastore.reader().unwrap();
    assert_eq!(reader.len(), 11);
    assert_eq!(reader.labels().names().collect::<Vec<_>>(), ["red", "green", "kept"]);
}

#[test]
fn a_reopened_datastore_has_what_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = clustered(300, 16, 11);
    let before = {
        let reader = fill(&create(folder.path(), 16), &vectors);
        reader.nearest(embedding(&vectors[3]).as_row(), 5, SearchMode::Exact).unwrap()
    };
    let reader = Datastore::open(folder.path(), &ENCODER).unwrap().reader().unwrap();
    let query = embedding(&vectors[3]);
    for mode in [SearchMode::Exact, SearchMode::Arroy] {
        assert_eq!(reader.nearest(query.as_row(), 5, mode).unwrap(), before);
    }
    assert_eq!((reader.len(), reader.dimensions()), (300, 16));
}

#[test]
fn snapshots_are_used_while_a_writer_commits() {
    let folder = tempfile::tempdir().unwrap();
    let storage = StorageOptions { initial_map_bytes: 1, ..indexed() };
    let datastore = Datastore::create_with(folder.path(), &options(8), storage).unwrap();
    fill(&datastore, &clustered(100, 8, 12));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let reader = datastore.reader().unwrap();
                    let n = reader.len();
                    assert!(n.is_multiple_of(100));
                    for mode in [SearchMode::Exact, SearchMode::Arroy] {
                        assert_eq!(found_keys(&reader, &[0.1; 8], n + 1, mode).len(), n);
                    }
                }
            });
        }
        let mut writer = datastore.writer().unwrap();
        for round in 0..6 {
            for (position, vector) in clustered(100, 8, round).iter().enumerate() {
                let key = format!("{round} {position}");
                writer.put(&key, &embedding(vector), &[], Source::Human).unwrap();
            }
            writer.commit().unwrap();
        }
    });
    assert_eq!(datastore.reader().unwrap().len(), 700);
}

#[test]
fn there_is_one_writer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 2);
    let writer = datastore.writer().unwrap();
    assert!(matches!(datastore.writer(), Err(Error::DatastoreInUse { .. })));
    drop(writer);
    datastore.writer().unwrap();
    // Another process, as far as the lock can tell.
    let file = File::open(folder.path().join("writer.lock")).unwrap();
    file.lock().unwrap();
    assert!(matches!(datastore.writer(), Err(Error::DatastoreInUse { .. })));
}

#[test]
#[cfg(unix)]
fn a_folder_is_opened_once_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    let link = folder.path().join("link");
    let datastore = create(&real, 2);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    for path in [&real, &link, &real.join("../real")] {
        let opened = Datastore::open(path, &ENCODER);
        assert!(matches!(opened, Err(Error::DatastoreInUse { .. })), "{path:?}");
        let opened = Datastore::open_read_only(path, &ENCODER);
        assert!(matches!(opened, Err(Error::DatastoreInUse { .. })), "{path:?}");
    }
    drop(datastore);
    Datastore::open(&link, &ENCODER).unwrap();
}

#[test]
#[cfg(unix)]
fn a_file_is_opened_once_whatever_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (real, other) = (folder.path().join("real"), folder.path().join("other"));
    let datastore = create(&real, 2);
    fs::create_dir(&other).unwrap();
    let link = other.join("data.mdb");
    let refused = || {
        for open in [Datastore::open, Datastore::open_read_only] {
            let opened = open(&other, &ENCODER);
            assert!(matches!(opened, Err(Error::DatastoreInUse { .. })), "{opened:?}");
        }
    };
    fs::hard_link(real.join("data.mdb"), &link).unwrap();
    refused();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(real.join("data.mdb"), &link).unwrap();
    refused();
    // Nothing was done to the one that is open.
    assert_eq!(fill(&datastore, &[vec![1.0, 2.0]]).len(), 1);
    drop(datastore);
    assert_eq!(Datastore::open(&other, &ENCODER).unwrap().reader().unwrap().len(), 1);
}

#[test]
fn folders_without_a_datastore_or_with_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        let opened = Datastore::open(&path, &ENCODER);
        assert!(matches!(opened, Err(Error::NoDatastore { .. })), "{path:?}");
    }
    drop(create(folder.path(), 2));
    let again = Datastore::create(folder.path(), &options(2));
    assert!(matches!(again, Err(Error::DatastoreExists { .. })));
}

#[test]
fn another_encoder_is_refused_with_both_fingerprints() {
    let folder = tempfile::tempdir().unwrap();
    drop(create(folder.path(), 2));
    let other = Fingerprint([2; 32]);
    for opened in
        [Datastore::open(folder.path(), &other), Datastore::open_read_only(folder.path(), &other)]
    {
        assert!(matches!(
            opened,
            Err(Error::EncoderMismatch { expected, found, .. })
                if expected == other && found == ENCODER
        ));
    }
}

#[test]
fn embeddings_and_keys_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 2);
    let mut writer = datastore.writer().unwrap();
    let long = embedding(&[1.0; 3]);
    let put = writer.put("a", &long, &[], Source::Human);
    assert!(matches!(put, Err(Error::Dimensions { expected: 2, found: 3 })));
    let reader = datastore.reader().unwrap();
    let found = reader.nearest(long.as_row(), 1, SearchMode::Exact);
    assert!(matches!(found, Err(Error::Dimensions { expected: 2, found: 3 })));
    let good = embedding(&[1.0; 2]);
    for key in ["", &"x".repeat(512)] {
        assert!(matches!(writer.put(key, &good, &[], Source::Human), Err(Error::Key { .. })));
        assert!(matches!(writer.delete(key), Err(Error::Key { .. })));
    }
    let put = writer.put("a", &good, &["fine", "a\0b"], Source::Human);
    assert!(matches!(put, Err(Error::LabelName { .. })));
    for key in ["nul\0key", &"x".repeat(511)] {
        writer.put(key, &good, &[], Source::Human).unwrap();
        writer.commit().unwrap();
        assert!(datastore.reader().unwrap().get(key).unwrap().is_some());
    }
    assert_eq!(datastore.reader().unwrap().labels().len(), 2);
}

/// Every file of the folder with its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        files.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    files.sort();
    files
}

#[test]
fn a_copy_opened_for_reading_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let datastore = create(&folder.path().join("original"), 16);
    let original = fill(&datastore, &clustered(500, 16, 13));
    datastore.copy_to(&copy).unwrap();
    assert!(matches!(datastore.copy_to(&copy), Err(Error::DatastoreExists { .. })));
    let before = files(&copy);
    let first = Datastore::open_read_only(&copy, &ENCODER).unwrap();
    let second = Datastore::open_read_only(&copy, &ENCODER).unwrap();
    let query = [0.3; 16];
    for (datastore, mode) in [(&first, SearchMode::Arroy), (&second, SearchMode::Exact)] {
        let reader = datastore.reader().unwrap();
        let exact = found_keys(&original, &query, 10, SearchMode::Exact);
        assert_eq!(found_keys(&reader, &query, 500, mode)[..10], exact);
    }
    assert!(matches!(first.writer(), Err(Error::DatastoreReadOnly { .. })));
    assert!(matches!(Datastore::open(&copy, &ENCODER), Err(Error::DatastoreInUse { .. })));
    drop((first, second));
    assert!(matches!(Datastore::create(&copy, &options(16)), Err(Error::DatastoreExists { .. })));
    assert_eq!(files(&copy), before);
    let reopened = Datastore::open(&copy, &ENCODER).unwrap();
    assert_eq!(fill(&reopened, &clustered(501, 16, 14)).len(), 501);
}

/// Overwrites every occurrence of some bytes in the datastore's file.
fn overwrite(folder: &Path, find: &[u8], replace: &[u8]) {
    assert_eq!(find.len(), replace.len());
    let path = folder.join("data.mdb");
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<usize> =
        bytes.windows(find.len()).enumerate().filter(|(_, w)| *w == find).map(|(i, _)| i).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place..place + find.len()].copy_from_slice(replace);
    }
    fs::write(&path, bytes).unwrap();
}

/// Makes a datastore of recognizable content, damages its file, and opens it both ways.
fn check_damaged(damage: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    {
        let datastore = create(folder.path(), 3);
        let mut writer = datastore.writer().unwrap();
        for key in ["first-key", "second-key"] {
            let embedding = embedding(&[12.5, 1234.5, -77.25]);
            writer.put(key, &embedding, &["red", "violet"], Source::Human).unwrap();
        }
        writer.commit().unwrap();
    }
    damage(folder.path());
    for open in [Datastore::open, Datastore::open_read_only] {
        let outcome = open(folder.path(), &ENCODER).and_then(|datastore| datastore.reader());
        assert!(matches!(outcome, Err(Error::DatastoreDamaged { .. })), "{outcome:?}");
    }
}

#[test]
fn damaged_values_are_errors() {
    let vector: Vec<u8> = [12.5f32, 1234.5, -77.25].iter().flat_map(|v| v.to_le_bytes()).collect();
    let not_finite = f32::NAN.to_le_bytes().repeat(3);
    check_damaged(|folder| overwrite(folder, &vector, &not_finite));
    check_damaged(|folder| overwrite(folder, &vector, &[0; 12]));
    check_damaged(|folder| overwrite(folder, b"second-key", b"second\xffkey"));
    check_damaged(|folder| overwrite(folder, b"violet", b"vio\0et"));
    // Labels 0 and 2, and a label that nobody knows.
    check_damaged(|folder| overwrite(folder, &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 72], &[9; 11]));
}

#[test]
fn a_damaged_header_is_an_error_and_a_newer_one_names_its_version() {
    let header = |version: u8, n_trees: u8| {
        [&[version, 0, 0, 0, 3, 0, 0, 0, n_trees, 0, 0, 0], &[1u8; 32][..]].concat()
    };
    check_damaged(|folder| overwrite(folder, &header(4, 10), &header(4, 11)));
    for other in [1, 7] {
        let folder = tempfile::tempdir().unwrap();
        drop(create(folder.path(), 3));
        overwrite(folder.path(), &header(4, 10), &header(other, 10));
        let opened = Datastore::open(folder.path(), &ENCODER).unwrap_err();
        let version = u32::from(other);
        assert!(
            matches!(opened, Error::DatastoreVersion { found, supported: 4, .. } if found == version)
        );
    }
}

#[test]
fn damaged_trees_are_an_error_of_their_search_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(fill(&create(folder.path(), 2), &[vec![1.0, 2.0], vec![2.0, 1.0]]));
    overwrite(folder.path(), b"euclidean\0\0\0\0\x02", b"euclidean\xff\xff\xff\xff\xff");
    let reader = Datastore::open(folder.path(), &ENCODER).unwrap().reader().unwrap();
    let query = embedding(&[1.0, 1.0]);
    let found = reader.nearest(query.as_row(), 1, SearchMode::Arroy);
    assert!(matches!(found, Err(Error::DatastoreDamaged { .. })), "{found:?}");
    assert_eq!(reader.nearest(query.as_row(), 1, SearchMode::Exact).unwrap()[0].len(), 1);
}

#[test]
fn a_truncated_file_is_an_error() {
    let cut = |folder: &Path, keep: fn(u64) -> u64| {
        let file = File::options().write(true).open(folder.join("data.mdb")).unwrap();
        file.set_len(keep(file.metadata().unwrap().len())).unwrap();
    };
    check_damaged(|folder| cut(folder, |_| 0));
    check_damaged(|folder| cut(folder, |_| 100));
    check_damaged(|folder| cut(folder, |_| 2 * 4096));
    check_damaged(|folder| fs::write(folder.join("data.mdb"), vec![0; 1 << 16]).unwrap());
    // Large enough that items lie in the missing half; no trailing page may be missed either.
    let folder = tempfile::tempdir().unwrap();
    drop(fill(&create(folder.path(), 64), &clustered(500, 64, 15)));
    cut(folder.path(), |length| length / 2);
    for open in [Datastore::open_read_only, Datastore::open] {
        let outcome = open(folder.path(), &ENCODER).and_then(|datastore| datastore.reader());
        assert!(matches!(outcome, Err(Error::DatastoreDamaged { .. })), "{outcome:?}");
    }
}

//! Arroy's trees over the items: built within a commit when they have fallen behind, read in short
//! transactions.

use std::num::NonZeroUsize;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::OnceLock;

use arroy::distances::Euclidean;
use heed::types::Bytes;
use heed::{RoTxn, RwTxn};
use ndarray::ArrayView2;
use rand::SeedableRng;
use rand::rngs::StdRng;
use roaring::RoaringBitmap;

use super::environment::{CENTER, UNCOVERED};
use super::format::{Header, decode_ids, decode_vector, encode_ids, encode_vector};
use super::index::{Indexed, NeighborIndex};
use super::report::{DatastoreProblem, DatastoreReport};
use super::store::Store;
use crate::error::StoreFailure;
use crate::{Error, Result, guarded};

use nodes::INDEX;

mod nodes;

/// The third byte of the keys of Arroy's vectors; those of its other nodes are smaller.
const ITEM_MODE: u8 = 3;

/// The trees of one datastore depend on its items alone.
const SEED: u64 = 0x0a07_7a60;

/// A search looks at so many candidates times the square root of the number of items, counted once
/// for each tree that proposes them.
///
/// With 10 trees that gave a recall@10 above .97 on 5,000 to 54,000 vectors; the bench `neighbors`
/// measures it.
const CANDIDATES: f64 = 64.0;

/// The trees are built anew when they do not cover more than one item of so many.
const UNCOVERED_SHARE: u64 = 10;

/// So many items are always searched exactly beside the trees before they are built anew.
const LEAST_UNCOVERED: u64 = 4096;

/// Arroy's trees, with the items' mean beside them, around which they hold the items.
///
/// Why do they lag behind? Arroy takes tens of milliseconds for the smallest change of 100,000 items, and
/// comparing some thousand items exactly takes a search less than one. So a commit only notes which items it
/// changed.
///
/// Why a center? Arroy 0.9 splits by planes through the origin: it drops the offset that it computes
/// for Euclidean distances. Representations that are mostly positive lie on one side of such planes.
/// Distances do not change when all vectors move together, so the trees hold them moved by the items'
/// mean, which is computed anew whenever the items have doubled.
#[derive(Debug, Default)]
pub(super) struct Trees {
    /// Set once Arroy may be let at its nodes; what is written afterwards is right.
    is_checked: OnceLock<()>,
}

impl NeighborIndex for Trees {
    fn update(&self, store: &Store, txn: &mut RwTxn, touched: &RoaringBitmap) -> Result<()> {
        let header = store.header(txn)?;
        let has_trees = header.n_centered > 0;
        if has_trees {
            self.check_once(store, txn)?;
        }
        if touched.is_empty() {
            return Ok(());
        }
        let least = store.storage().indexed_from.max(1);
        if !has_trees && header.n_items < least {
            return Ok(());
        }
        if has_trees && header.n_items < least / 2 {
            return remove(store, txn, header);
        }
        let uncovered = uncovered(store, txn, &header)? | touched;
        let tolerated = LEAST_UNCOVERED.max(header.n_items / UNCOVERED_SHARE);
        if has_trees && uncovered.len() <= tolerated {
            note_uncovered(store, txn, header, &uncovered)
        } else {
            catch_up(store, txn, header, &uncovered)
        }
    }

    fn nearest(
        &self,
        store: &Store,
        txn: &RoTxn,
        queries: ArrayView2<'_, f32>,
        k: usize,
        generation: u64,
    ) -> Result<Option<Indexed>> {
        let header = store.header(txn)?;
        if header.n_centered == 0 || header.trees_generation > generation {
            return Ok(None);
        }
        self.check_once(store, txn)?;
        let mut near = Vec::with_capacity(queries.nrows());
        let center = center(store, txn)?.ok_or_else(|| store.damaged("its center"))?;
        let uncovered = uncovered(store, txn, &header)?;
        let searched = no_panic(store, || -> arroy::Result<()> {
            let reader = arroy::Reader::<Euclidean>::open(txn, INDEX, store.databases.trees)?;
            let covered = reader.item_ids() - &uncovered;
            if covered.is_empty() {
                near.resize(queries.nrows(), Vec::new());
                return Ok(());
            }
            let n_candidates = n_candidates(reader.n_items() as usize, reader.n_trees(), k);
            for query in queries.rows() {
                let query: Vec<f32> = centered(query.iter().copied(), &center).collect();
                let mut search = reader.nns(k);
                search.search_k(n_candidates);
                if !uncovered.is_empty() {
                    search.candidates(&covered);
                }
                near.push(search.by_vector(txn, &query)?.into_iter().map(|(id, _)| id).collect());
            }
            Ok(())
        })?;
        searched.map_err(arroy_error(store, "searched the trees"))?;
        Ok(Some(Indexed { near, uncovered }))
    }

    fn verify(
        &self,
        store: &Store,
        txn: &RoTxn,
        ids: &RoaringBitmap,
        report: &mut DatastoreReport,
    ) -> Result<()> {
        let header = store.header(txn)?;
        let uncovered = uncovered(store, txn, &header)?;
        let Some(center) = center(store, txn)? else {
            if header.n_centered > 0 {
                report.add(DatastoreProblem::ChangedTrees);
            }
            return Ok(());
        };
        if header.n_centered == 0 || !are_whole(store, txn, &header)? {
            // What leads back to itself would be followed for ever.
            report.add(DatastoreProblem::ChangedTrees);
            return Ok(());
        }
        let (ids, reached) = (ids - &uncovered, reached(store, txn)? - &uncovered);
        for item in &ids ^ &reached {
            report.add(DatastoreProblem::Trees { item });
        }
        for item in &ids & &reached {
            let record = match store.item(txn, item) {
                Ok(Some(record)) => record,
                // Reported already.
                Ok(None) | Err(Error::DatastoreDamaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let stored = vector(store, txn, item)?;
            let is_same = stored.is_some_and(|stored| {
                let expected = centered(record.values(), &center).map(f32::to_bits);
                stored.iter().copied().map(f32::to_bits).eq(expected)
            });
            if !is_same {
                report.add(DatastoreProblem::Trees { item });
            }
        }
        Ok(())
    }
}

impl Trees {
    /// Checks Arroy's nodes before the first use of them.
    fn check_once(&self, store: &Store, txn: &RoTxn) -> Result<()> {
        if self.is_checked.get().is_none() {
            if !are_whole(store, txn, &store.header(txn)?)? {
                return Err(store.damaged("its trees"));
            }
            let _ = self.is_checked.set(());
        }
        Ok(())
    }
}

/// Returns the point that the trees take for the origin; `None` before there are trees.
fn center(store: &Store, txn: &RoTxn) -> Result<Option<Vec<f32>>> {
    let bytes = store.databases.meta.get(txn, CENTER).map_err(store.lmdb("read its center"))?;
    let decode =
        |bytes| decode_vector(bytes, store.dimensions).ok_or_else(|| store.damaged("its center"));
    bytes.map(decode).transpose()
}

/// Returns the numbers of the items that the trees do not cover, and of those that they hold although
/// they were deleted.
fn uncovered(store: &Store, txn: &RoTxn, header: &Header) -> Result<RoaringBitmap> {
    let bytes = store.databases.meta.get(txn, UNCOVERED);
    let bytes = bytes.map_err(store.lmdb("read the uncovered items"))?;
    let ids = bytes.map_or_else(|| Some(RoaringBitmap::new()), decode_ids);
    let is_whole = |ids: &RoaringBitmap| ids.len() == header.n_uncovered;
    ids.filter(is_whole).ok_or_else(|| store.damaged("its list of uncovered items"))
}

/// Writes the numbers of the items that the trees do not cover.
fn note_uncovered(
    store: &Store,
    txn: &mut RwTxn,
    mut header: Header,
    ids: &RoaringBitmap,
) -> Result<()> {
    let meta = store.databases.meta;
    let noted = match ids.is_empty() {
        true => meta.delete(txn, UNCOVERED).map(drop),
        false => meta.put(txn, UNCOVERED, &encode_ids(ids)),
    };
    noted.map_err(store.lmdb("wrote the uncovered items"))?;
    header.n_uncovered = ids.len();
    store.put_header(txn, &header)
}

/// Brings the trees to the items as they are now, of which they do not cover some.
fn catch_up(
    store: &Store,
    txn: &mut RwTxn,
    mut header: Header,
    uncovered: &RoaringBitmap,
) -> Result<()> {
    let n_uncovered = uncovered.len();
    let _span = tracing::debug_span!("index", header.n_items, n_uncovered).entered();
    match center(store, txn)? {
        Some(center) if header.n_items <= header.n_centered.saturating_mul(2) => {
            replace(store, txn, uncovered, &center)?;
        }
        _ => {
            rebuild(store, txn)?;
            header.n_centered = header.n_items;
        }
    }
    build(store, txn, header.n_trees as usize)?;
    header.trees_checksum = checksum(store, txn)?;
    header.trees_generation = header.generation;
    note_uncovered(store, txn, header, &RoaringBitmap::new())
}

/// Removes the trees, which are not worth their room any more.
fn remove(store: &Store, txn: &mut RwTxn, mut header: Header) -> Result<()> {
    let deleted = store.databases.meta.delete(txn, CENTER);
    deleted.map_err(store.lmdb("removed its center"))?;
    clear(store, txn)?;
    (header.n_centered, header.trees_checksum) = (0, 0);
    note_uncovered(store, txn, header, &RoaringBitmap::new())
}

/// Puts all items into empty trees, around their own center.
fn rebuild(store: &Store, txn: &mut RwTxn) -> Result<()> {
    let mut sum = vec![0.0f64; store.dimensions];
    let mut ids = RoaringBitmap::new();
    for item in store.items(txn)? {
        let (id, record) = item?;
        sum.iter_mut().zip(record.values()).for_each(|(sum, value)| *sum += f64::from(value));
        ids.insert(id);
    }
    let n_items = ids.len().max(1) as f64;
    let center: Vec<f32> = sum.into_iter().map(|sum| (sum / n_items) as f32).collect();
    let put = store.databases.meta.put(txn, CENTER, &encode_vector(&center));
    put.map_err(store.lmdb("wrote its center"))?;
    clear(store, txn)?;
    replace(store, txn, &ids, &center)
}

fn clear(store: &Store, txn: &mut RwTxn) -> Result<()> {
    store.databases.trees.clear(txn).map_err(store.lmdb("cleared the trees"))
}

/// Gives the trees the items of these numbers as they are now.
fn replace(store: &Store, txn: &mut RwTxn, ids: &RoaringBitmap, center: &[f32]) -> Result<()> {
    let writer = writer(store);
    let mut vector = Vec::with_capacity(store.dimensions);
    for id in ids {
        let Some(record) = store.item(txn, id)? else {
            let deleted = writer.del_item(txn, id);
            deleted.map_err(arroy_error(store, "deleted an item"))?;
            continue;
        };
        vector.clear();
        vector.extend(centered(record.values(), center));
        writer.add_item(txn, id, &vector).map_err(arroy_error(store, "added an item"))?;
    }
    Ok(())
}

/// Returns a vector as the trees hold it.
fn centered(values: impl Iterator<Item = f32>, center: &[f32]) -> impl Iterator<Item = f32> {
    values.zip(center).map(|(value, center)| value - center)
}

/// Rebuilds what the changes touch: Arroy refuses to read before that.
fn build(store: &Store, txn: &mut RwTxn, n_trees: usize) -> Result<()> {
    let mut writer = writer(store);
    writer.set_tmpdir(store.folder());
    let mut rng = StdRng::seed_from_u64(SEED);
    let built = no_panic(store, || writer.builder(&mut rng).n_trees(n_trees).build(txn))?;
    built.map_err(arroy_error(store, "built the trees"))
}

/// Tells whether Arroy's nodes are those that were written, and such as it can follow.
fn are_whole(store: &Store, txn: &RoTxn, header: &Header) -> Result<bool> {
    Ok(nodes::can_be_followed(store, txn)? && checksum(store, txn)? == header.trees_checksum)
}

/// Computes the checksum of Arroy's nodes, without the vectors, which stand behind them.
pub(super) fn checksum(store: &Store, txn: &RoTxn) -> Result<u32> {
    let lmdb = store.lmdb("read the trees");
    let nodes = store.databases.trees.remap_types::<Bytes, Bytes>();
    let mut hasher = crc32fast::Hasher::new();
    let end = [&INDEX.to_be_bytes()[..], &[ITEM_MODE]].concat();
    for entry in nodes.range(txn, &(Unbounded, Excluded(&end[..]))).map_err(&lmdb)? {
        let (key, bytes) = entry.map_err(&lmdb)?;
        hasher.update(key);
        hasher.update(bytes);
    }
    Ok(hasher.finalize())
}

/// Follows every branch of the trees, and returns the numbers of the items that they lead to.
fn reached(store: &Store, txn: &RoTxn) -> Result<RoaringBitmap> {
    let found = no_panic(store, || -> arroy::Result<RoaringBitmap> {
        let reader = arroy::Reader::<Euclidean>::open(txn, INDEX, store.databases.trees)?;
        let mut search = reader.nns(reader.n_items() as usize);
        search.search_k(NonZeroUsize::MAX);
        let anywhere = vec![1.0; store.dimensions];
        Ok(search.by_vector(txn, &anywhere)?.into_iter().map(|(id, _)| id).collect())
    })?;
    found.map_err(arroy_error(store, "followed the trees"))
}

/// Returns the vector that the trees have for an item.
fn vector(store: &Store, txn: &RoTxn, id: u32) -> Result<Option<Vec<f32>>> {
    let found = no_panic(store, || writer(store).item_vector(txn, id))?;
    found.map_err(arroy_error(store, "read an item"))
}

fn n_candidates(n_items: usize, n_trees: usize, k: usize) -> NonZeroUsize {
    let wanted = (CANDIDATES * (n_items as f64).sqrt()) as usize;
    let wanted = wanted.max(k.saturating_mul(n_trees));
    NonZeroUsize::new(wanted).unwrap_or(NonZeroUsize::MIN)
}

fn writer(store: &Store) -> arroy::Writer<Euclidean> {
    arroy::Writer::new(store.databases.trees, INDEX, store.dimensions)
}

fn arroy_error(store: &Store, action: &'static str) -> impl Fn(arroy::Error) -> Error {
    move |error| match error {
        arroy::Error::Heed(heed::Error::Decoding(_))
        | arroy::Error::MissingKey { .. }
        | arroy::Error::CannotDecodeKeyMode { .. }
        | arroy::Error::MissingMetadata(_)
        | arroy::Error::UnmatchingDistance { .. }
        | arroy::Error::NeedBuild(_) => store.damaged("its trees"),
        source => {
            let source = StoreFailure::Arroy(source).into();
            Error::Arroy { path: store.folder().to_owned(), action, source }
        }
    }
}

/// Runs Arroy, which panics where its nodes are damaged.
fn no_panic<T>(store: &Store, run: impl FnOnce() -> T) -> Result<T> {
    guarded(run).map_err(|_| store.damaged("its trees"))
}

//! Arroy's trees over the items: built within each commit, read in short transactions.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arroy::distances::Euclidean;
use heed::{RoTxn, RwTxn};
use rand::SeedableRng;
use rand::rngs::StdRng;
use roaring::RoaringBitmap;

use super::store::Store;
use crate::{Error, Result};

/// Arroy can hold several indexes in one database; ours has one.
const INDEX: u16 = 0;

/// The trees of one datastore depend on its items alone.
const SEED: u64 = 0x0a07_7a60;

/// A search looks at so many candidates times the square root of the number of items, counted once
/// for each tree that proposes them.
///
/// With 10 trees that gave a recall@10 above .97 on 5,000 to 54,000 vectors; the bench `neighbors`
/// measures it.
const CANDIDATES: f64 = 64.0;

pub(super) fn put(store: &Store, txn: &mut RwTxn, id: u32, embedding: &[f32]) -> Result<()> {
    writer(store).add_item(txn, id, embedding).map_err(arroy_error(store, "added an item"))
}

pub(super) fn delete(store: &Store, txn: &mut RwTxn, id: u32) -> Result<()> {
    let deleted = writer(store).del_item(txn, id);
    deleted.map(drop).map_err(arroy_error(store, "deleted an item"))
}

/// Rebuilds what the changes touch; Arroy refuses to read before that.
pub(super) fn build(store: &Store, txn: &mut RwTxn, n_trees: usize) -> Result<()> {
    let mut writer = writer(store);
    writer.set_tmpdir(store.folder());
    let mut rng = StdRng::seed_from_u64(SEED);
    let built = no_panic(store, || writer.builder(&mut rng).n_trees(n_trees).build(txn))?;
    built.map_err(arroy_error(store, "built the trees"))
}

/// Finds the numbers of about k nearest items for each query, in no particular order.
pub(super) fn nearest(
    store: &Store,
    txn: &RoTxn,
    queries: &[&[f32]],
    k: usize,
) -> Result<Vec<Vec<u32>>> {
    let mut found = Vec::with_capacity(queries.len());
    let searched = no_panic(store, || -> arroy::Result<()> {
        let reader = arroy::Reader::<Euclidean>::open(txn, INDEX, store.databases.trees)?;
        let n_candidates = n_candidates(reader.n_items() as usize, reader.n_trees(), k);
        for query in queries {
            let mut search = reader.nns(k);
            search.search_k(n_candidates);
            found.push(search.by_vector(txn, query)?.into_iter().map(|(id, _)| id).collect());
        }
        Ok(())
    })?;
    searched.map_err(arroy_error(store, "searched the trees"))?;
    Ok(found)
}

/// Follows every branch of the trees, and returns the numbers of the items that they lead to.
pub(super) fn reached(store: &Store, txn: &RoTxn) -> Result<RoaringBitmap> {
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
pub(super) fn vector(store: &Store, txn: &RoTxn, id: u32) -> Result<Option<Vec<f32>>> {
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
        source => Error::Arroy { path: store.folder().to_owned(), action, source },
    }
}

/// Runs Arroy, which panics where its nodes are damaged.
fn no_panic<T>(store: &Store, run: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| store.damaged("its trees"))
}

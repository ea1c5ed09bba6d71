//! The check of Arroy's nodes, which Arroy follows without one.
//!
//! It goes round for ever where a node leads back to one above, recurses as deep as the trees are, and
//! reads as many values of one vector as another one has. A checksum tells of damage, but not of
//! nodes that somebody made so. The layout is that of Arroy 0.9.

use heed::types::Bytes;
use heed::{Database, RoTxn};
use roaring::RoaringBitmap;

use super::super::store::Store;
use crate::Result;

/// Arroy can hold several indexes in one database; ours has one.
pub(super) const INDEX: u16 = 0;

/// The third byte of a key says what the node is: the description of the trees, a node of theirs, or a
/// vector.
const METADATA: u8 = 0;
const TREE: u8 = 2;
const VECTOR: u8 = 3;

/// The first byte of a node in a tree or of a vector.
const VECTOR_TAG: u8 = 0;
const LIST_TAG: u8 = 1;
const SPLIT_TAG: u8 = 2;

/// The bytes before a vector's values: the tag and a number.
const VECTOR_HEADER: usize = 5;

/// The bytes before the values of a split's plane: the tag and the two nodes below.
const SPLIT_HEADER: usize = 11;

/// Trees over a billion vectors are not as deep, and Arroy recurses.
const MAX_DEPTH: u32 = 2000;

type Nodes = Database<'static, Bytes, Bytes>;

/// Tells whether Arroy ends whatever it does with its nodes, and reads nothing but them.
pub(super) fn can_be_followed(store: &Store, txn: &RoTxn) -> Result<bool> {
    let lmdb = store.lmdb("read the trees");
    let nodes: Nodes = store.databases.trees.remap_types();
    for entry in nodes.iter(txn).map_err(&lmdb)? {
        let (key, bytes) = entry.map_err(&lmdb)?;
        if !is_sound(key, bytes, store.dimensions) {
            return Ok(false);
        }
    }
    let description = nodes.get(txn, &key(METADATA, 0)).map_err(&lmdb)?;
    let Some(description) = description else { return Ok(true) };
    match roots(description, store.dimensions) {
        Some(roots) => are_trees(&nodes, txn, roots).map_err(lmdb),
        None => Ok(false),
    }
}

/// Tells whether a node has the length that its kind has.
fn is_sound(key: &[u8], bytes: &[u8], dimensions: usize) -> bool {
    let Some(&[first, second, mode, ..]) = key.first_chunk::<8>() else { return false };
    if key.len() != 8 || [first, second] != INDEX.to_be_bytes() {
        return false;
    }
    match (mode, bytes.first()) {
        (VECTOR, Some(&VECTOR_TAG)) => bytes.len() == VECTOR_HEADER + 4 * dimensions,
        (TREE, Some(&SPLIT_TAG)) => bytes.len() == SPLIT_HEADER + 4 * dimensions,
        (TREE, Some(&LIST_TAG)) => true,
        (VECTOR | TREE, _) => false,
        _ => true,
    }
}

/// Reads the numbers of the trees' roots: they stand behind the distance's name, the dimensions, and
/// the set of items after its length.
fn roots(description: &[u8], dimensions: usize) -> Option<Vec<u32>> {
    let name = description.iter().position(|byte| *byte == 0)?;
    let (found, rest) = description.get(name + 1..)?.split_first_chunk::<4>()?;
    let (n_bytes, rest) = rest.split_first_chunk::<4>()?;
    let roots = rest.get(u32::from_be_bytes(*n_bytes) as usize..)?.chunks_exact(4);
    let is_whole =
        roots.remainder().is_empty() && u32::from_be_bytes(*found) as usize == dimensions;
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).unwrap_or_default();
    is_whole.then(|| roots.map(number).collect())
}

/// Tells whether no node is reached twice or too deep, and every one is there.
fn are_trees(nodes: &Nodes, txn: &RoTxn, roots: Vec<u32>) -> heed::Result<bool> {
    let mut waiting: Vec<(u32, u32)> = roots.into_iter().map(|root| (root, 1)).collect();
    let mut reached = RoaringBitmap::new();
    while let Some((number, depth)) = waiting.pop() {
        let Some(bytes) = nodes.get(txn, &key(TREE, number))? else { return Ok(false) };
        if !reached.insert(number) || depth > MAX_DEPTH {
            return Ok(false);
        }
        let Some((&[SPLIT_TAG, ref below @ ..], _)) = bytes.split_first_chunk::<SPLIT_HEADER>()
        else {
            continue;
        };
        for &[mode, ref number @ ..] in below.as_chunks::<5>().0 {
            match mode {
                TREE => waiting.push((u32::from_be_bytes(*number), depth + 1)),
                VECTOR => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

fn key(mode: u8, number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_be_bytes();
    let [first, second] = INDEX.to_be_bytes();
    [first, second, mode, a, b, c, d, 0]
}

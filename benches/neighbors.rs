//! The cost of neighbors: building a datastore, and searching it exactly and by Arroy's trees.
//!
//! ```text
//! cargo bench --bench neighbors -- [--items N] [--dimensions D] [--datastore FOLDER]
//! ```
//!
//! Without a folder it makes clustered vectors of its own. The queries are stored items, which look
//! for the items nearest to themselves, themselves left out.

#![allow(clippy::print_stdout)]

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use autotag::{
    Datastore, DatastoreOptions, DatastoreReader, Embedding, Error, Fingerprint, ItemId,
    LabelVocabulary, Neighbor, SearchMode, Source, StorageOptions,
};
use ndarray::{Array2, ArrayView2, Axis};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const N_QUERIES: usize = 256;
const K: usize = 10;
/// The number of directions in which made vectors differ most.
const LATENT: usize = 20;
const ENCODER: Fingerprint = Fingerprint([0; 32]);

struct Arguments {
    n_items: usize,
    dimensions: usize,
    datastore: Option<String>,
}

fn main() -> Result<()> {
    let arguments = parse(std::env::args().skip(1))?;
    let folder = tempfile::tempdir()?;
    let datastore = match &arguments.datastore {
        Some(folder) => open(Path::new(folder))?,
        None => build(folder.path(), arguments.n_items, arguments.dimensions)?,
    };
    let started = Instant::now();
    let reader = datastore.reader()?;
    println!("{} items x {} dimensions", reader.len(), reader.dimensions());
    println!("load a snapshot       {:9.1} ms", milliseconds(started.elapsed()));
    search(&reader)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut parsed = Arguments { n_items: 30_000, dimensions: 300, datastore: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--items" => parsed.n_items = value()?.parse()?,
            "--dimensions" => parsed.dimensions = value()?.parse()?,
            "--datastore" => parsed.datastore = Some(value()?),
            // Cargo passes it to every bench.
            "--bench" => {}
            other => bail!("{other} is unknown: --items N, --dimensions D, --datastore FOLDER"),
        }
    }
    Ok(parsed)
}

/// Opens a datastore whatever encoder filled it.
fn open(folder: &Path) -> Result<Datastore> {
    match Datastore::open_read_only(folder, &ENCODER) {
        Err(Error::EncoderMismatch { found, .. }) => Ok(Datastore::open_read_only(folder, &found)?),
        opened => Ok(opened?),
    }
}

fn build(folder: &Path, n_items: usize, dimensions: usize) -> Result<Datastore> {
    let vectors = clustered(n_items, dimensions);
    let dimensions = NonZeroUsize::new(dimensions).context("--dimensions must not be 0")?;
    let options = DatastoreOptions::new(dimensions, ENCODER, LabelVocabulary::new(["label"])?);
    // With trees, whatever the number of items, so that both searches are measured.
    let storage = StorageOptions { indexed_from: 0, ..StorageOptions::default() };
    let datastore = Datastore::create_with(folder, &options, storage)?;
    let started = Instant::now();
    let mut writer = datastore.writer()?;
    for (position, vector) in vectors.into_iter().enumerate() {
        let embedding = Embedding::new(vector)?;
        writer.put(&position.to_string(), &embedding, &["label"], Source::Training)?;
    }
    writer.commit()?;
    println!("put and commit        {:9.1} ms", milliseconds(started.elapsed()));
    for n_more in [1, 1_000] {
        for number in 0..n_more {
            let embedding =
                Embedding::new(vec![1.0 + number as f32 / n_more as f32; dimensions.get()])?;
            writer.put(&format!("{number} of {n_more}"), &embedding, &[], Source::Human)?;
        }
        let started = Instant::now();
        writer.commit()?;
        println!("commit {n_more:4} more      {:9.1} ms", milliseconds(started.elapsed()));
    }
    Ok(datastore)
}

/// Makes vectors like a model's: few directions carry what tells them apart, clusters overlap, and
/// no value is negative.
fn clustered(n_items: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(1);
    // The sum of 4 uniform values is close to normal.
    let mut normal = || (0..4).map(|_| rng.random_range(-0.87f32..0.87)).sum::<f32>();
    let mut normals = |n: usize| -> Vec<f32> { (0..n).map(|_| normal()).collect() };
    let directions = normals(LATENT * dimensions);
    let centers = normals(LATENT * (n_items / 100 + 1));
    let mut vectors = Vec::with_capacity(n_items);
    for item in 0..n_items {
        let center = centers.chunks_exact(LATENT).nth(item % (n_items / 100 + 1));
        let center = center.expect("there are as many centers");
        let latent: Vec<f32> = center.iter().zip(normals(LATENT)).map(|(c, n)| c + n).collect();
        let mut vector = normals(dimensions);
        for (value, direction) in vector.iter_mut().zip(directions.chunks_exact(LATENT)) {
            let projected: f32 = latent.iter().zip(direction).map(|(a, b)| a * b).sum();
            *value = (projected + *value).max(0.0);
        }
        vectors.push(vector);
    }
    vectors
}

fn search(reader: &DatastoreReader) -> Result<()> {
    let mut queries = Vec::new();
    let step = (reader.len() / N_QUERIES).max(1);
    for (item, key) in reader.keys().step_by(step).take(N_QUERIES) {
        let stored = reader.get(key)?.context("a key of this snapshot is in it")?;
        queries.push((item, stored.embedding));
    }
    let values = queries.iter().flat_map(|(_, embedding)| embedding.values().iter().copied());
    let embeddings =
        Array2::from_shape_vec((queries.len(), reader.dimensions()), values.collect())?;
    let mut exact = Vec::new();
    for (name, mode) in [("exact", SearchMode::Exact), ("arroy", SearchMode::Arroy)] {
        for n_queries in [1, 16, N_QUERIES] {
            let (found, time) = timed(reader, embeddings.view(), n_queries, mode)?;
            println!("{name}, batches of {n_queries:3} {:9.3} ms per query", milliseconds(time));
            if mode == SearchMode::Exact {
                exact = found;
            } else if n_queries == N_QUERIES {
                println!("recall@1  of the trees {:8.3}", recall(&queries, &exact, &found, 1));
                println!("recall@10 of the trees {:8.3}", recall(&queries, &exact, &found, K));
            }
        }
    }
    for n_queries in [1, 16, N_QUERIES] {
        timed(reader, embeddings.view(), n_queries, SearchMode::Auto)?;
        timed(reader, embeddings.view(), n_queries, SearchMode::Auto)?;
        timed(reader, embeddings.view(), n_queries, SearchMode::Auto)?;
        println!("auto, batches of {n_queries:3}  {:?}", reader.chosen_mode(n_queries));
    }
    Ok(())
}

/// Searches all queries in batches, three times; returns the answers and the best time for one.
fn timed(
    reader: &DatastoreReader,
    queries: ArrayView2<'_, f32>,
    n_queries: usize,
    mode: SearchMode,
) -> Result<(Vec<Vec<Neighbor>>, Duration)> {
    let mut found = Vec::new();
    let mut best = Duration::MAX;
    for _ in 0..3 {
        found.clear();
        let started = Instant::now();
        for batch in queries.axis_chunks_iter(Axis(0), n_queries) {
            found.extend(reader.nearest(batch, K + 1, mode)?);
        }
        best = best.min(started.elapsed());
    }
    Ok((found, best / queries.nrows() as u32))
}

/// Returns the share of the k nearest items, the query left out, that the trees find too.
fn recall(
    queries: &[(ItemId, Embedding)],
    exact: &[Vec<Neighbor>],
    found: &[Vec<Neighbor>],
    k: usize,
) -> f64 {
    let (mut n_shared, mut n_expected) = (0, 0);
    for (((query, _), exact), found) in queries.iter().zip(exact).zip(found) {
        let others = exact.iter().filter(|neighbor| neighbor.item != *query).take(k);
        for expected in others {
            n_expected += 1;
            n_shared += usize::from(found.iter().any(|neighbor| neighbor.item == expected.item));
        }
    }
    f64::from(n_shared as u32) / f64::from(n_expected.max(1) as u32)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

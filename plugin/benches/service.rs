//! The costs that an indexing service sees beside its model: the writer, callers at once, one label.
//!
//! ```text
//! cargo bench -p tantivy-autotag --bench service -- writer|callers|neighbor [N]
//! ```
//!
//! The encoder costs next to nothing, so that times are those of the queue and of both stores.

#![allow(clippy::print_stdout)]

#[path = "common/indexes.rs"]
mod indexes;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use autotag::ndarray::Array2;
use autotag::{
    Embedding, EncodeError, EncodedBatch, Encoder, Fingerprint, LabelVocabulary, Tagger,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tantivy::indexer::IndexWriterOptions;
use tantivy::schema::{STORED, STRING, Schema, TEXT};
use tantivy::{Index, IndexWriter, TantivyDocument, Term};
use tantivy_autotag::{IndexFolder, TagFields, TaggingWriter, WriterOptions};

use indexes::{ENCODER, Texts, document};

const DIMENSIONS: usize = 128;
const N_DOCUMENTS: usize = 40_000;
const PER_COMMIT: usize = 10_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("writer") => writer(),
        Some("callers") => callers(),
        Some("neighbor") => match arguments.next() {
            Some(n) => neighbor(n.parse()?),
            None => neighbor(1).and_then(|()| neighbor(100_000)).and_then(|()| neighbor(1_000_000)),
        },
        None => writer().and_then(|()| callers()).and_then(|()| neighbor(100_000)),
        Some(other) => bail!("{other} is unknown: writer, callers or neighbor"),
    }
}

/// Compares the tagging writer with Tantivy's own on the same documents, three times in turn.
fn writer() -> Result<()> {
    let texts = texts(N_DOCUMENTS);
    println!("{N_DOCUMENTS} documents, commits of {PER_COMMIT}");
    println!("Tantivy s  autotag s  ratio");
    for _ in 0..3 {
        let (plain, tagging) = (plain(&texts)?, tagging(&texts, 1)?);
        let ratio = tagging.as_secs_f64() / plain.as_secs_f64();
        println!("{:9.2}  {:9.2}  {ratio:5.2}", plain.as_secs_f64(), tagging.as_secs_f64());
    }
    Ok(())
}

/// Lets 1, 4 and 16 threads add documents at once.
fn callers() -> Result<()> {
    let texts = texts(N_DOCUMENTS);
    println!("callers  documents/s");
    for n_callers in [1, 4, 16] {
        let time = tagging(&texts, n_callers)?.as_secs_f64();
        println!("{n_callers:7}  {:11.0}", N_DOCUMENTS as f64 / time);
    }
    Ok(())
}

/// Measures the way of one labeled document to a neighbor that votes, among so many others.
fn neighbor(n_neighbors: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let index = index(folder.path(), n_neighbors)?;
    let writer = open(&index)?;
    let fields = TagFields::from_schema(writer.schema(), index.names())?;
    let mut times = Vec::new();
    for number in 0..20 {
        let started = Instant::now();
        let text = format!("label of its own {number}");
        writer.add_labeled(document(&fields, &format!("new {number}"), &text), ["new::label"])?;
        writer.commit()?;
        times.push(started.elapsed());
        // It votes.
        let probe = format!("probe {number}");
        writer.add(document(&fields, &probe, &text))?;
        writer.commit()?;
        let found = index.searcher()?.document(&probe)?.context("it was committed")?;
        let evidence = found.evidence.context("it was tagged")?;
        let nearest = evidence.neighbors.first().context("it has neighbors")?;
        anyhow::ensure!(nearest.distance == 0.0, "the new neighbor does not vote");
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "one label among {n_neighbors:7}  median {:7.1} ms  worst {:7.1} ms",
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3
    );
    writer.close()?;
    Ok(())
}

fn plain(texts: &[String]) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let mut schema = Schema::builder();
    let key = schema.add_text_field("id", STRING | STORED);
    let body = schema.add_text_field("text", TEXT | STORED);
    let index = Index::create_in_dir(folder.path(), schema.build())?;
    let options = WriterOptions::default();
    let writer_options = IndexWriterOptions::builder()
        .num_worker_threads(options.tantivy_threads.get())
        .memory_budget_per_thread(options.tantivy_memory)
        .num_merge_threads(1)
        .build();
    let mut writer: IndexWriter = index.writer_with_options(writer_options)?;
    let started = Instant::now();
    for (number, text) in texts.iter().enumerate() {
        let id = format!("document {number}");
        // As the tagging writer does: a document takes the place of the one that has its key.
        writer.delete_term(Term::from_field_text(key, &id));
        let mut document = TantivyDocument::new();
        document.add_text(key, id);
        document.add_text(body, text);
        writer.add_document(document)?;
        if (number + 1) % PER_COMMIT == 0 {
            writer.commit()?;
        }
    }
    let time = started.elapsed();
    writer.wait_merging_threads()?;
    Ok(time)
}

/// Adds the documents from so many threads; whoever adds the last of a commit makes it.
fn tagging(texts: &[String], n_callers: usize) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let index = index(folder.path(), 1)?;
    let writer = open(&index)?;
    let fields = TagFields::from_schema(writer.schema(), index.names())?;
    let started = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let callers: Vec<_> = (0..n_callers)
            .map(|caller| {
                let (writer, fields) = (&writer, &fields);
                scope.spawn(move || -> Result<()> {
                    for (number, text) in texts.iter().enumerate().skip(caller).step_by(n_callers) {
                        writer.add(document(fields, &format!("document {number}"), text))?;
                        if (number + 1) % PER_COMMIT == 0 {
                            writer.commit()?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| caller.join().expect("a caller panicked"))
    })?;
    writer.commit()?;
    let time = started.elapsed();
    writer.close()?;
    Ok(time)
}

fn index(folder: &Path, n_neighbors: usize) -> Result<IndexFolder> {
    let mut rng = StdRng::seed_from_u64(0);
    let neighbors = (0..n_neighbors).map(move |number| {
        let vector: Vec<f32> = (0..DIMENSIONS).map(|_| rng.random::<f32>() - 0.5).collect();
        (Embedding::new(vector).expect("it is not zero"), format!("label {}", number % 300))
    });
    indexes::index(&folder.join("index"), DIMENSIONS, LabelVocabulary::default(), neighbors)
}

fn open(index: &IndexFolder) -> Result<TaggingWriter<Free>> {
    let tagger = Tagger::new(Arc::new(Free { labels: LabelVocabulary::default() }));
    Ok(index.writer(tagger, WriterOptions::default())?)
}

fn texts(n_texts: usize) -> Vec<String> {
    let mut texts = Texts::new(1);
    (0..n_texts).map(|_| texts.text()).collect()
}

/// An encoder that looks at a text's length and its last bytes only.
struct Free {
    labels: LabelVocabulary,
}

impl Encoder for Free {
    type Tokens = [u8; 9];

    fn labels(&self) -> &LabelVocabulary {
        &self.labels
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn fingerprint(&self) -> Fingerprint {
        ENCODER
    }

    fn tokenize(&self, text: &str) -> Result<Self::Tokens, EncodeError> {
        let mut tokens = [text.len() as u8; 9];
        for (token, byte) in tokens[1..].iter_mut().zip(text.bytes().rev()) {
            *token = byte;
        }
        Ok(tokens)
    }

    fn token_count(_: &Self::Tokens) -> usize {
        1
    }

    fn encode(&self, batch: &[Self::Tokens]) -> EncodedBatch {
        let value = |(row, at): (usize, usize)| {
            let tokens = &batch[row];
            1.0 + f32::from(tokens[at % tokens.len()])
        };
        EncodedBatch::new(Array2::from_shape_fn((batch.len(), DIMENSIONS), value), None)
    }
}

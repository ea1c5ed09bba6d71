//! The cost of crash safety: the journal, memory, disk, and adding to many neighbors.
//!
//! ```text
//! cargo bench -p tantivy-autotag --bench ingest -- journal|append|memory|disk
//! ```
//!
//! Texts are encoded by hashing their words, which costs next to nothing, so that shares are those
//! of the stores.

#![allow(clippy::print_stdout)]

#[path = "common/indexes.rs"]
mod indexes;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use autotag::{
    Datastore, DocumentRecord, Embedding, EncodeError, Encoded, EncodedBatch, Encoder, Fingerprint,
    LabelSet, LabelVocabulary, Review, Scores, Source, Tagger,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tantivy_autotag::{IndexFolder, TagFields, TaggingWriter, WriterOptions};

use indexes::{ENCODER, Texts, document};

const DIMENSIONS: usize = 300;
const N_LABELS: usize = 341;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("journal") => journal(),
        Some("append") => append(),
        Some("memory") => memory(),
        Some("disk") => disk(),
        None => journal().and_then(|()| append()),
        Some(other) => bail!("{other} is unknown: journal, append, memory or disk"),
    }
}

/// Compares staging and committing as the writer does, journal included, with committing at once.
fn journal() -> Result<()> {
    const N_DOCUMENTS: usize = 20_000;
    const PER_COMMIT: usize = 5_000;
    let folder = tempfile::tempdir()?;
    let index = index(&folder.path().join("index"), 5_000)?;
    let writer = open(&index)?;
    let mut texts = Texts::new(1);
    let started = Instant::now();
    for number in 0..N_DOCUMENTS {
        add(&writer, &index, number, texts.text(), number % 2 == 0)?;
        if (number + 1) % PER_COMMIT == 0 {
            writer.commit()?;
        }
    }
    let ingest = started.elapsed();
    writer.close()?;

    let mut committed = [Duration::ZERO; 2];
    for (way, time) in committed.iter_mut().enumerate() {
        let datastore = seed(&folder.path().join(format!("way {way}")), 5_000)?;
        let mut texts = Texts::new(1);
        let mut writer = datastore.writer()?;
        for number in 0..N_DOCUMENTS {
            let encoded = Hashing::encode_text(&texts.text());
            let key = format!("document {number}");
            if number % 2 == 0 {
                writer.put(&key, &encoded.embedding, &["label 1"], Source::Human)?;
            }
            writer.put_document(&key, record(encoded))?;
            if (number + 1) % PER_COMMIT == 0 {
                let started = Instant::now();
                match way {
                    0 => writer.commit()?,
                    _ => {
                        writer.prepare(number as u64 + 2)?;
                        writer.apply()?;
                    }
                }
                *time += started.elapsed();
            }
        }
    }
    let [at_once, journaled] = committed.map(|time| time.as_secs_f64());
    let (journal, ingest) = (journaled - at_once, ingest.as_secs_f64());
    println!("{N_DOCUMENTS} documents, half of them labeled, commits of {PER_COMMIT}");
    println!("ingest with the journal       {ingest:8.2} s");
    println!("commits of the datastore      {at_once:8.2} s at once");
    println!("                              {journaled:8.2} s with the journal");
    println!("ingest costs more by          {:8.1} %", 100.0 * journal / (ingest - journal));
    Ok(())
}

/// Adds 1,000 labeled documents to an index that has 50,000 neighbors.
fn append() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let index = index(&folder.path().join("index"), 50_000)?;
    let writer = open(&index)?;
    let mut texts = Texts::new(2);
    let started = Instant::now();
    for number in 0..1_000 {
        add(&writer, &index, number, texts.text(), true)?;
    }
    writer.commit()?;
    println!("1000 labeled to 50000 neighbors  {:8.2} s", started.elapsed().as_secs_f64());
    writer.close()?;
    Ok(())
}

/// Replaces 20,000 documents over and over: 500,000 documents, 200 commits.
fn memory() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let index = index(&folder.path().join("index"), 1_000)?;
    let writer = open(&index)?;
    let mut texts = Texts::new(3);
    println!("documents  commits  anonymous memory MB  index MB");
    for number in 0..500_000 {
        add(&writer, &index, number % 20_000, texts.text(), number % 10 == 0)?;
        let done = number + 1;
        if done % 2_500 == 0 {
            writer.commit()?;
        }
        if done % 50_000 == 0 {
            let (memory, disk) = (anonymous_memory()?, size(index.path())? / 1_000_000);
            println!("{done:9}  {:7}  {memory:19.1}  {disk:8}", done / 2_500);
        }
    }
    writer.close()?;
    Ok(())
}

/// Makes 1,000 commits of 20 replacements each, and compares with an index made at once.
fn disk() -> Result<()> {
    const N_DOCUMENTS: usize = 5_000;
    let folder = tempfile::tempdir()?;
    let old = index(&folder.path().join("old"), 1_000)?;
    let fresh = index(&folder.path().join("fresh"), 1_000)?;
    let mut contents = vec![String::new(); N_DOCUMENTS];
    let mut texts = Texts::new(4);
    let writer = open(&old)?;
    for (number, content) in contents.iter_mut().enumerate() {
        *content = texts.text();
        add(&writer, &old, number, content.clone(), number % 3 == 0)?;
    }
    writer.commit()?;
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..1_000 {
        for _ in 0..20 {
            let number = rng.random_range(0..N_DOCUMENTS);
            contents[number] = texts.text();
            add(&writer, &old, number, contents[number].clone(), number % 3 == 0)?;
        }
        writer.commit()?;
    }
    writer.close()?;
    let writer = open(&fresh)?;
    for (number, content) in contents.into_iter().enumerate() {
        add(&writer, &fresh, number, content, number % 3 == 0)?;
    }
    writer.commit()?;
    writer.close()?;
    let (old, fresh) = (size(old.path())? as f64, size(fresh.path())? as f64);
    println!("after 1000 commits {:8.1} MB", old / 1e6);
    println!("made at once       {:8.1} MB", fresh / 1e6);
    println!("ratio              {:8.2}", old / fresh);
    Ok(())
}

fn index(path: &Path, n_neighbors: usize) -> Result<IndexFolder> {
    indexes::index(path, DIMENSIONS, labels(), neighbors(n_neighbors))
}

fn seed(path: &Path, n_neighbors: usize) -> Result<Datastore> {
    indexes::seed(path, DIMENSIONS, labels(), neighbors(n_neighbors))
}

fn neighbors(n_neighbors: usize) -> impl Iterator<Item = (Embedding, String)> {
    let mut texts = Texts::new(0);
    (0..n_neighbors).map(move |number| {
        (Hashing::encode_text(&texts.text()).embedding, format!("label {}", number % N_LABELS))
    })
}

fn open(index: &IndexFolder) -> Result<TaggingWriter<Hashing>> {
    let tagger = Tagger::new(Arc::new(Hashing { labels: labels() }));
    Ok(index.writer(tagger, WriterOptions::default())?)
}

fn add(
    writer: &TaggingWriter<Hashing>,
    index: &IndexFolder,
    number: usize,
    text: String,
    is_labeled: bool,
) -> Result<()> {
    let fields = TagFields::from_schema(writer.schema(), index.names())?;
    let document = document(&fields, &format!("document {number}"), &text);
    match is_labeled {
        true => writer.add_labeled(document, [format!("label {}", number % N_LABELS)])?,
        false => writer.add(document)?,
    };
    Ok(())
}

fn record(encoded: Encoded) -> DocumentRecord {
    DocumentRecord {
        content: [0; 16],
        review: Review::None,
        rejected: LabelSet::default(),
        encoded: Some(encoded),
    }
}

fn labels() -> LabelVocabulary {
    let names = (0..N_LABELS).map(|label| format!("label {label}"));
    LabelVocabulary::new(names).expect("the labels differ")
}

/// Counts hashed words.
struct Hashing {
    labels: LabelVocabulary,
}

impl Hashing {
    fn encode_text(text: &str) -> Encoded {
        let mut vector = vec![0.0f32; DIMENSIONS];
        let mut scores = vec![0.0f32; N_LABELS];
        for word in text.split(' ') {
            let hash = word.bytes().fold(17usize, |h, b| h.wrapping_mul(31) ^ usize::from(b));
            vector[hash % DIMENSIONS] += 1.0;
            scores[hash % N_LABELS] = 0.3;
        }
        let embedding = Embedding::new(vector).expect("a text has words");
        Encoded { embedding, scores: Some(Scores::new(scores).expect("they are within 0..=1")) }
    }
}

impl Encoder for Hashing {
    type Tokens = String;

    fn labels(&self) -> &LabelVocabulary {
        &self.labels
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn fingerprint(&self) -> Fingerprint {
        ENCODER
    }

    fn tokenize(&self, text: &str) -> Result<String, EncodeError> {
        Ok(text.to_owned())
    }

    fn token_count(tokens: &String) -> usize {
        tokens.len()
    }

    fn encode(&self, batch: &[String]) -> EncodedBatch {
        let outcomes = batch.iter().map(|text| Ok(Hashing::encode_text(text)));
        EncodedBatch::from_outcomes(DIMENSIONS, outcomes)
    }
}

/// Returns the memory in megabytes that no file backs.
fn anonymous_memory() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("this is measured on Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.context("the kernel tells RssAnon")?.trim().trim_end_matches(" kB");
    Ok(kilobytes.parse::<f64>()? / 1e3)
}

/// Returns the size of all files in a folder, in bytes.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

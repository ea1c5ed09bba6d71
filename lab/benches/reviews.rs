//! Reviews that decide only some labels of a document: the ways in which the others can take part in
//! the vote.
//!
//! ```text
//! cargo bench -p autotag-lab --bench reviews -- BUNDLE ARCHIVE.jsonl DEV.jsonl
//! ```
//!
//! The documents of the archive are tagged by the bundle and reviewed: of each document's tags and
//! suggestions a share is confirmed or rejected, as the document's own labels say, and one missing
//! label is added as often. The reviewed documents join the training set as neighbors. Settings are
//! tuned on each half of dev and measured on the other; the figures are the means of both.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use autotag::datastore::{ExactIndex, Found};
use autotag::interpolate::weights;
use autotag::{Encoder, Tagger, Temperature};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use ndarray::{Array2, Axis, concatenate};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

type Labels = BTreeSet<usize>;

/// The part that a reviewed document's undecided labels take in the vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undecided {
    /// Reviewed documents are no neighbors at all.
    Unused,
    /// A predicted label that was not rejected counts as given.
    Given,
    /// They count as absent.
    Absent,
    /// The document abstains from the vote on all labels that were not decided.
    Unknown,
    /// The document abstains from the vote on the labels that were shown as tags or suggestions and
    /// not decided.
    Abstain,
    /// As `Abstain`, with the model's scores of the text to be tagged in place of the votes.
    Model,
    /// The document votes by the scores that it was tagged with.
    Scores,
    /// There are none: every label was decided.
    None,
}

const ALL: [Undecided; 8] = [
    Undecided::Unused,
    Undecided::Given,
    Undecided::Absent,
    Undecided::Unknown,
    Undecided::Abstain,
    Undecided::Model,
    Undecided::Scores,
    Undecided::None,
];

/// Neighbors that are searched of each dev document.
const FOUND: usize = 150;

struct Documents {
    embeddings: Array2<f32>,
    /// The model's scores.
    scores: Array2<f32>,
    /// The labels that people gave.
    labels: Vec<Labels>,
}

/// A labeled document as it votes.
#[derive(Clone)]
struct Item {
    labels: Labels,
    /// The labels that were rejected, where only some were decided.
    rejected: Option<Labels>,
    /// The labels that were shown and not decided, with their scores.
    undecided: Vec<(usize, f32)>,
}

#[derive(Clone, Copy)]
struct Settings {
    k: usize,
    tau: f32,
    lambda: f32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [bundle, archive, dev] = arguments.as_slice() else {
        println!("usage: cargo bench -p autotag-lab --bench reviews -- BUNDLE ARCHIVE DEV");
        return Ok(());
    };
    let bundle = ModelBundle::open(Path::new(bundle))?;
    let tagger = bundle.tagger(&OnnxOptions::default())?;
    let (archive, dev) = (read(archive, &tagger)?, read(dev, &tagger)?);
    let reader = bundle.datastore()?.reader()?;
    let (mut values, mut training) = (Vec::new(), Vec::new());
    reader.for_each(|_, item| -> autotag::Result<()> {
        values.extend_from_slice(item.embedding.values());
        let labels = item.labels.ids().iter().map(|label| label.index()).collect();
        training.push(Item::complete(labels));
        Ok(())
    })?;
    let base = Array2::from_shape_vec((training.len(), reader.dimensions()), values)?;
    let found = nearest(&base, &archive.embeddings, FOUND);
    let settings = tuned_on(&training, &found, &archive);
    let threshold = settings.1;
    println!(
        "{} training, {} archived, {} dev documents",
        training.len(),
        archive.labels.len(),
        dev.labels.len()
    );
    let neighbors =
        nearest(&concatenate![Axis(0), base, archive.embeddings], &dev.embeddings, FOUND);
    let predicted = predicted(&training, &found, &archive, settings);
    print!("{:>9} {:>8}", "reviewed", "decided");
    ALL.iter().for_each(|undecided| print!(" {:>9}", format!("{undecided:?}").to_lowercase()));
    println!();
    for reviewed in [0.25, 1.0] {
        for decided in [0.1, 0.25, 0.5, 0.75] {
            print!("{reviewed:>9} {decided:>8}");
            for undecided in ALL {
                let mut rng = StdRng::seed_from_u64(1);
                let mut items: Vec<Option<Item>> = training.iter().cloned().map(Some).collect();
                for (scores, labels) in predicted.iter().zip(&archive.labels) {
                    let is_reviewed = rng.random::<f64>() < reviewed;
                    let item = review(scores, labels, threshold, decided, undecided, &mut rng);
                    items.push(item.filter(|_| is_reviewed));
                }
                print!(" {:>9.4}", both_halves(&items, &neighbors, &dev, undecided));
            }
            println!();
        }
    }
    Ok(())
}

impl Item {
    fn complete(labels: Labels) -> Self {
        Item { labels, rejected: None, undecided: vec![] }
    }
}

fn read(path: &str, tagger: &Tagger<OnnxEncoder>) -> Result<Documents, Box<dyn Error>> {
    let vocabulary = tagger.encoder().labels();
    let (mut texts, mut labels) = (Vec::new(), Vec::new());
    for line in fs::read_to_string(path)?.lines() {
        let document: Value = serde_json::from_str(line)?;
        texts.push(document["text"].as_str().unwrap_or_default().to_owned());
        let names = document["labels"].as_array().into_iter().flatten().filter_map(Value::as_str);
        labels.push(names.filter_map(|name| vocabulary.id(name)).map(|id| id.index()).collect());
    }
    let take = |batch: autotag::EncodedBatch| {
        let mut scores = Array2::zeros((batch.len(), vocabulary.len()));
        for (row, mut all) in scores.rows_mut().into_iter().enumerate() {
            let scores = batch.scores_of(row).expect("the model scores labels");
            all.as_slice_mut().unwrap().copy_from_slice(scores.values());
        }
        (batch.embeddings().to_owned(), scores)
    };
    let shares = tagger.encode_on(available_parallelism()?, &texts, take);
    let embeddings: Vec<_> = shares.iter().map(|share| share.0.view()).collect();
    let scores: Vec<_> = shares.iter().map(|share| share.1.view()).collect();
    let (embeddings, scores) = (concatenate(Axis(0), &embeddings)?, concatenate(Axis(0), &scores)?);
    Ok(Documents { embeddings, scores, labels })
}

fn nearest(items: &Array2<f32>, queries: &Array2<f32>, k: usize) -> Vec<Vec<Found>> {
    let mut index = ExactIndex::new(items.ncols());
    items.rows().into_iter().for_each(|row| index.push(row.iter().copied()).unwrap());
    index.nearest(queries.view(), k)
}

/// Returns what a review leaves of an archived document, given its scores and its true labels.
fn review(
    scores: &[f32],
    labels: &Labels,
    threshold: f32,
    decided: f64,
    undecided: Undecided,
    rng: &mut StdRng,
) -> Option<Item> {
    let (mut given, mut rejected) = (Labels::new(), Labels::new());
    let mut others = Vec::new();
    // Tags, and the suggestions below them.
    for (label, &score) in scores.iter().enumerate().filter(|(_, score)| **score >= threshold / 2.0)
    {
        if rng.random::<f64>() >= decided {
            others.push((label, score));
        } else if labels.contains(&label) {
            given.insert(label);
        } else {
            rejected.insert(label);
        }
    }
    let missing: Vec<usize> =
        labels.iter().copied().filter(|&label| scores[label] < threshold / 2.0).collect();
    if !missing.is_empty() && rng.random::<f64>() < decided {
        given.insert(missing[rng.random_range(0..missing.len())]);
    }
    if given.is_empty() && rejected.is_empty() {
        return None;
    }
    match undecided {
        Undecided::Unused => None,
        Undecided::Given => {
            let tags = others.iter().filter(|(_, score)| *score >= threshold);
            given.extend(tags.map(|(label, _)| *label));
            Some(Item::complete(given))
        }
        Undecided::Absent => Some(Item::complete(given)),
        Undecided::Unknown => Some(Item { rejected: Some(rejected), ..Item::complete(given) }),
        Undecided::Abstain | Undecided::Model | Undecided::Scores => {
            Some(Item { undecided: others, ..Item::complete(given) })
        }
        Undecided::None => Some(Item::complete(labels.clone())),
    }
}

/// Mixes a text's model scores with the votes of its neighbors.
fn mixed(
    items: &[Option<Item>],
    found: &[Found],
    model: &[f32],
    settings: Settings,
    undecided: Undecided,
) -> Vec<f32> {
    let Settings { k, tau, lambda } = settings;
    let voting = found.iter().filter_map(|&(row, distance)| Some((items[row].as_ref()?, distance)));
    let voting: Vec<(&Item, f32)> = voting.take(k).collect();
    let distances: Vec<f32> = voting.iter().map(|(_, distance)| *distance).collect();
    let weights = weights(&distances, Temperature::new(tau).unwrap());
    let mut votes = vec![0.0; model.len()];
    // The weight of the neighbors that abstain.
    let mut abstaining = vec![0.0; model.len()];
    for ((item, _), weight) in voting.iter().zip(weights) {
        item.labels.iter().for_each(|&label| votes[label] += weight);
        for &(label, score) in &item.undecided {
            match undecided {
                Undecided::Scores => votes[label] += weight * score,
                _ => abstaining[label] += weight,
            }
        }
        if let Some(rejected) = &item.rejected {
            abstaining.iter_mut().for_each(|abstaining| *abstaining += weight);
            let decided = item.labels.iter().chain(rejected);
            decided.for_each(|&label| abstaining[label] -= weight);
        }
    }
    let mix = |label: usize| {
        let decided: f32 = 1.0 - abstaining[label];
        let vote: f32 = votes[label];
        match undecided {
            Undecided::Model => lambda * vote + (1.0 - lambda * decided) * model[label],
            _ if decided < 1e-3 => model[label],
            _ => lambda * vote / decided + (1.0 - lambda) * model[label],
        }
    };
    (0..model.len()).map(mix).collect()
}

/// Counts, by score, the labels that documents have and those that they have not.
struct Histogram {
    right: Vec<u64>,
    wrong: Vec<u64>,
    given: u64,
}

const STEPS: usize = 100;

impl Histogram {
    fn new() -> Self {
        Histogram { right: vec![0; STEPS + 1], wrong: vec![0; STEPS + 1], given: 0 }
    }

    fn add(&mut self, scores: &[f32], labels: &Labels) {
        self.given += labels.len() as u64;
        for (label, score) in scores.iter().enumerate() {
            let counts = if labels.contains(&label) { &mut self.right } else { &mut self.wrong };
            counts[((score * STEPS as f32) as usize).min(STEPS)] += 1;
        }
    }

    fn f1(&self, step: usize) -> f64 {
        let right: u64 = self.right[step..].iter().sum();
        let wrong: u64 = self.wrong[step..].iter().sum();
        2.0 * right as f64 / (self.given + right + wrong) as f64
    }

    fn best(&self) -> (usize, f64) {
        let all = (1..=STEPS).map(|step| (step, self.f1(step)));
        all.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    }
}

fn grid() -> impl Iterator<Item = Settings> {
    [5, 12, 30].into_iter().flat_map(|k| {
        [0.2, 0.5, 1.0, 2.0, 5.0].into_iter().flat_map(move |tau| {
            [0.3, 0.5, 0.7].into_iter().map(move |lambda| Settings { k, tau, lambda })
        })
    })
}

/// Returns the settings, and the threshold, that tag the archive best by the training set: those that
/// somebody has who tuned them well.
fn tuned_on(training: &[Item], found: &[Vec<Found>], archive: &Documents) -> (Settings, f32) {
    let items: Vec<Option<Item>> = training.iter().cloned().map(Some).collect();
    let measured = grid().map(|settings| {
        let mut histogram = Histogram::new();
        // A part suffices.
        for (row, found) in found.iter().enumerate().step_by(8) {
            let model = archive.scores.row(row);
            let model = model.to_slice().unwrap();
            let scores = mixed(&items, found, model, settings, Undecided::Absent);
            histogram.add(&scores, &archive.labels[row]);
        }
        let (step, f1) = histogram.best();
        ((settings, step as f32 / STEPS as f32), f1)
    });
    measured.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
}

fn predicted(
    training: &[Item],
    found: &[Vec<Found>],
    archive: &Documents,
    (settings, _): (Settings, f32),
) -> Vec<Vec<f32>> {
    let items: Vec<Option<Item>> = training.iter().cloned().map(Some).collect();
    let rows = found.iter().zip(archive.scores.rows());
    rows.map(|(found, model)| {
        mixed(&items, found, model.to_slice().unwrap(), settings, Undecided::Absent)
    })
    .collect()
}

/// Tunes on each half of the documents and measures micro-F1 on the other; returns the mean.
fn both_halves(
    items: &[Option<Item>],
    neighbors: &[Vec<Found>],
    dev: &Documents,
    undecided: Undecided,
) -> f64 {
    let mut halves: Vec<[Histogram; 2]> = Vec::new();
    for settings in grid() {
        let mut both = [Histogram::new(), Histogram::new()];
        for (row, found) in neighbors.iter().enumerate() {
            let model = dev.scores.row(row);
            let scores = mixed(items, found, model.to_slice().unwrap(), settings, undecided);
            both[row % 2].add(&scores, &dev.labels[row]);
        }
        halves.push(both);
    }
    let measured = [0, 1].map(|tuned| {
        let best = halves.iter().map(|both| (both, both[tuned].best()));
        let (both, (step, _)) = best.max_by(|a, b| a.1.1.total_cmp(&b.1.1)).unwrap();
        both[1 - tuned].f1(step)
    });
    (measured[0] + measured[1]) / 2.0
}

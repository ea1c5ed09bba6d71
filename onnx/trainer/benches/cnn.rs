//! Training and folded prediction of the CNN: documents per second.
//!
//! `cargo bench -p autotag-train --bench cnn` trains batches of 128 texts of 160 tokens, drawn from
//! 30,000 tokens as often as Zipf's law says, with 300 dimensions, 3 x 100 filters and 100 labels,
//! BCE and the contrastive loss.

#![allow(missing_docs, clippy::print_stdout)]

use std::time::Instant;

use autotag::{LabelId, LabelSet};
use autotag_train::ContrastiveConfig;
use autotag_train::models::cnn::{Cnn, CnnConfig};
use autotag_train::optimizer::AdamConfig;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

const BATCH: usize = 128;
const LENGTH: usize = 160;
const N_TOKENS: usize = 30_000;
const N_LABELS: u32 = 100;
const N_BATCHES: usize = 8;
const WARM_UP: usize = 4;
const STEPS: usize = 40;

fn main() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let batches: Vec<Vec<Vec<u32>>> = (0..N_BATCHES)
        .map(|_| (0..BATCH).map(|_| (0..LENGTH).map(|_| zipf(&mut rng)).collect()).collect())
        .collect();
    let labels: Vec<LabelSet> = (0..BATCH)
        .map(|_| (0..3).map(|_| LabelId(rng.random_range(0..N_LABELS))).collect())
        .collect();
    let labels: Vec<&LabelSet> = labels.iter().collect();
    let mut cnn = Cnn::new(CnnConfig::default(), N_TOKENS, N_LABELS as usize, None, 1);
    let (adam, contrastive) = (AdamConfig::default(), ContrastiveConfig::default());

    let mut started = Instant::now();
    for step in 0..WARM_UP + STEPS {
        if step == WARM_UP {
            started = Instant::now();
        }
        let texts: Vec<&[u32]> = batches[step % N_BATCHES].iter().map(Vec::as_slice).collect();
        cnn.step(&texts, &labels, &contrastive, &adam);
    }
    report("train", STEPS * BATCH, started);

    let texts: Vec<&[u32]> = batches.iter().flatten().map(Vec::as_slice).collect();
    let folded = cnn.network().fold();
    folded.predict(&texts);
    let started = Instant::now();
    folded.predict(&texts);
    report("predict, folded", texts.len(), started);
    println!("threads: {}", rayon::current_num_threads());
}

/// Draws a token whose rank r has a probability close to 1 / r.
fn zipf(rng: &mut Xoshiro256PlusPlus) -> u32 {
    let rank = (N_TOKENS as f64).powf(rng.random_range(0.0..1.0f64));
    (rank as u32).min(N_TOKENS as u32 - 1)
}

fn report(what: &str, n_texts: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what}: {:.0} documents per second", n_texts as f64 / seconds);
}

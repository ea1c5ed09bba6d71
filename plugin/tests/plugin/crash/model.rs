//! The operations of a storm, and a model of the index after them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::support::LABELS;

/// The content of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) text: String,
    /// Sorted; `None` where the document came without labels.
    pub(super) labels: Option<Vec<String>>,
    /// Whether a person gave them after the document came.
    pub(super) is_corrected: bool,
}

impl Entry {
    /// Tells whether labels that a person gave stay with another text.
    fn keeps_labels(&self) -> bool {
        self.is_corrected && self.labels.as_ref().is_some_and(|labels| !labels.is_empty())
    }
}

/// The documents of an index by key.
pub(super) type State = BTreeMap<String, Entry>;

pub(super) enum Operation {
    Put(Entry),
    Delete,
    /// Labels that a person gives a document, where there is one.
    Correct(Vec<String>),
}

const N_KEYS: u64 = 60;
const N_NEW_LABELS: u64 = 15;
const WORDS: [&str; 8] =
    ["program", "library", "editing", "purring", "oven", "engine", "reef", "orbit"];

/// A small generator (Knuth's MMIX): the child and the parent draw the same numbers.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d);
        random.below(2);
        random
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// Returns a round's operation with its key; each text is unlike all others.
pub(super) fn operation(round: u64, number: u64) -> (String, Operation) {
    let mut random = Random::new(round.wrapping_mul(1_000_003).wrapping_add(number));
    let key = format!("key {}", random.below(N_KEYS));
    let kind = random.below(10);
    if kind == 0 {
        return (key, Operation::Delete);
    }
    if kind == 9 && has_corrections(round, number) {
        return (key, Operation::Correct(labels(&mut random)));
    }
    let mut words = vec![format!("round{round}"), format!("number{number}")];
    words.extend((0..3).map(|_| WORDS[random.below(WORDS.len() as u64) as usize].to_owned()));
    let labels = (kind < 6 && !is_plain(round, number)).then(|| labels(&mut random));
    (key, Operation::Put(Entry { text: words.join(" "), labels, is_corrected: false }))
}

/// Some stretches have no labeled document: their commits may leave the datastore alone.
fn is_plain(round: u64, number: u64) -> bool {
    Random::new(round ^ (number / 25) << 32).below(4) == 0
}

/// Some stretches have corrections, which may commit what came before them.
fn has_corrections(round: u64, number: u64) -> bool {
    Random::new(round ^ (number / 25) << 24).below(3) == 0
}

fn labels(random: &mut Random) -> Vec<String> {
    let mut labels: Vec<String> = (0..random.below(4))
        .map(|_| match random.below(2) {
            0 => LABELS[random.below(LABELS.len() as u64) as usize].to_owned(),
            _ => format!("new::label {}", random.below(N_NEW_LABELS)),
        })
        .collect();
    labels.sort();
    labels.dedup();
    labels
}

/// Returns after how many operations a round's commits come.
pub(super) fn batch_size(round: u64, batch: u64) -> u64 {
    Random::new(round ^ (batch << 40)).below(35)
}

/// Applies a round's operations to a state.
pub(super) fn advance(state: &State, round: u64, numbers: Range<u64>) -> State {
    let mut state = state.clone();
    for number in numbers {
        match operation(round, number) {
            (key, Operation::Put(mut entry)) => {
                let before = state.get(&key).filter(|_| entry.labels.is_none());
                if let Some(before) = before.filter(|before| before.keeps_labels()) {
                    entry = Entry { text: entry.text, ..before.clone() };
                }
                state.insert(key, entry);
            }
            (key, Operation::Delete) => {
                state.remove(&key);
            }
            (key, Operation::Correct(labels)) => {
                if let Some(entry) = state.get_mut(&key) {
                    entry.labels = Some(labels);
                    entry.is_corrected = true;
                }
            }
        }
    }
    state
}

//! Changed checkpoints are refused, whatever the change.

use std::fs;

use ndarray::array;
use serde_json::json;

use super::*;
use crate::mutations::{Mutator, n_changes};
use crate::rows::row_major;

#[test]
#[allow(clippy::print_stdout)]
fn every_change_of_a_checkpoint_is_told_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity { settings: json!({"seed": 1}), data: "aa".to_owned() };
    let run = Claim::take(folder.path(), Start::Resume).unwrap().of(identity, Skipped::default());
    let matrix = row_major(8, 9, (0..72u8).map(f32::from).collect());
    let mut state = State::default();
    state.put("table", matrix.view());
    state.put_counts("n_steps", vec![7, 8]);
    run.write(&Account::default(), state.clone(), state).unwrap();
    let path = run.checkpoint_path();
    let sound = fs::read(&path).unwrap();
    assert!(run.read().unwrap().is_some());
    let (mut mutator, mut n_same) = (Mutator::new(1), 0);
    for n in 0..n_changes() {
        let (name, changed) = mutator.change(&sound);
        if changed == sound {
            n_same += 1;
            continue;
        }
        fs::write(&path, &changed).unwrap();
        let outcome = run.read();
        let is_refused = matches!(outcome, Err(TrainError::CheckpointDamaged { .. }));
        assert!(is_refused, "change {n}, {name}: {outcome:?}");
    }
    println!("checkpoint: {} changes, all told as damage; {n_same} changed no byte", n_changes());
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_small_checkpoint_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let matrix = array![[0.0, 0.0]];
    let mut state = State::default();
    state.put("matrix", matrix.view());
    write_whole(&state, "{}".to_owned(), &path).unwrap();
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut changed = sound.clone();
            changed[at] ^= 1 << bit;
            assert!(sealed::content(&changed).is_none(), "byte {at}, bit {bit}");
        }
        assert!(sealed::content(&sound[..at]).is_none(), "cut at {at}");
    }
    assert!(sealed::content(&[&sound[..], b"0"].concat()).is_none());
}

//! Stress tests: kills, concurrent processes and damaged files, in larger numbers than in `cargo xtask test`.

use anyhow::Result;

use crate::process::{self, FEATURES};

/// The number of repetitions of each kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Storm {
    pub(crate) kills: u64,
    pub(crate) rounds: u64,
    pub(crate) changes: u64,
}

impl Default for Storm {
    fn default() -> Self {
        Storm { kills: 1000, rounds: 300, changes: 600 }
    }
}

/// The stress tests; each prints what it survived.
const TESTS: [&str; 7] = [
    "crash::soak::soak",
    "crash::rounds::rounds_of_many_processes_lose_nothing",
    "mutations::changed_files_are_told_or_change_nothing",
    "mutations::a_changed_bundle_is_told_or_answers_with_numbers",
    "datastore::tests::damage",
    "every_change_of_a_checkpoint_is_told_as_damage",
    "a_changed_cache_gives_right_values_or_none",
];

impl Storm {
    /// Runs the stress tests up to the first failure.
    pub(crate) fn run(&self) -> Result<()> {
        let mut command = process::cargo();
        command.args(["test", "--workspace", "--lib", "--test", "plugin", "--test", "onnx"]);
        command.args(FEATURES).args(["--", "--nocapture"]).args(TESTS);
        command.env("AUTOTAG_SOAK_KILLS", self.kills.to_string());
        command.env("AUTOTAG_STORM_ROUNDS", self.rounds.to_string());
        command.env("AUTOTAG_MUTATIONS", self.changes.to_string());
        process::run(&mut command)
    }
}

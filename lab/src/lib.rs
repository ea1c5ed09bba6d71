//! The laboratory: does tagging with neighbors help on one's own documents, which model, which k and
//! lambda, and where does it fail?
//!
//! A [`Question`] about [`Parts`] of a data set becomes an [`Ablation`], the list of runs that answer
//! it; a [`Laboratory`] makes those that a [`RunsFolder`] does not have.
//!
//! [`paired_bootstrap`] says how sure the difference between two systems is.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;

mod parts;

mod plan;
mod runs;

mod linear;
mod predict;

mod ablate;

mod decide;

mod bootstrap;

pub mod numbers;

pub mod report;

pub use ablate::{LabProgress, Laboratory, Standing};
pub use bootstrap::{BootstrapOptions, PairedDifference, Trainings, paired_bootstrap, total};
pub use decide::{decide, decide_by_mix, decisions};
pub use error::{LabError, Result};
pub use linear::{LinearConfig, linear_baseline};
pub use numbers::{NumberOptions, Numbers};
pub use parts::{Part, Parts};
pub use plan::Question;
pub use runs::{
    Ablation, Cost, DataRecord, FORMAT_VERSION, LinearRun, NeighborPoint, Neighborhood, PlannedRun,
    RunRecord, RunsFolder, RunsLock, Setting, TextRecord, start_digest,
};

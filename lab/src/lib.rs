//! The laboratory: does tagging with neighbors help on one's own documents, which model, which k and
//! lambda, and where does it fail?
//!
//! [`paired_bootstrap`] says how sure the difference between two systems is.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod decide;

mod bootstrap;

pub use bootstrap::{BootstrapOptions, PairedDifference, Trainings, paired_bootstrap, total};
pub use decide::{decide, decisions};

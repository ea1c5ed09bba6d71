//! The commands, one file each.

pub(crate) mod ablate;
pub(crate) mod adopt;
pub(crate) mod bundle;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod correct;
pub(crate) mod eval;
pub(crate) mod fetch;
pub(crate) mod index;
pub(crate) mod labels;
pub(crate) mod migrate;
pub(crate) mod plot;
pub(crate) mod repair;
pub(crate) mod report;
pub(crate) mod retag;
pub(crate) mod search;
pub(crate) mod setup;
pub(crate) mod tag;
pub(crate) mod train;
pub(crate) mod tune;
pub(crate) mod verify;

mod encoding;
mod feed;
mod job;
mod labeled;
mod model;
mod predict;

//! The plugin's behavior through its public API, with a small encoder instead of a model.
#![allow(clippy::unwrap_used)]

mod suggestions;
mod support;

mod adopting;
mod closing;
mod concurrency;
#[cfg(unix)]
mod crash;
mod deletion;
mod durability;
mod evidence;
mod failures;
mod faults;
mod folder;
mod following;
mod json;
#[cfg(target_os = "linux")]
mod memory;
mod mending;
mod merging;
mod model;
#[cfg(unix)]
mod mutations;
mod opening;
mod outside;
mod own_encoder;
mod own_index;
mod poison;
mod reading;
mod restoring;
mod reviewing;
mod reviews;
mod search;
mod sharing;
mod upkeep;
mod verify;
mod writing;

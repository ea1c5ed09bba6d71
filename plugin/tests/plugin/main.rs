//! The plugin's behavior through its public API, with a small encoder instead of a model.
#![allow(clippy::unwrap_used)]

mod suggestions;
mod support;

mod concurrency;
#[cfg(unix)]
mod crash;
mod evidence;
mod failures;
mod faults;
mod folder;
#[cfg(target_os = "linux")]
mod memory;
mod mending;
mod merging;
mod model;
#[cfg(unix)]
mod mutations;
mod opening;
mod own_encoder;
mod restoring;
mod search;
mod upkeep;
mod verify;
mod writing;

//! Behavior across crates, through public APIs.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../examples/tiny/mod.rs"]
mod tiny;

#[path = "../../examples/async_service/indexer.rs"]
mod indexer;

mod async_service;
mod encoder;
mod exported_models;
mod fixtures;
mod resuming;
mod rooms;
mod tagging;
mod training;
mod wide;

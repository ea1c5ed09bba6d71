//! Behavior across crates, through public APIs.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../examples/tiny/mod.rs"]
mod tiny;

#[path = "../../examples/async_service/indexer.rs"]
mod indexer;

// All but its `main` and the port that it chooses.
#[allow(dead_code)]
#[path = "../../examples/service/main.rs"]
mod news;

mod async_service;
mod encoder;
mod exported_models;
mod fixtures;
mod resuming;
mod rooms;
mod service;
mod tagging;
mod training;
mod wide;

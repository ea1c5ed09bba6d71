//! Model bundles for autotag, run by ONNX Runtime.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;

pub mod runtime;

pub mod proto;

pub mod graph;

pub use error::{OnnxError, Result};

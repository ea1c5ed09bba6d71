//! Bundles and their models through the public interface, with ONNX Runtime and tiny models.

#![allow(clippy::unwrap_used)]

mod bundle;
mod device;
mod encoder;
mod fixture;
mod ngrams;
mod writing;

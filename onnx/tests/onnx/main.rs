//! Bundles and their models through the public interface, with ONNX Runtime and tiny models.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bundle;
mod device;
mod encoder;
mod fixture;
mod hostile;
mod mutations;
mod ngrams;
mod writing;

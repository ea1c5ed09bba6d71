//! The program `autotag` as its users run it: a child process with files and pipes.

#![allow(clippy::unwrap_used)]

mod adopt;
mod by_autodiff;
mod compare;
mod encoder;
mod end_to_end;
mod fetch;
mod files;
mod hostile;
mod jobs;
mod lab;
mod limits;
mod mix;
mod plot;
mod read_only;
mod resuming;
mod support;
mod telemetry;
mod tune;
mod upkeep;
mod usage;
mod verify;
mod wide;
mod word_vectors;

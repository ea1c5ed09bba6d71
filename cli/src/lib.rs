//! What the program `autotag` reads, apart from the program, so that it can be tried on any bytes.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod documents;

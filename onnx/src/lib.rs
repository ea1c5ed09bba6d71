//! Model bundles for autotag, run by ONNX Runtime.
//!
//! A [`ModelBundle`] is a folder with a model, its tokenizer, labels and settings and the training
//! set's datastore; [`OnnxEncoder`] loads it and implements [`autotag::Encoder`]:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use autotag::Encoder;
//! use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
//!
//! let bundle = ModelBundle::open(Path::new("bundle"))?;
//! let encoder = OnnxEncoder::open(&bundle, &OnnxOptions::default())?;
//! let tokens = encoder.tokenize("a text")?;
//! let encoded = encoder.encode(&[tokens]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`runtime`] finds ONNX Runtime, which is loaded when the first model is. Trainers write their
//! models with [`graph`] and their bundles with [`BundleDraft`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;

pub mod runtime;

mod device;

pub mod bundle;

mod tokenize;

pub mod ngrams;

mod lexicon;

mod encoder;

mod lookup;

pub mod graph;
pub mod proto;

pub use bundle::{BundleConfig, BundleDraft, ModelBundle};
pub use device::{Device, DeviceInUse, ParseDeviceError};
pub use encoder::{OnnxEncoder, OnnxOptions};
pub use error::{OnnxError, Result};
pub use lexicon::{Lexicon, ModelInput, TextReader};
pub use lookup::{Precision, QuantizedTable, TableFormat};
pub use ngrams::{Features, NgramVocabulary};
pub use tokenize::{BYTES_PER_TOKEN, TextTokenizer};

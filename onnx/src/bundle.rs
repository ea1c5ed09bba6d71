//! Model bundles: folders with everything that tagging needs.
//!
//! | file | content |
//! | --- | --- |
//! | `config.json` | [`BundleConfig`] |
//! | `labels.json` | the labels' names, an array in the order of the model's scores |
//! | `tokenizer.json` | the tokenizer, where the model reads token ids |
//! | `ngrams.json` | words and pairs of words with their weights, where the model reads n-grams |
//! | `model.onnx` | the model, all tensors inside |
//! | `datastore/` | the training set's {(h_i, y_i)} |
//! | `card.md` | the model card, for people, where whoever made the bundle wrote one |
//! | `manifest.json` | length and SHA-256 of every other file |
//! | `stamp.json` | the state of the files when they were digested; not listed, may be missing |
//!
//! A bundle is never changed: a [`BundleDraft`] is filled under a temporary name and renamed.
//!
//! # Bundles from strangers
//!
//! A manifest that fits only says that a bundle is what its author made. So what is in it is taken
//! for hostile:
//!
//! - Files are plain files: links, pipes and devices are refused without being opened. What is read
//!   into memory has a greatest length: 16 MiB for `config.json` and `card.md`, 64 MiB for
//!   `labels.json` and `tokenizer.json`, 256 MiB for `ngrams.json`, 1 MiB for `manifest.json`, 2 GiB
//!   for `model.onnx`.
//! - `config.json` may ask for at most [`MAX_LENGTH`] tokens or words of a text, [`MAX_DIMENSIONS`]
//!   dimensions and [`MAX_LABELS`] labels.
//! - `tokenizer.json` is looked through before the library for it reads it; that may take 15 seconds
//!   and must not panic. Padding and truncation in it are ignored. It is tried with texts as long as
//!   those that it will be given, up to 16 KiB.
//! - `model.onnx` holds all its tensors and at most 4 MiB beside their values. It calls only the
//!   standard operators in [`OPERATORS`], none of which has a graph inside, and the lookups that the
//!   trainer's models are made of, whose functions must be this program's own; no constant asks for a
//!   tensor of more than 2^28 values. Its first run ends after two minutes.
//! - The weights in `ngrams.json` are within [`IDF_RANGE`](crate::ngrams::IDF_RANGE).
//!
//! Some things cannot be known beforehand. A model may compute the size of a tensor, and so take much
//! memory. One operator may run for long, and ONNX Runtime runs those that depend on nothing while it
//! loads the model. A tokenizer with regular expressions may be slow for texts that none of the tried
//! ones resembles. Whoever runs bundles of strangers should bound the process's memory and time.
//!
//! Opening a bundle writes nothing, neither into its folder nor elsewhere. Verifying it writes
//! `stamp.json` where that is missing or out of date.

pub(crate) mod input;

pub(crate) mod files;

pub(crate) mod config;
mod stamp;

mod manifest;
mod operators;

pub(crate) mod model;

pub(crate) mod opened;

mod draft;
mod run;
mod settings;

pub use config::{
    BundleConfig, FORMAT_VERSION, MAX_DIMENSIONS, MAX_LABELS, MAX_LENGTH, MAX_PREFIX,
};
pub use draft::BundleDraft;
pub use input::InputKind;
pub use opened::ModelBundle;
pub use operators::OPERATORS;

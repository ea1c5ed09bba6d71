//! Tags texts with a model's scores interpolated with the votes of the k nearest labeled texts.
//!
//! The path, from left to right:
//!
//! ```text
//! text -> tokens -> (embedding, model scores) -> neighbors -> kNN scores -> interpolated scores -> tags
//! ```
//!
//! [`Tagger`] composes it. An [`Encoder`] (the crate `autotag-onnx` has one that runs ONNX models; an
//! [`Embedder`] makes one of any source of embeddings) turns texts into [`Embedding`]s and [`Scores`]; a [`Datastore`] holds the labeled texts'
//! embeddings and finds the nearest ones; [`interpolate`] and [`select`] are pure functions.
//!
//! The method is that of "Contrastive Learning-Enhanced Nearest Neighbor Mechanism for Multi-Label
//! Text Classification" (ACL 2022); its symbols stand in the documentation of the functions that
//! compute them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod fingerprint;

mod error;
#[doc(hidden)]
pub mod failpoint;
mod guard;

pub mod product;

pub mod label;

mod frequencies;

pub mod encoder;

pub mod embedder;

pub mod datastore;

pub mod interpolate;

pub mod select;

pub mod mix;

pub mod tagger;

mod evidence;

pub mod metrics;
pub mod tune;

pub use datastore::{
    Datastore, DatastoreOptions, DatastoreReader, DatastoreWriter, DocumentRecord, ItemId,
    Neighbor, Review, SearchMode, Source, StorageOptions, StoredItem,
};
pub use embedder::{EmbedError, Embedder};
pub use encoder::{Embedding, EncodeError, Encoded, EncodedBatch, Encoder, Scores};
pub use error::{Error, Result, StoreError};
pub use evidence::{Evidence, MarginEvidence, NeighborEvidence, Origin, Standing, TagEvidence};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use frequencies::LabelFrequencies;
pub use guard::{guarded, panic_message};
pub use interpolate::{Interpolation, Proportion, Shares, Temperature};
pub use label::{LabelFate, LabelHistory, LabelId, LabelSet, LabelVocabulary};
pub use mix::LearnedMix;
pub use select::{Selection, Threshold};
pub use tagger::{Tag, Tagger, Tagging, Vote};

// The version whose matrices encoders return.
pub use ndarray;

//! LDGN (Ma et al., ACL 2021): every label reads the text for itself, and labels speak to each other
//! over two graphs.
//!
//! A bidirectional LSTM reads the tokens; each label attends to the steps that concern it, which
//! gives one vector per label. These pass over a graph of which labels occur together in the training
//! set, then over a graph made of the text's own label vectors. Both results joined are the label's
//! vector, from which its score is read; the text's representation is the maximum over the labels'
//! vectors.

mod config;
mod kind;

#[cfg(feature = "burn")]
mod batch;
#[cfg(feature = "burn")]
mod export;
#[cfg(feature = "burn")]
mod forward;
#[cfg(feature = "burn")]
mod label_graph;
#[cfg(feature = "burn")]
mod lstm;
#[cfg(feature = "burn")]
mod model;
#[cfg(feature = "burn")]
mod weights;

pub use config::LdgnConfig;
#[cfg(feature = "burn")]
use model::LdgnModel;

#[cfg(all(test, feature = "burn"))]
mod tests;

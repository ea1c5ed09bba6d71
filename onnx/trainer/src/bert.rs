//! A pretrained encoder, BERT or MPNet, in Hugging Face's layout: configuration, weights, and its ONNX
//! graph.
//!
//! ```text
//! x_0 = LN(W[id] + P[position] + S[0])                       word, position and segment tables
//! a   = LN(x + O concat_h softmax(Q_h x (K_h x)^T / sqrt(d)) V_h x)
//! x'  = LN(a + B gelu(A a))                                  once for each layer
//! h   = x[0], or the mean of x over the text's tokens        the representation
//! ```
//!
//! Sequences are single texts: every token has segment 0.
//!
//! MPNet has no segments, its positions begin at row 2 of their table, and its attention of token i to
//! token j is softmax(Q_h x_i (K_h x_j)^T / sqrt(d) + R[bucket(j - i), h]), with the same R for all layers.

mod config;
mod folder;
mod graph;
mod pooling;
pub(crate) mod relative;
mod weights;

pub use config::{Architecture, BertConfig};
pub use folder::BertFolder;
pub use graph::write_encoder;
pub use pooling::Pooling;
pub use weights::BertWeights;

#[cfg(test)]
pub(crate) mod tests;

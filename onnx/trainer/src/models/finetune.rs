//! A pretrained BERT encoder trained further, with a layer of scores on its pooled representation.

mod config;
mod kind;

#[cfg(feature = "burn")]
mod forward;
#[cfg(feature = "burn")]
mod model;

pub use config::FinetuneConfig;
#[cfg(feature = "burn")]
use model::FinetunedModel;

#[cfg(all(test, feature = "burn"))]
mod tests;

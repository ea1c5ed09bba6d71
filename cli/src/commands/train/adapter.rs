//! What only the adapter can be told.

use autotag_train::adapter::AdapterConfig;

use super::hyper::{first_given, put, told};
use crate::commands::bundle::from_encoder::CacheArgs;

/// What only the adapter can be told.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training: --model adapter, wide-cnn-adapter")]
pub(super) struct AdapterArgs {
    #[arg(long, value_name = "SHARE", help = told(
        "The share of the encoder's values that is dropped in training",
        |c| c.adapter.input_dropout))]
    input_dropout: Option<f32>,

    #[command(flatten)]
    pub(super) cache: CacheArgs,
}

impl AdapterArgs {
    pub(super) fn set(&self, adapter: &mut AdapterConfig) {
        put(&mut adapter.input_dropout, self.input_dropout);
    }

    /// Names an option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = first_given(&[("--input-dropout", self.input_dropout.is_some())]);
        given.or(self.cache.given())
    }
}

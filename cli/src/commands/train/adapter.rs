//! What only the adapter can be told.

use autotag_train::TrainConfig;

use super::hyper::{put, told};
use crate::commands::bundle::from_encoder::{CacheArgs, PoolingArg};

/// What only the adapter can be told.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training: --model adapter")]
pub(super) struct AdapterArgs {
    /// How the encoder makes a text's representation of its tokens': their mean, or the first one's;
    /// where absent what the encoder's folder says, else the mean
    #[arg(long, value_enum, value_name = "mean|cls", hide_possible_values = true)]
    pooling: Option<PoolingArg>,

    #[arg(long, value_name = "SHARE", help = told(
        "The share of the encoder's values that is dropped in training",
        |c| c.adapter.input_dropout))]
    input_dropout: Option<f32>,

    #[command(flatten)]
    pub(super) cache: CacheArgs,
}

impl AdapterArgs {
    pub(super) fn set(&self, config: &mut TrainConfig) {
        let adapter = &mut config.adapter;
        put(&mut adapter.input_dropout, self.input_dropout);
        adapter.pooling = self.pooling.map(Into::into);
    }

    /// Names an option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--pooling", self.pooling.is_some()),
            ("--input-dropout", self.input_dropout.is_some()),
        ];
        let given = given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name);
        given.or(self.cache.given())
    }
}

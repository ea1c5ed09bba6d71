use autotag_train::bert::Pooling;
use autotag_train::finetune::FinetuneConfig;

use super::{first_given, put, told};

/// What only a pretrained encoder that is trained further can be told.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training: --model bert")]
pub(in crate::commands::train) struct BertArgs {
    /// How a text's representation is made of its tokens' [default: as the encoder's folder says,
    /// else cls]
    #[arg(long, value_enum, value_name = "HOW")]
    pooling: Option<PoolingArg>,

    #[arg(long, value_name = "RATE", help = told(
        "The encoder's highest step size; --learning-rate is that of the layer of scores",
        |c| c.bert.encoder_rate))]
    encoder_learning_rate: Option<f32>,

    #[arg(long, value_name = "SHARE", help = told(
        "The share of all steps in which the step sizes rise; in the rest they fall",
        |c| c.bert.warm_up))]
    warm_up: Option<f32>,

    #[arg(long, value_name = "SHARE", help = told(
        "The share of each weight, times its step size, that it loses in a step",
        |c| c.bert.weight_decay))]
    weight_decay: Option<f32>,
}

/// How a text's representation is made of its tokens'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PoolingArg {
    /// The first token's
    Cls,
    /// The mean of all tokens'
    Mean,
}

impl BertArgs {
    pub(super) fn set(&self, bert: &mut FinetuneConfig) {
        let pooling = self.pooling.map(|pooling| match pooling {
            PoolingArg::Cls => Pooling::Cls,
            PoolingArg::Mean => Pooling::Mean,
        });
        bert.pooling = pooling.or(bert.pooling);
        put(&mut bert.encoder_rate, self.encoder_learning_rate);
        put(&mut bert.warm_up, self.warm_up);
        put(&mut bert.weight_decay, self.weight_decay);
    }

    /// Names an option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        first_given(&[
            ("--pooling", self.pooling.is_some()),
            ("--encoder-learning-rate", self.encoder_learning_rate.is_some()),
            ("--warm-up", self.warm_up.is_some()),
            ("--weight-decay", self.weight_decay.is_some()),
        ])
    }
}

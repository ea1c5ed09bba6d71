use autotag_train::finetune::FinetuneConfig;

use super::{first_given, put, told};

/// What only a pretrained encoder that is trained further can be told.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training: --model bert, wide-cnn-bert")]
pub(in crate::commands::train) struct BertArgs {
    /// The encoder's highest step size; --learning-rate is that of the layer of scores [default:
    /// 3e-5 for BERT-base, more for a narrower encoder, 1.2e-4 for MiniLM]
    #[arg(long, value_name = "RATE")]
    encoder_learning_rate: Option<f32>,

    #[arg(long, value_name = "SHARE", help = told(
        "The share of each weight, times its step size, that it loses in a step",
        |c| c.bert.weight_decay))]
    weight_decay: Option<f32>,
}

impl BertArgs {
    pub(super) fn set(&self, bert: &mut FinetuneConfig) {
        bert.encoder_rate = self.encoder_learning_rate.or(bert.encoder_rate);
        put(&mut bert.weight_decay, self.weight_decay);
    }

    /// Names an option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        first_given(&[
            ("--encoder-learning-rate", self.encoder_learning_rate.is_some()),
            ("--weight-decay", self.weight_decay.is_some()),
        ])
    }
}

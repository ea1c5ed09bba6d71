//! The hyper-parameters as options; the trainer's configuration has their defaults.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use autotag::{Interpolation, Proportion, Temperature};
use autotag_train::TrainConfig;
use autotag_train::cnn::{AdamConfig, CnnConfig, ContrastiveConfig};

/// Every hyper-parameter of the CNN and its training.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub(super) struct HyperArgs {
    /// Fixes every random choice
    #[arg(long, value_name = "N", default_value_t = defaults().seed)]
    seed: u64,

    /// The most passes over the training set
    #[arg(long, value_name = "N", default_value_t = at_least_1(defaults().epochs))]
    epochs: NonZeroUsize,

    /// The passes without a better figure on dev after which training ends
    #[arg(long, value_name = "N", default_value_t = at_least_1(defaults().patience))]
    patience: NonZeroUsize,

    /// The texts of a step; the contrastive loss compares those of one batch
    #[arg(long, value_name = "N", default_value_t = at_least_1(defaults().batch_size))]
    batch_size: NonZeroUsize,

    /// Adam's step size
    #[arg(long, value_name = "RATE", default_value_t = defaults().adam.learning_rate)]
    #[arg(value_parser = positive)]
    learning_rate: f32,

    /// The weight of the contrastive loss beside the cross-entropy; 0 leaves it out
    #[arg(long, value_name = "GAMMA", default_value_t = defaults().contrastive.gamma)]
    #[arg(value_parser = not_negative)]
    gamma: f32,

    /// The temperature tau' of the contrastive loss
    #[arg(long, value_name = "TAU", default_value_t = defaults().contrastive.temperature)]
    #[arg(value_parser = positive)]
    contrastive_temperature: f32,

    /// The share of the representation that is dropped in training
    #[arg(long, value_name = "SHARE", default_value_t = defaults().cnn.dropout)]
    #[arg(value_parser = share)]
    dropout: f32,

    /// The share of the tokens' embeddings that is dropped in training
    #[arg(long, value_name = "SHARE", default_value_t = defaults().cnn.embedding_dropout)]
    #[arg(value_parser = share)]
    embedding_dropout: f32,

    /// The widths of the CNN's windows, in tokens, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(default_values_t = defaults().cnn.widths.into_iter().map(at_least_1))]
    widths: Vec<NonZeroUsize>,

    /// The filters of each width
    #[arg(long, value_name = "N", default_value_t = at_least_1(defaults().cnn.filters))]
    filters: NonZeroUsize,

    /// The length of a token's embedding, where --init does not say it
    #[arg(long, value_name = "N", conflicts_with = "init")]
    #[arg(default_value_t = at_least_1(defaults().cnn.embedding_dimensions))]
    embedding_dimensions: NonZeroUsize,

    /// The most tokens of a text that the model reads
    #[arg(long, value_name = "N", default_value_t = at_least_1(defaults().max_length))]
    max_length: NonZeroUsize,

    /// The most tokens of the vocabulary made from the training set, where --init brings none
    #[arg(long, value_name = "N", conflicts_with = "init")]
    #[arg(default_value_t = at_least_1(defaults().vocabulary_size))]
    vocabulary_size: NonZeroUsize,

    /// A pretrained encoder's folder, with tokenizer.json and model.safetensors, whose token table
    /// starts the CNN's
    #[arg(long, value_name = "FOLDER")]
    pub(super) init: Option<PathBuf>,

    /// Scale representations to length 1
    #[arg(long)]
    normalize: bool,

    /// The number of neighbors that vote when dev is measured
    #[arg(long, value_name = "N", default_value_t = defaults().interpolation.k)]
    k: NonZeroUsize,

    /// The temperature of their votes
    #[arg(long, value_name = "TAU", value_parser = positive)]
    #[arg(default_value_t = defaults().interpolation.temperature.get())]
    tau: f32,

    /// The weight of the neighbors, 0 (the model alone) to 1 (the neighbors alone)
    #[arg(long, value_name = "LAMBDA", value_parser = part)]
    #[arg(default_value_t = defaults().interpolation.proportion.get())]
    lambda: f32,
}

impl HyperArgs {
    /// Returns the trainer's configuration.
    pub(super) fn config(&self) -> TrainConfig {
        TrainConfig {
            cnn: CnnConfig {
                embedding_dimensions: self.embedding_dimensions.get(),
                widths: self.widths.iter().map(|width| width.get()).collect(),
                filters: self.filters.get(),
                embedding_dropout: self.embedding_dropout,
                dropout: self.dropout,
                normalize: self.normalize,
            },
            contrastive: ContrastiveConfig {
                gamma: self.gamma,
                temperature: self.contrastive_temperature,
            },
            adam: AdamConfig { learning_rate: self.learning_rate, ..defaults().adam },
            batch_size: self.batch_size.get(),
            epochs: self.epochs.get(),
            patience: self.patience.get(),
            max_length: self.max_length.get(),
            vocabulary_size: self.vocabulary_size.get(),
            interpolation: Interpolation {
                k: self.k,
                temperature: Temperature::new(self.tau).expect("its parser checks it"),
                proportion: Proportion::new(self.lambda).expect("its parser checks it"),
            },
            seed: self.seed,
        }
    }
}

fn defaults() -> TrainConfig {
    TrainConfig::default()
}

fn at_least_1(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("no default count is 0")
}

fn positive(text: &str) -> Result<f32, String> {
    number(text, |value| value > 0.0, "greater than 0")
}

fn not_negative(text: &str) -> Result<f32, String> {
    number(text, |value| value >= 0.0, "0 or greater")
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |value| (0.0..1.0).contains(&value), "at least 0 and below 1")
}

fn part(text: &str) -> Result<f32, String> {
    number(text, |value| (0.0..=1.0).contains(&value), "within 0 and 1")
}

fn number(text: &str, fits: impl Fn(f32) -> bool, expected: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && fits(value) => Ok(value),
        _ => Err(format!("it must be a number {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        hyper: HyperArgs,
    }

    #[test]
    fn the_defaults_are_the_trainers() {
        assert_eq!(Line::parse_from(["train"]).hyper.config(), TrainConfig::default());
    }

    #[test]
    fn options_reach_the_configuration() {
        let line = ["train", "--widths", "1,2", "--gamma", "0", "--lambda", "1", "--normalize"];
        let config = Line::parse_from(line).hyper.config();
        assert_eq!(config.cnn.widths, [1, 2]);
        assert_eq!(config.contrastive.gamma, 0.0);
        assert_eq!(config.interpolation.proportion, Proportion::NEIGHBORS);
        assert!(config.cnn.normalize);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for option in ["--epochs=0", "--dropout=1", "--gamma=-1", "--learning-rate=0", "--widths=0", "--lambda=2"]
        {
            assert!(Line::try_parse_from(["train", option]).is_err(), "{option}");
        }
    }
}

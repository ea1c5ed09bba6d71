//! The hyper-parameters as options; the trainer's configuration has their defaults.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use autotag::{Interpolation, Proportion, Temperature};
use autotag_train::TrainConfig;
use autotag_train::cnn::{AdamConfig, CnnConfig, ContrastiveConfig, GraphForm};

use crate::args::proportion;

/// Every hyper-parameter of the CNN and its training.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub(super) struct HyperArgs {
    /// Fixes every random choice
    #[arg(long, value_name = "N", default_value_t = defaults().seed)]
    seed: u64,

    /// The most passes over the training set
    #[arg(long, value_name = "N", default_value_t = defaults().epochs)]
    epochs: usize,

    /// The passes without a better figure on dev after which training ends
    #[arg(long, value_name = "N", default_value_t = defaults().patience)]
    patience: usize,
    /// How much the average over epochs keeps of the earlier ones; 0 keeps the last epoch alone
    #[arg(long, value_name = "SHARE", default_value_t = defaults().averaging)]
    averaging: f32,

    /// The texts of a step; the contrastive loss compares those of one batch
    #[arg(long, value_name = "N", default_value_t = defaults().batch_size)]
    batch_size: usize,

    /// Adam's step size
    #[arg(long, value_name = "RATE", default_value_t = defaults().adam.learning_rate)]
    learning_rate: f32,

    /// The weight of the contrastive loss beside the cross-entropy; 0 leaves it out
    #[arg(long, value_name = "GAMMA", default_value_t = defaults().contrastive.gamma)]
    gamma: f32,

    /// The temperature tau' of the contrastive loss
    #[arg(long, value_name = "TAU", default_value_t = defaults().contrastive.temperature)]
    contrastive_temperature: f32,

    /// The share of the representation that is dropped in training
    #[arg(long, value_name = "SHARE", default_value_t = defaults().cnn.dropout)]
    dropout: f32,

    /// The share of the tokens' embeddings that is dropped in training
    #[arg(long, value_name = "SHARE", default_value_t = defaults().cnn.embedding_dropout)]
    embedding_dropout: f32,

    /// The widths of the CNN's windows, in tokens, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(default_values_t = defaults().cnn.widths)]
    widths: Vec<usize>,

    /// The filters of each width
    #[arg(long, value_name = "N", default_value_t = defaults().cnn.filters)]
    filters: usize,

    /// The length of a token's embedding, where --init does not say it
    #[arg(long, value_name = "N", conflicts_with = "init")]
    #[arg(default_value_t = defaults().cnn.embedding_dimensions)]
    embedding_dimensions: usize,

    /// The most tokens of a text that the model reads
    #[arg(long, value_name = "N", default_value_t = defaults().max_length)]
    max_length: usize,

    /// The most tokens of the vocabulary made from the training set, where --init brings none
    #[arg(long, value_name = "N", conflicts_with = "init")]
    #[arg(default_value_t = defaults().vocabulary_size)]
    vocabulary_size: usize,

    /// A pretrained encoder's folder, with tokenizer.json and model.safetensors, whose token table
    /// starts the CNN's
    #[arg(long, value_name = "FOLDER")]
    pub(super) init: Option<PathBuf>,

    /// Scale representations to length 1
    #[arg(long)]
    normalize: bool,

    /// How the model is written: `folded` is much faster, `plain` a smaller file
    #[arg(long, value_enum, value_name = "FORM", default_value = "folded")]
    graph: Graph,

    /// The number of neighbors that vote when dev is measured; the bundle gets what is tuned on dev
    #[arg(long, value_name = "N", default_value_t = defaults().interpolation.k)]
    k: NonZeroUsize,

    /// The temperature of their votes
    #[arg(long, value_name = "TAU")]
    #[arg(default_value_t = defaults().interpolation.temperature.get())]
    tau: f32,

    /// The weight of the neighbors, 0 (the model alone) to 1 (the neighbors alone), or `adaptive`
    #[arg(long, value_name = "LAMBDA|adaptive", value_parser = proportion)]
    #[arg(default_value_t = defaults().interpolation.proportion)]
    lambda: Proportion,
}

/// How the model is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Graph {
    /// Embedding and convolution multiplied into each other: much faster, a larger file
    Folded,
    /// As trained
    Plain,
}

impl HyperArgs {
    /// Returns the trainer's configuration, or says which option is out of range.
    pub(super) fn config(&self, threads: NonZeroUsize) -> Result<TrainConfig, String> {
        let temperature = Temperature::new(self.tau).map_err(|error| error.to_string())?;
        let config = TrainConfig {
            cnn: CnnConfig {
                embedding_dimensions: self.embedding_dimensions,
                widths: self.widths.clone(),
                filters: self.filters,
                embedding_dropout: self.embedding_dropout,
                dropout: self.dropout,
                normalize: self.normalize,
            },
            contrastive: ContrastiveConfig {
                gamma: self.gamma,
                temperature: self.contrastive_temperature,
            },
            adam: AdamConfig { learning_rate: self.learning_rate, ..defaults().adam },
            batch_size: self.batch_size,
            epochs: self.epochs,
            patience: self.patience,
            averaging: self.averaging,
            max_length: self.max_length,
            vocabulary_size: self.vocabulary_size,
            interpolation: Interpolation { k: self.k, temperature, proportion: self.lambda },
            form: match self.graph {
                Graph::Folded => GraphForm::Folded,
                Graph::Plain => GraphForm::Plain,
            },
            threads: threads.get(),
            seed: self.seed,
        };
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }
}

fn defaults() -> TrainConfig {
    TrainConfig::default()
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

    fn config(line: &[&str]) -> Result<TrainConfig, String> {
        let line = ["train"].iter().chain(line);
        Line::try_parse_from(line).unwrap().hyper.config(NonZeroUsize::MIN)
    }

    #[test]
    fn the_defaults_are_the_trainers() {
        let expected = TrainConfig { threads: 1, ..TrainConfig::default() };
        assert_eq!(config(&[]).unwrap(), expected);
    }

    #[test]
    fn options_reach_the_configuration() {
        let line = ["--widths", "1,2", "--gamma", "0", "--lambda", "1", "--normalize"];
        let config = config(&line).unwrap();
        assert_eq!(config.cnn.widths, [1, 2]);
        assert_eq!(config.contrastive.gamma, 0.0);
        assert_eq!(config.interpolation.proportion, Proportion::NEIGHBORS);
        assert!(config.cnn.normalize);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for option in ["--epochs=0", "--dropout=1", "--gamma=-1", "--tau=0", "--widths=0"] {
            assert!(config(&[option]).unwrap_err().contains("out of range"), "{option}");
        }
    }
}

//! The hyper-parameters as options; the trainer's configuration has their defaults.

mod bert;
mod joint;
mod ldgn;

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use autotag::{Interpolation, Proportion, Temperature};
use autotag_train::adapter::AdapterConfig;
use autotag_train::cnn::{CnnConfig, GraphForm};
use autotag_train::finetune::FinetuneConfig;
use autotag_train::optimizer::AdamConfig;
use autotag_train::wide::WideConfig;
use autotag_train::{ContrastiveConfig, TrainConfig, WordVectors};
use clap::ValueEnum;

use super::ModelKind;
use super::adapter::AdapterArgs;
use crate::args::proportion;
use crate::commands::bundle::from_encoder::PoolingArg;

use bert::BertArgs;
use joint::JointArgs;
use ldgn::LdgnArgs;

/// Every hyper-parameter of the models and their training.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub(in crate::commands) struct HyperArgs {
    /// Fixes every random choice
    #[arg(long, value_name = "N", default_value_t = defaults().seed)]
    seed: u64,

    #[arg(long, value_name = "N")]
    #[arg(help = told("The most passes over the training set", |c| c.epochs))]
    epochs: Option<usize>,

    #[arg(long, value_name = "N", help = told(
        "The passes without a better figure on dev after which training ends", |c| c.patience))]
    patience: Option<usize>,

    #[arg(long, value_name = "SHARE", help = told(
        "How much the average over epochs keeps of the earlier ones; 0 keeps the last epoch alone",
        |c| c.averaging))]
    averaging: Option<f32>,

    #[arg(long, value_name = "N", help = told(
        "The texts of a step; the contrastive loss compares those of one batch", |c| c.batch_size))]
    batch_size: Option<usize>,

    #[arg(long, value_name = "RATE", help = told("Adam's step size", |c| c.adam.learning_rate))]
    learning_rate: Option<f32>,

    #[arg(long, value_name = "SHARE", help = told(
        "The share of all steps in which the step size rises to what it is to be",
        |c| c.schedule.warm_up))]
    warm_up: Option<f32>,

    #[arg(long, value_name = "SHARE", help = told(
        "What is left of the step size in the last epoch's end: it falls in a straight line over all \
         epochs; 1 keeps it", |c| c.schedule.left))]
    final_rate: Option<f32>,

    #[arg(long, value_name = "VALUE", help = told(
        "Added to the root that Adam divides by: the larger, the less rare features move",
        |c| c.adam.epsilon))]
    epsilon: Option<f32>,

    #[arg(long, value_name = "NORM", help = told(
        "The norm that a longer gradient is scaled down to; 0 for no bound. A wide model beside another \
         one takes no part in it",
        |c| c.adam.max_gradient_norm))]
    max_gradient_norm: Option<f32>,

    #[arg(long, value_name = "GAMMA", help = told(
        "The weight of the contrastive loss beside the cross-entropy; 0 leaves it out",
        |c| c.contrastive.gamma))]
    gamma: Option<f32>,

    #[arg(long, value_name = "TAU", help = told(
        "The temperature tau' of the contrastive loss", |c| c.contrastive.temperature))]
    contrastive_temperature: Option<f32>,

    /// The share of the representation, of LDGN's label vectors or of BERT's layers that is dropped in
    /// training [default: 0.5, wide: 0.2, adapter and ldgn: 0.3, bert: 0.1]
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f32>,

    /// Scale representations to length 1 [default: false, wide and all with it: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    normalize: Option<bool>,

    #[arg(long, value_name = "N", help = told(
        "The most tokens, or words, of a text that the model reads", |c| c.max_length))]
    max_length: Option<usize>,

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

    /// A pretrained encoder's folder, with tokenizer.json, model.safetensors and, for the adapter and
    /// BERT, config.json: its token table starts that of the CNN or LDGN, the adapter is trained on all
    /// of it, and `--model bert` trains all of it further
    #[arg(long, value_name = "FOLDER")]
    pub(super) init: Option<PathBuf>,

    /// How the encoder of the adapter or BERT makes a text's representation of its tokens': their mean,
    /// or the first one's; where absent what its folder says, else the mean, or for BERT the first
    #[arg(long, value_enum, value_name = "mean|cls", hide_possible_values = true)]
    pooling: Option<PoolingArg>,

    #[command(flatten)]
    pub(in crate::commands) cnn: CnnArgs,

    #[command(flatten)]
    wide: WideArgs,

    #[command(flatten)]
    joint: JointArgs,

    #[command(flatten)]
    pub(super) adapter: AdapterArgs,

    #[command(flatten)]
    ldgn: LdgnArgs,

    #[command(flatten)]
    bert: BertArgs,
}

/// What only the CNN can be told, or it and other models that read tokens.
#[derive(Clone, Debug, clap::Args)]
#[command(
    next_help_heading = "Training: --model cnn, wide-cnn, wide-cnn-adapter, wide-cnn-bert and, \
                         about tokens, ldgn"
)]
pub(in crate::commands) struct CnnArgs {
    #[arg(long, value_name = "SHARE", help = told(
        "The share of the tokens' embeddings that is dropped in training",
        |c| c.cnn.embedding_dropout))]
    embedding_dropout: Option<f32>,

    /// The widths of the CNN's windows, in tokens, separated by commas [default: 3,4,5]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    widths: Option<Vec<usize>>,

    #[arg(long, value_name = "N", help = told("The filters of each width", |c| c.cnn.filters))]
    filters: Option<usize>,

    #[arg(long, value_name = "N", conflicts_with = "init", help = told(
        "The length of a token's embedding, where neither --init nor --embeddings says it",
        |c| c.cnn.embedding_dimensions))]
    embedding_dimensions: Option<usize>,

    #[arg(long, value_name = "N", conflicts_with = "init", help = told(
        "The most tokens of the vocabulary made from the training set, where --init brings none",
        |c| c.vocabulary_size))]
    vocabulary_size: Option<usize>,

    /// Word vectors to start the embedding from, where --init gives none: lines of a word and its
    /// values, as GloVe's, or an array in a file that ends in .npy
    #[arg(long, value_name = "FILE", conflicts_with_all = ["init", "embedding_dimensions"])]
    embeddings: Option<PathBuf>,

    /// The words of the array's rows, one on each line
    #[arg(long, value_name = "FILE", requires = "embeddings")]
    embedding_words: Option<PathBuf>,

    /// How the model is written: `folded` is much faster, `plain` a smaller file [default: folded]
    #[arg(long, value_enum, value_name = "FORM")]
    graph: Option<Graph>,
}

/// What only the wide model can be told.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Training: --model wide, wide-cnn, wide-cnn-adapter, wide-cnn-bert")]
pub(in crate::commands) struct WideArgs {
    #[arg(long, value_name = "N", help = told(
        "The length of the hidden layer, the representation's first part", |c| c.wide.hidden))]
    hidden: Option<usize>,

    #[arg(long, value_name = "N", help = told(
        "The length of the representation's lexical part, by which texts of the same words are \
         neighbors; 0 leaves it out", |c| c.wide.lexical))]
    lexical: Option<usize>,

    #[arg(long, value_name = "SHARE", help = told(
        "The lexical part's share of squared distances", |c| c.wide.lexical_share))]
    lexical_share: Option<f32>,

    #[arg(long, value_name = "N", help = told(
        "The training texts in which an n-gram must occur", |c| c.wide.min_documents))]
    min_documents: Option<usize>,

    #[arg(long, value_name = "N", help = told(
        "The most n-grams; those in the most texts are kept", |c| c.wide.max_ngrams))]
    max_ngrams: Option<usize>,

    #[arg(long, value_name = "SHARE", help = told(
        "The share of a text's n-grams that is dropped in training", |c| c.wide.ngram_dropout))]
    ngram_dropout: Option<f32>,

    #[arg(long, value_name = "VALUE", help = told(
        "The spread of the random values that the n-grams' rows start with", |c| c.wide.spread))]
    spread: Option<f32>,
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
    /// Returns the folder or file that the model starts from, where there is one.
    pub(in crate::commands) fn start(&self) -> Option<&Path> {
        self.init.as_deref().or(self.cnn.embeddings.as_deref())
    }

    /// Returns where an encoder's representations are kept, for a bundle that is to lie at `out`.
    pub(in crate::commands) fn cache(&self, out: &Path) -> Option<PathBuf> {
        self.adapter.cache.folder(out)
    }

    /// Returns the trainer's configuration, or says which option is out of range or of no use for
    /// this kind of model.
    pub(in crate::commands) fn config(
        &self,
        kind: ModelKind,
        threads: NonZeroUsize,
    ) -> Result<TrainConfig, String> {
        let temperature = Temperature::new(self.tau).map_err(|error| error.to_string())?;
        if let Some(option) = self.foreign(kind) {
            return Err(format!("{option} is of no use with --model {kind}: leave it out"));
        }
        let mut config = kind.settings();
        config.seed = self.seed;
        config.threads = threads.get();
        config.interpolation = Interpolation { k: self.k, temperature, proportion: self.lambda };
        put(&mut config.epochs, self.epochs);
        put(&mut config.patience, self.patience);
        put(&mut config.averaging, self.averaging);
        put(&mut config.batch_size, self.batch_size);
        put(&mut config.max_length, self.max_length);
        let AdamConfig { learning_rate, epsilon, max_gradient_norm, .. } = &mut config.adam;
        put(max_gradient_norm, self.max_gradient_norm);
        put(learning_rate, self.learning_rate);
        put(epsilon, self.epsilon);
        put(&mut config.schedule.warm_up, self.warm_up);
        put(&mut config.schedule.left, self.final_rate);
        let ContrastiveConfig { gamma, temperature, .. } = &mut config.contrastive;
        put(gamma, self.gamma);
        put(temperature, self.contrastive_temperature);
        match kind {
            ModelKind::Cnn => self.set_cnn(&mut config),
            ModelKind::Wide => {
                self.set_wide(&mut config.wide);
                put(&mut config.wide.dropout, self.dropout);
                put(&mut config.wide.normalize, self.normalize);
                if self.normalize == Some(false) && self.wide.lexical.is_none() {
                    config.wide.lexical = 0;
                }
            }
            ModelKind::WideCnn => {
                self.set_cnn(&mut config);
                self.set_wide(&mut config.wide);
                self.joint.set(&mut config.joint);
            }
            ModelKind::Adapter => {
                self.set_adapter(&mut config.adapter);
                put(&mut config.adapter.hidden, self.wide.hidden);
            }
            ModelKind::WideCnnAdapter => {
                self.set_cnn(&mut config);
                self.set_adapter(&mut config.adapter);
                self.set_wide(&mut config.wide);
                self.joint.set(&mut config.joint);
            }
            ModelKind::WideCnnBert => {
                self.set_cnn(&mut config);
                self.set_bert(&mut config.bert);
                self.set_wide(&mut config.wide);
                self.joint.set(&mut config.joint);
            }
            ModelKind::Ldgn => self.set_ldgn(&mut config),
            ModelKind::Bert => self.set_bert(&mut config.bert),
        }
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Names an option that is another model's.
    fn foreign(&self, kind: ModelKind) -> Option<&'static str> {
        use ModelKind::{Adapter, Bert, Cnn, Ldgn, Wide, WideCnn, WideCnnAdapter, WideCnnBert};
        let of_use: [(Option<&'static str>, &[ModelKind]); 11] = [
            (
                self.init.as_ref().map(|_| "--init"),
                &[Cnn, WideCnn, Adapter, WideCnnAdapter, WideCnnBert, Ldgn, Bert],
            ),
            (self.pooling.map(|_| "--pooling"), &[Adapter, WideCnnAdapter, WideCnnBert, Bert]),
            (self.cnn.given_of_tokens(), &[Cnn, WideCnn, WideCnnAdapter, WideCnnBert, Ldgn]),
            (self.cnn.given_of_windows(), &[Cnn, WideCnn, WideCnnAdapter, WideCnnBert]),
            (
                self.wide.hidden.map(|_| "--hidden"),
                &[Wide, WideCnn, Adapter, WideCnnAdapter, WideCnnBert],
            ),
            (self.wide.given(), &[Wide, WideCnn, WideCnnAdapter, WideCnnBert]),
            (self.joint.given(), &[WideCnn, WideCnnAdapter, WideCnnBert]),
            (self.joint.given_of_three(), &[WideCnnAdapter, WideCnnBert]),
            (self.adapter.given(), &[Adapter, WideCnnAdapter]),
            (self.ldgn.given(), &[Ldgn]),
            (self.bert.given(), &[WideCnnBert, Bert]),
        ];
        of_use.into_iter().find_map(|(given, kinds)| given.filter(|_| !kinds.contains(&kind)))
    }

    fn set_adapter(&self, adapter: &mut AdapterConfig) {
        self.adapter.set(adapter);
        adapter.pooling = self.pooling.map(Into::into);
        put(&mut adapter.dropout, self.dropout);
        put(&mut adapter.normalize, self.normalize);
    }

    fn set_bert(&self, bert: &mut FinetuneConfig) {
        self.bert.set(bert);
        bert.pooling = self.pooling.map(Into::into);
        put(&mut bert.dropout, self.dropout);
        put(&mut bert.normalize, self.normalize);
    }

    fn set_ldgn(&self, config: &mut TrainConfig) {
        put(&mut config.vocabulary_size, self.cnn.vocabulary_size);
        let ldgn = &mut config.ldgn;
        put(&mut ldgn.embedding_dimensions, self.cnn.embedding_dimensions);
        put(&mut ldgn.embedding_dropout, self.cnn.embedding_dropout);
        put(&mut ldgn.dropout, self.dropout);
        put(&mut ldgn.normalize, self.normalize);
        self.ldgn.set(ldgn);
    }

    fn set_cnn(&self, config: &mut TrainConfig) {
        let args = &self.cnn;
        put(&mut config.vocabulary_size, args.vocabulary_size);
        if args.graph == Some(Graph::Plain) {
            config.form = GraphForm::Plain;
        }
        let cnn: &mut CnnConfig = &mut config.cnn;
        put(&mut cnn.embedding_dimensions, args.embedding_dimensions);
        put(&mut cnn.widths, args.widths.clone());
        put(&mut cnn.filters, args.filters);
        put(&mut cnn.embedding_dropout, args.embedding_dropout);
        put(&mut cnn.dropout, self.dropout);
        put(&mut cnn.normalize, self.normalize);
    }

    fn set_wide(&self, wide: &mut WideConfig) {
        let args = &self.wide;
        put(&mut wide.hidden, args.hidden);
        put(&mut wide.lexical, args.lexical);
        put(&mut wide.lexical_share, args.lexical_share);
        put(&mut wide.min_documents, args.min_documents);
        put(&mut wide.max_ngrams, args.max_ngrams);
        put(&mut wide.ngram_dropout, args.ngram_dropout);
        put(&mut wide.spread, args.spread);
    }
}

impl CnnArgs {
    /// Returns where the word vectors are that were given, or says what else is to be given.
    pub(super) fn word_vectors(&self) -> Result<Option<WordVectors>, String> {
        let Some(path) = self.embeddings.clone() else { return Ok(None) };
        let is_array = path.extension().is_some_and(|extension| extension == "npy");
        match (is_array, self.embedding_words.clone()) {
            (true, Some(words)) => Ok(Some(WordVectors::Npy { array: path, words })),
            (false, None) => Ok(Some(WordVectors::Text(path))),
            (true, None) => {
                Err("an array needs --embedding-words FILE, which names its rows".to_owned())
            }
            (false, Some(_)) => {
                Err("--embedding-words is for arrays, in files that end in .npy".to_owned())
            }
        }
    }

    /// Names an option that was given, of those about tokens.
    fn given_of_tokens(&self) -> Option<&'static str> {
        first_given(&[
            ("--embedding-dropout", self.embedding_dropout.is_some()),
            ("--embedding-dimensions", self.embedding_dimensions.is_some()),
            ("--vocabulary-size", self.vocabulary_size.is_some()),
            ("--embeddings", self.embeddings.is_some()),
        ])
    }

    /// Names an option that was given, of those about windows.
    fn given_of_windows(&self) -> Option<&'static str> {
        first_given(&[
            ("--widths", self.widths.is_some()),
            ("--filters", self.filters.is_some()),
            ("--graph", self.graph.is_some()),
        ])
    }
}

impl WideArgs {
    /// Names an option that was given.
    fn given(&self) -> Option<&'static str> {
        first_given(&[
            ("--lexical", self.lexical.is_some()),
            ("--lexical-share", self.lexical_share.is_some()),
            ("--min-documents", self.min_documents.is_some()),
            ("--max-ngrams", self.max_ngrams.is_some()),
            ("--ngram-dropout", self.ngram_dropout.is_some()),
            ("--spread", self.spread.is_some()),
        ])
    }
}

/// Names the first option that was given.
pub(super) fn first_given(options: &[(&'static str, bool)]) -> Option<&'static str> {
    options.iter().find(|(_, is_given)| *is_given).map(|&(name, _)| name)
}

/// Replaces a setting by what was given.
pub(super) fn put<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

fn defaults() -> TrainConfig {
    TrainConfig::default()
}

/// Writes an option's help with its default, and other models' where they have another.
pub(super) fn told<T: Display + PartialEq>(help: &str, of: impl Fn(&TrainConfig) -> T) -> String {
    let cnn = of(&defaults());
    let mut told = format!("{help} [default: {cnn}");
    for &kind in ModelKind::value_variants() {
        let other = of(&kind.settings());
        if other != cnn {
            told += &format!(", {kind}: {other}");
        }
    }
    told + "]"
}

#[cfg(test)]
mod tests;

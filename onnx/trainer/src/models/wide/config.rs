//! The wide model's settings.

use serde::{Deserialize, Serialize};

use autotag_onnx::ngrams::MAX_NGRAMS;
use autotag_onnx::{Precision, TableFormat};

use crate::check::{MAX_SIZE, is_share, is_true, within};
use crate::config::TrainConfig;
use crate::error::Result;
use crate::loss::ContrastiveConfig;
use crate::optimizer::AdamConfig;

/// The largest spread of the rows at the start; above it, scores are no numbers from the beginning.
const MAX_SPREAD: f32 = 1000.0;

/// The wide model's settings: n-grams, shape, regularization, optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WideConfig {
    /// R: the length of the hidden layer, the first part of the representation.
    pub hidden: usize,
    /// D: the length of the representation's lexical part; 0 leaves it out.
    #[serde(default)]
    pub lexical: usize,
    /// a: the lexical part's share of squared distances, at least 0 and less than 1.
    #[serde(default)]
    pub lexical_share: f32,
    /// The n-grams of the linear classifiers that the trained model is stacked with, those in the most
    /// texts; 0 leaves the classifiers out.
    #[serde(default)]
    pub linear: usize,
    /// The training texts in which an n-gram must occur.
    pub min_documents: usize,
    /// The most n-grams; those in the most texts are kept.
    pub max_ngrams: usize,
    /// The share of a text's n-grams that are dropped in training.
    pub ngram_dropout: f32,
    /// The share of the representation's values that are dropped before the output layer.
    pub dropout: f32,
    /// The spread that the table starts with: values are drawn from `-spread..=spread`.
    pub spread: f32,
    /// Scales the representation to length 1.
    pub normalize: bool,
    /// The optimizer.
    ///
    /// Adam's epsilon and rate are large together: with a small epsilon a rare n-gram moves as fast as
    /// a frequent one. The pair did better than smaller ones on two of three data sets' dev parts.
    pub adam: AdamConfig,
}

impl WideConfig {
    /// Returns the length of the representation.
    pub fn n_dimensions(&self) -> usize {
        self.hidden + self.lexical
    }
}

/// The length of a slice of a table's rows, where they are a multiple of it.
const SLICE: usize = 100;

/// Returns the format in which a table of n-grams is exported.
pub(super) fn table_format(n_columns: usize) -> TableFormat {
    match n_columns.is_multiple_of(SLICE) {
        true => TableFormat::new(n_columns, n_columns / SLICE, Precision::Int4),
        false => TableFormat::new(n_columns, 1, Precision::Int8),
    }
}

impl Default for WideConfig {
    fn default() -> Self {
        WideConfig {
            hidden: 300,
            lexical: 300,
            lexical_share: 0.3,
            linear: 0,
            min_documents: 2,
            max_ngrams: 150_000,
            ngram_dropout: 0.3,
            dropout: 0.2,
            spread: 0.1,
            normalize: true,
            adam: AdamConfig { learning_rate: 0.03, epsilon: 1e-3, ..AdamConfig::default() },
        }
    }
}

impl WideConfig {
    pub(crate) const NAME: &str = "wide";

    /// Returns the settings of a wide model by itself, and the training that suits it.
    ///
    /// The contrastive loss is left out, since the tuned interpolation was no better with it.
    pub(crate) fn alone() -> (Self, TrainConfig) {
        let config = TrainConfig {
            contrastive: ContrastiveConfig::off(),
            epochs: 10,
            max_length: 1000,
            ..TrainConfig::default()
        };
        (WideConfig::default(), config)
    }

    /// Returns the settings of an ensemble's wide model.
    pub(crate) fn member(_: &mut TrainConfig) -> Self {
        WideConfig { linear: 30_000, ..WideConfig::default() }
    }

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        within("hidden", self.hidden, 1..=MAX_SIZE, "within 1..=10000")?;
        within("lexical dimensions", self.lexical, 0..=MAX_SIZE, "within 0..=10000")?;
        is_share("lexical share", self.lexical_share)?;
        let is_sound = self.normalize || self.lexical == 0;
        let expected = "0 where representations are not scaled to length 1";
        is_true("lexical dimensions", self.lexical, is_sound, expected)?;
        within("min documents", self.min_documents, 1..=usize::MAX, "at least 1")?;
        within("linear", self.linear, 0..=MAX_NGRAMS, "within 0..=2000000")?;
        within("max n-grams", self.max_ngrams, 1..=MAX_NGRAMS, "within 1..=2000000")?;
        is_share("n-gram dropout", self.ngram_dropout)?;
        is_share("dropout", self.dropout)?;
        let is_spread = self.spread > 0.0 && self.spread <= MAX_SPREAD;
        is_true("spread", self.spread, is_spread, "greater than 0, at most 1000")?;
        self.adam.check()
    }
}

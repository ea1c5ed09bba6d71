//! The CNN's settings.

use autotag_onnx::{Precision, TableFormat};
use serde::{Deserialize, Serialize};

use crate::check::{MAX_SIZE, at_least_1, is_share, is_true, within};
use crate::config::TrainConfig;
use crate::error::Result;
use crate::optimizer::AdamConfig;
use crate::schedule::Schedule;
use crate::vocabulary::{DEFAULT_VOCABULARY_SIZE, check_vocabulary_size};

/// The CNN's settings: shape, regularization, optimizer, form of the export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CnnConfig {
    /// The length of a token's embedding; a pretrained token table has its own.
    pub embedding_dimensions: usize,
    /// The windows' widths, in tokens.
    pub widths: Vec<usize>,
    /// The number of filters of each width.
    pub filters: usize,
    /// The share of an embedding's values that are dropped in training, per distinct token.
    pub embedding_dropout: f32,
    /// The share of the representation's values that are dropped before the output layer.
    pub dropout: f32,
    /// Scales the representation to length 1.
    pub normalize: bool,
    /// The most tokens of a vocabulary learned from the training set, where no encoder brings one.
    pub vocabulary_size: usize,
    /// The form in which embedding and convolution are exported.
    pub form: GraphForm,
    /// The optimizer.
    pub adam: AdamConfig,
}

impl Default for CnnConfig {
    /// Returns the settings of a CNN by itself.
    fn default() -> Self {
        CnnConfig {
            embedding_dimensions: 300,
            widths: vec![3, 4, 5],
            filters: 100,
            embedding_dropout: 0.3,
            dropout: 0.5,
            normalize: false,
            vocabulary_size: DEFAULT_VOCABULARY_SIZE,
            form: GraphForm::default(),
            adam: AdamConfig { learning_rate: 3e-3, ..AdamConfig::default() },
        }
    }
}

impl CnnConfig {
    pub(crate) const NAME: &str = "cnn";

    /// Returns the settings of a CNN by itself, and the training that suits it.
    ///
    /// A high rate that falls does as well as a third of it that stays, in less than half of the epochs.
    /// While it falls, epochs after a bad one are still worth having.
    pub(crate) fn alone() -> (Self, TrainConfig) {
        let config = TrainConfig {
            schedule: Schedule::FALLING,
            epochs: 12,
            patience: 6,
            averaging: 0.5,
            ..TrainConfig::default()
        };
        (CnnConfig::default(), config)
    }

    /// Returns the settings of an ensemble's CNN.
    pub(crate) fn member(_: &mut TrainConfig) -> Self {
        CnnConfig { normalize: true, adam: AdamConfig::default(), ..CnnConfig::default() }
    }

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        let dimensions = self.embedding_dimensions;
        within("embedding dimensions", dimensions, 1..=MAX_SIZE, "within 1..=10000")?;
        within("filters", self.filters, 1..=MAX_SIZE, "within 1..=10000")?;
        at_least_1("the number of widths", self.widths.len())?;
        for (position, &width) in self.widths.iter().enumerate() {
            within("width", width, 1..=16, "within 1..=16")?;
            let is_new = !self.widths[..position].contains(&width);
            is_true("width", width, is_new, "given once: for more of it, take more filters")?;
        }
        check_vocabulary_size(self.vocabulary_size)?;
        is_share("dropout", self.dropout)?;
        is_share("embedding dropout", self.embedding_dropout)?;
        self.adam.check()
    }

    /// Returns the length R of the representation: one value per filter.
    pub fn n_filters(&self) -> usize {
        self.widths.len() * self.filters
    }

    /// Returns the number C of kernel slices: each filter has one per token of its window.
    pub fn n_slices(&self) -> usize {
        self.widths.iter().sum::<usize>() * self.filters
    }

    /// Returns the format of the folded table's part for windows that are `width` tokens wide in all.
    pub(super) fn table_format(&self, width: usize) -> TableFormat {
        TableFormat::new(width * self.filters, width, Precision::Int8)
    }

    /// Returns the first slice of each width. Slice `start + j * filters + f` is what filter f of
    /// that width multiplies the window's token j by.
    pub(crate) fn slice_starts(&self) -> Vec<usize> {
        let starts = self.widths.iter().scan(0, |next, width| {
            let start = *next;
            *next += width * self.filters;
            Some(start)
        });
        starts.collect()
    }
}

/// The form of the exported embedding and convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphForm {
    /// Multiplied into each other, one table of 8 bits a value for each width: many times faster, and
    /// the file holds vocabulary x slices values.
    #[default]
    Folded,
    /// As they were trained: a smaller file, a matrix product for each text.
    Plain,
}

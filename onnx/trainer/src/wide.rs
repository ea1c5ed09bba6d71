//! The wide model: weighted word n-grams, one hidden layer, labels; written by hand for the CPU.
//!
//! ```text
//! s = sum_f x_f T_f                  one row of the table per n-gram f of the text, weight x_f
//! h = relu(s)                        the hidden layer
//! logits = O h + b
//! g = sum_f x_f P_f                  what the words alone say, see `lexical.rs`; not trained
//! representation = (sqrt(1 - a) h / |h|, sqrt(a) g / |g|)
//! ```
//!
//! There is no bias below h: a text without a known n-gram has h = 0 and so no representation. A text
//! has a few hundred of the n-grams, so a step reads and changes the rows of those only.

mod batch;
mod export;
mod lexical;
mod step;
mod vocabulary;

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayViewD, ArrayViewMutD};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use autotag_onnx::Features;
use autotag_onnx::ngrams::MAX_NGRAMS;

use crate::Result;
use crate::check::{MAX_SIZE, is_true, within};
use crate::init::{glorot, uniform};
use crate::layers::{OutputLayer, normalize_rows, side_by_side};
use crate::model::Lexical;
use crate::model::Predicted;
use crate::optimizer::Adam;
use crate::parameters::Parameters;
use crate::state::{State, StateError};

pub use vocabulary::learn;

/// The largest spread of the rows at the start; above it, scores are no numbers from the beginning.
const MAX_SPREAD: f32 = 1000.0;

/// The shape and regularization of the wide model.
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
    /// Whether the representation is scaled to length 1.
    pub normalize: bool,
}

impl WideConfig {
    /// Returns the length of the representation.
    pub fn n_dimensions(&self) -> usize {
        self.hidden + self.lexical
    }
}

impl Default for WideConfig {
    fn default() -> Self {
        WideConfig {
            hidden: 300,
            lexical: 300,
            lexical_share: 0.3,
            min_documents: 2,
            max_ngrams: 150_000,
            ngram_dropout: 0.3,
            dropout: 0.2,
            spread: 0.1,
            normalize: true,
        }
    }
}

impl WideConfig {
    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        within("hidden", self.hidden, 1..=MAX_SIZE, "within 1..=10000")?;
        within("lexical dimensions", self.lexical, 0..=MAX_SIZE, "within 0..=10000")?;
        let share_of_distances = 0.0..1.0f32;
        let is_share = share_of_distances.contains(&self.lexical_share);
        is_true("lexical share", self.lexical_share, is_share, "0 or more, less than 1")?;
        let is_sound = self.normalize || self.lexical == 0;
        let expected = "0 where representations are not scaled to length 1";
        is_true("lexical dimensions", self.lexical, is_sound, expected)?;
        within("min documents", self.min_documents, 1..=usize::MAX, "at least 1")?;
        within("max n-grams", self.max_ngrams, 1..=MAX_NGRAMS, "within 1..=2000000")?;
        let share = 0.0..1.0f32;
        let ngram_dropout = self.ngram_dropout;
        let is_share = share.contains(&ngram_dropout);
        is_true("n-gram dropout", ngram_dropout, is_share, "0 or more, less than 1")?;
        is_true("dropout", self.dropout, share.contains(&self.dropout), "0 or more, less than 1")?;
        let is_spread = self.spread > 0.0 && self.spread <= MAX_SPREAD;
        is_true("spread", self.spread, is_spread, "greater than 0, at most 1000")
    }
}

/// The parameters: V n-grams, a representation of R values, L labels.
#[derive(Clone, Debug, PartialEq)]
pub struct WideParameters {
    /// T: [V, R].
    pub table: Array2<f32>,
    /// O: [L, R].
    pub output: Array2<f32>,
    /// b: `[L]`.
    pub output_bias: Array1<f32>,
}

/// A wide model as it predicts: its shape and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct WideNetwork {
    config: WideConfig,
    parameters: WideParameters,
    /// P: [V, D]; found once and not trained.
    lexical: Arc<Array2<f32>>,
}

/// A wide model in training: the network, and what training keeps beside it.
#[derive(Clone, Debug)]
pub struct Wide {
    network: WideNetwork,
    optimizer: Adam,
    batch: batch::Batch,
    gradients: step::Gradients,
    seed: u64,
}

impl Wide {
    /// Makes a model with random parameters for V n-grams and L labels, to be trained on texts whose
    /// n-grams are below V.
    pub fn new(
        config: WideConfig,
        texts: &[&Features],
        n_ngrams: usize,
        n_labels: usize,
        seed: u64,
    ) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let n_hidden = config.hidden;
        let table = uniform(&mut rng, n_ngrams, n_hidden, config.spread);
        let output = glorot(&mut rng, n_labels, n_hidden);
        let parameters = WideParameters { table, output, output_bias: Array1::zeros(n_labels) };
        let lexical = match config.lexical {
            0 => Array2::zeros((n_ngrams, 0)),
            n_dimensions => lexical::basis(texts, n_ngrams, n_dimensions, seed),
        };
        let network = WideNetwork { config, parameters, lexical: Arc::new(lexical) };
        let optimizer = Adam::with_lazy_table(&network);
        let (batch, gradients) = Default::default();
        Wide { network, optimizer, batch, gradients, seed }
    }

    /// Returns the network as of the last step.
    ///
    /// Rows of n-grams that did not occur lately may lag behind; [`Wide::sync_lazy_rows`] brings them up to
    /// date.
    pub fn network(&self) -> &WideNetwork {
        &self.network
    }

    /// Returns everything that the next step depends on.
    pub fn state(&self) -> State<'_> {
        self.optimizer.state(&self.network)
    }

    /// Takes a state back.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state is of a model of another shape.
    pub fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.optimizer.restore(&mut self.network, state)
    }
}

impl Parameters for WideNetwork {
    fn arrays(&self) -> Vec<(&str, ArrayViewD<'_, f32>)> {
        let WideParameters { table, output, output_bias } = &self.parameters;
        vec![
            ("table", table.view().into_dyn()),
            ("output", output.view().into_dyn()),
            ("output_bias", output_bias.view().into_dyn()),
        ]
    }

    fn arrays_mut(&mut self) -> Vec<(&str, ArrayViewMutD<'_, f32>)> {
        let WideParameters { table, output, output_bias } = &mut self.parameters;
        vec![
            ("table", table.view_mut().into_dyn()),
            ("output", output.view_mut().into_dyn()),
            ("output_bias", output_bias.view_mut().into_dyn()),
        ]
    }
}

impl WideNetwork {
    /// Returns the shape.
    pub fn config(&self) -> &WideConfig {
        &self.config
    }

    /// Returns the parameters.
    pub fn parameters(&self) -> &WideParameters {
        &self.parameters
    }

    /// Predicts texts, given as n-grams with ids below V.
    pub fn predict(&self, texts: &[&Features]) -> Predicted {
        let (mut predicted, lexical) = self.predict_parts(texts);
        if let Some(Lexical { part, share }) = lexical {
            let parts = [((1.0 - share).sqrt(), &predicted.embeddings), (share.sqrt(), &part)];
            predicted.embeddings = side_by_side(&parts);
        }
        predicted
    }

    /// Predicts texts, and leaves the representation in its parts, each of length 1 or all zero where
    /// the model asks for it: h [B, R], and g [B, D] where there is a lexical part.
    pub(crate) fn predict_parts(
        &self,
        texts: &[&Features],
    ) -> (Predicted, Option<Lexical<Array2<f32>>>) {
        let WideParameters { table, output, output_bias } = &self.parameters;
        let mut hidden = batch::weighted_sums(table, texts);
        rectify(&mut hidden);
        let scores = OutputLayer { output, bias: output_bias }.scores(&hidden);
        let lexical = (self.config.lexical > 0).then(|| {
            let mut part = batch::weighted_sums(&self.lexical, texts);
            normalize_rows(&mut part);
            Lexical { part, share: self.config.lexical_share }
        });
        if self.config.normalize {
            normalize_rows(&mut hidden);
        }
        (Predicted { embeddings: hidden, scores }, lexical)
    }
}

/// Computes relu in place.
fn rectify(matrix: &mut Array2<f32>) {
    matrix.mapv_inplace(|value| value.max(0.0));
}

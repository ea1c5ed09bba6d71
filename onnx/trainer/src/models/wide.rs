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
mod config;
mod export;
mod lexical;
mod model;
mod step;
mod vocabulary;

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayViewD, ArrayViewMutD};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use autotag_onnx::Features;

use crate::init::{glorot, uniform};
use crate::layers::{OutputLayer, normalize_rows, side_by_side};
use crate::model::Lexical;
use crate::model::Predicted;
use crate::optimizer::Adam;
use crate::parameters::Parameters;
use crate::rows::RowMajor as _;
use crate::state::{State, StateError};

pub use config::WideConfig;
use config::table_format;
pub use vocabulary::learn;

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

    /// Restores a state.
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

    /// Rounds the table to the precision that it is exported in.
    pub(crate) fn round(&mut self) {
        let table = &mut self.parameters.table;
        table_format(table.ncols()).round(table.values_mut());
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

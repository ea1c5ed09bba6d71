//! The adapter: a hidden layer and an output layer on a frozen encoder; written by hand for the CPU.
//!
//! ```text
//! a = sqrt(D) x                      the encoder's representation x of length 1: values near 1
//! h = relu(W a + c)                  the representation
//! logits = O h + b
//! ```
//!
//! The encoder is not trained, so each text goes through it once, and a step is two small products.

mod config;
mod export;
mod model;
mod step;

use ndarray::{Array1, Array2, ArrayViewD, ArrayViewMutD};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::init::glorot;
use crate::layers::{OutputLayer, normalize_rows};
use crate::model::Predicted;
use crate::optimizer::Adam;
use crate::parameters::Parameters;
use crate::rows::{product, row_major};
use crate::state::{State, StateError};

pub use config::AdapterConfig;

/// The parameters: an encoder of D dimensions, a representation of R values, L labels.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterParameters {
    /// W: [R, D].
    pub hidden: Array2<f32>,
    /// c: `[R]`.
    pub hidden_bias: Array1<f32>,
    /// O: [L, R].
    pub output: Array2<f32>,
    /// b: `[L]`.
    pub output_bias: Array1<f32>,
}

/// An adapter as it predicts: its shape and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterNetwork {
    config: AdapterConfig,
    parameters: AdapterParameters,
}

/// An adapter in training: the network, and what training keeps beside it.
#[derive(Clone, Debug)]
pub struct Adapter {
    network: AdapterNetwork,
    optimizer: Adam,
    gradients: step::Gradients,
    seed: u64,
}

impl Adapter {
    /// Makes an adapter with random parameters for an encoder of D dimensions and L labels.
    pub fn new(config: AdapterConfig, dimensions: usize, n_labels: usize, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let n_hidden = config.hidden;
        let parameters = AdapterParameters {
            hidden: glorot(&mut rng, n_hidden, dimensions),
            hidden_bias: Array1::zeros(n_hidden),
            output: glorot(&mut rng, n_labels, n_hidden),
            output_bias: Array1::zeros(n_labels),
        };
        let network = AdapterNetwork { config, parameters };
        let optimizer = Adam::new(&network);
        Adapter { network, optimizer, gradients: step::Gradients::default(), seed }
    }

    /// Returns the network as of the last step.
    pub fn network(&self) -> &AdapterNetwork {
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

impl Parameters for AdapterNetwork {
    fn arrays(&self) -> Vec<(&str, ArrayViewD<'_, f32>)> {
        let AdapterParameters { hidden, hidden_bias, output, output_bias } = &self.parameters;
        vec![
            ("hidden", hidden.view().into_dyn()),
            ("hidden_bias", hidden_bias.view().into_dyn()),
            ("output", output.view().into_dyn()),
            ("output_bias", output_bias.view().into_dyn()),
        ]
    }

    fn arrays_mut(&mut self) -> Vec<(&str, ArrayViewMutD<'_, f32>)> {
        let AdapterParameters { hidden, hidden_bias, output, output_bias } = &mut self.parameters;
        vec![
            ("hidden", hidden.view_mut().into_dyn()),
            ("hidden_bias", hidden_bias.view_mut().into_dyn()),
            ("output", output.view_mut().into_dyn()),
            ("output_bias", output_bias.view_mut().into_dyn()),
        ]
    }
}

impl AdapterNetwork {
    /// Returns the shape.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Returns the parameters.
    pub fn parameters(&self) -> &AdapterParameters {
        &self.parameters
    }

    /// Predicts texts, given as the encoder represents them: D values each.
    pub fn predict(&self, texts: &[&[f32]]) -> Predicted {
        let AdapterParameters { output, output_bias, .. } = &self.parameters;
        let mut embeddings = self.parameters.hidden_layer(&scaled(texts));
        let scores = OutputLayer { output, bias: output_bias }.scores(&embeddings);
        if self.config.normalize {
            normalize_rows(&mut embeddings);
        }
        Predicted { embeddings, scores }
    }
}

impl AdapterParameters {
    /// Computes relu(W a + c): [B, R].
    fn hidden_layer(&self, inputs: &Array2<f32>) -> Array2<f32> {
        let mut hidden = product(inputs.view(), self.hidden.t()) + &self.hidden_bias;
        hidden.mapv_inplace(|value| value.max(0.0));
        hidden
    }
}

/// Scales the encoder's representations, so that their values are near 1: [B, D].
fn scaled(texts: &[&[f32]]) -> Array2<f32> {
    let dimensions = texts.first().map_or(0, |text| text.len());
    let scale = input_scale(dimensions);
    let values = texts.iter().flat_map(|text| text.iter().map(|value| scale * value)).collect();
    row_major(texts.len(), dimensions, values)
}

/// Returns sqrt(D).
fn input_scale(dimensions: usize) -> f32 {
    (dimensions as f32).sqrt()
}

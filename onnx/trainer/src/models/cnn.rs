//! The convolutional model (Kim, 2014), written by hand for the CPU.
//!
//! Two facts make it fast. A batch repeats its words, so each *distinct* token's embedding is
//! multiplied by all kernel slices once, in one matrix product; a window's value is then a sum of a
//! few rows of that product. And max-over-time lets a gradient through one window per filter and
//! text only, so the backward pass touches just those.

mod backward;
mod config;
mod export;
mod forward;
mod model;
mod tokens;

use ndarray::{Array1, Array2, ArrayViewD, ArrayViewMutD};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::init::{glorot, uniform};
use crate::optimizer::Adam;
use crate::parameters::Parameters;
use crate::rows::row_major;
use crate::state::{State, StateError};
pub use config::{CnnConfig, GraphForm};
pub use forward::Folded;

/// The parameters: V tokens of D dimensions, C kernel slices, R filters, L labels.
#[derive(Clone, Debug, PartialEq)]
pub struct CnnParameters {
    /// E: [V, D]. Row 0 is padding: always zero, never trained.
    pub embedding: Array2<f32>,
    /// W: [C, D], the kernel slices: width by width, offset by offset, filter by filter.
    pub kernel: Array2<f32>,
    /// `[R]`, width by width.
    pub kernel_bias: Array1<f32>,
    /// [L, R].
    pub output: Array2<f32>,
    /// `[L]`.
    pub output_bias: Array1<f32>,
}

/// A CNN as it predicts: its shape and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    config: CnnConfig,
    parameters: CnnParameters,
}

/// A CNN in training: the network, and what training keeps beside it.
#[derive(Clone, Debug)]
pub struct Cnn {
    network: Network,
    optimizer: Adam,
    scratch: Scratch,
    seed: u64,
}

/// The intermediate results of a step, kept between steps for their allocations.
#[derive(Clone, Debug, Default)]
struct Scratch {
    batch: tokens::DistinctTokens,
    /// The distinct tokens' embeddings, after dropout: [U, D].
    embedded: Array2<f32>,
    /// Their dropout mask.
    embedding_mask: Array2<f32>,
    /// `embedded` times every kernel slice: [U, C].
    products: Array2<f32>,
    pooled: forward::Pooled,
    gradients: backward::Gradients,
}

impl Cnn {
    /// Makes a model with random parameters.
    ///
    /// `token_table` starts the embedding, [V, D]; without one it is random with `n_tokens` rows.
    pub fn new(
        config: CnnConfig,
        n_tokens: usize,
        n_labels: usize,
        token_table: Option<Array2<f32>>,
        seed: u64,
    ) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut embedding = token_table.unwrap_or_else(|| {
            uniform(&mut rng, n_tokens, config.embedding_dimensions, 3f32.sqrt() * 0.1)
        });
        embedding.row_mut(0).fill(0.0);
        let config = CnnConfig { embedding_dimensions: embedding.ncols(), ..config };
        let parameters = CnnParameters {
            kernel: random_kernel(&mut rng, &config),
            kernel_bias: Array1::zeros(config.n_filters()),
            output: glorot(&mut rng, n_labels, config.n_filters()),
            output_bias: Array1::zeros(n_labels),
            embedding,
        };
        let network = Network { config, parameters };
        let optimizer = Adam::with_lazy_table(&network);
        Cnn { network, optimizer, scratch: Scratch::default(), seed }
    }

    /// Returns the network as of the last step.
    ///
    /// Rows of the embedding whose tokens did not occur lately may lag behind; [`Cnn::sync_lazy_rows`]
    /// brings them up to date.
    pub fn network(&self) -> &Network {
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
    /// [`StateError`] when the state is of a CNN of another shape.
    pub fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.optimizer.restore(&mut self.network, state)
    }
}

impl Network {
    /// Returns the shape.
    pub fn config(&self) -> &CnnConfig {
        &self.config
    }

    /// Returns the parameters.
    pub fn parameters(&self) -> &CnnParameters {
        &self.parameters
    }
}

impl Parameters for Network {
    fn arrays(&self) -> Vec<(&str, ArrayViewD<'_, f32>)> {
        let CnnParameters { embedding, kernel, kernel_bias, output, output_bias } =
            &self.parameters;
        vec![
            ("embedding", embedding.view().into_dyn()),
            ("kernel", kernel.view().into_dyn()),
            ("kernel_bias", kernel_bias.view().into_dyn()),
            ("output", output.view().into_dyn()),
            ("output_bias", output_bias.view().into_dyn()),
        ]
    }

    fn arrays_mut(&mut self) -> Vec<(&str, ArrayViewMutD<'_, f32>)> {
        let CnnParameters { embedding, kernel, kernel_bias, output, output_bias } =
            &mut self.parameters;
        vec![
            ("embedding", embedding.view_mut().into_dyn()),
            ("kernel", kernel.view_mut().into_dyn()),
            ("kernel_bias", kernel_bias.view_mut().into_dyn()),
            ("output", output.view_mut().into_dyn()),
            ("output_bias", output_bias.view_mut().into_dyn()),
        ]
    }
}

/// Draws each width's kernel with the spread that suits its number of inputs.
fn random_kernel(rng: &mut Xoshiro256PlusPlus, config: &CnnConfig) -> Array2<f32> {
    let n_dimensions = config.embedding_dimensions;
    let mut values = Vec::with_capacity(config.n_slices() * n_dimensions);
    for width in &config.widths {
        let limit = (3.0 / (width * n_dimensions) as f32).sqrt();
        let n_values = width * config.filters * n_dimensions;
        values.extend((0..n_values).map(|_| rng.random_range(-limit..=limit)));
    }
    row_major(config.n_slices(), n_dimensions, values)
}

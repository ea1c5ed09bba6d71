//! What every model is to training: it takes steps, it predicts, and it writes itself into a graph.

use ndarray::Array2;
use rayon::prelude::*;

use autotag::LabelSet;
use autotag_onnx::graph::{GraphBuilder, Value};

use crate::rows::RowMajor as _;
use crate::state::{State, StateError};

/// A model that can be trained.
pub(crate) trait Model {
    /// What the model reads of one text.
    type Input: Send + Sync;

    /// The model as it stands after an epoch.
    type Snapshot: Predict<Input = Self::Input>;

    /// Trains on one batch, with this share of the learning rates.
    fn step(&mut self, texts: &[&Self::Input], labels: &[&LabelSet], rate: f32) -> StepLoss;

    /// Ends an epoch and returns what the model is now; `rate` is that of the last step.
    fn snapshot(&mut self, rate: f32) -> Self::Snapshot;

    /// Returns everything that training needs to go on as if it had never stopped: parameters, what
    /// the optimizer keeps of them, counters.
    fn state(&self) -> State<'_>;

    /// Takes a state back.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state is another model's; this one cannot be used then.
    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError>;

    /// Makes a snapshot again from its [`Predict::state`].
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state is another model's.
    fn restore_snapshot(&self, state: &State<'_>) -> Result<Self::Snapshot, StateError>;

    /// Returns what the model is now, without ending an epoch: a snapshot's parts are among the model's.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the model breaks that rule.
    fn present(&self) -> Result<Self::Snapshot, StateError> {
        self.restore_snapshot(&self.state())
    }
}

/// A model that represents and scores texts.
pub(crate) trait Predict {
    /// What the model reads of one text.
    type Input;

    /// Predicts texts.
    fn predict(&self, texts: &[&Self::Input]) -> Predicted;

    /// Writes the model into a graph, its inputs included.
    fn write(&self, graph: &mut GraphBuilder) -> Answer;

    /// Returns the parameters.
    fn state(&self) -> State<'_>;
}

/// The two parts of a step's loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepLoss {
    /// Binary cross-entropy, summed over labels, mean over the batch.
    pub bce: f32,
    /// The contrastive loss before gamma, mean over the batch.
    pub contrastive: f32,
}

/// What a model says of a batch of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predicted {
    /// Representations: [B, R].
    pub embeddings: Array2<f32>,
    /// Label scores within 0..=1: [B, L].
    pub scores: Array2<f32>,
}

impl Predicted {
    /// Tells whether every score is finite, and every representation short enough for distances to be.
    pub(crate) fn is_finite(&self) -> bool {
        let squared_length =
            |row| self.embeddings.row_slice(row).iter().map(|v| v * v).sum::<f32>();
        let rows = (0..self.embeddings.nrows()).into_par_iter();
        rows.map(squared_length).all(f32::is_finite)
            && self.scores.values().iter().all(|score| score.is_finite())
    }
}

/// Texts as the model reads them, with their labels.
#[derive(Clone, Debug)]
pub(crate) struct TokenizedTexts<I> {
    /// What the model reads of each text.
    pub(crate) texts: Vec<I>,
    /// Each text's labels.
    pub(crate) labels: Vec<LabelSet>,
}

/// A model's answer within a graph that is being written.
pub(crate) struct Answer {
    /// [batch, R].
    pub(crate) embedding: Value,
    /// [batch, L], within 0..=1.
    pub(crate) scores: Value,
}

/// g, and its share of squared distances.
pub(crate) struct Lexical<T> {
    pub(crate) part: T,
    pub(crate) share: f32,
}

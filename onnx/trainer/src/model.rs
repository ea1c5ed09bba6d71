//! The interface between models and training: steps, predictions, states, export.

use ndarray::Array2;
use rayon::prelude::*;

use autotag::LabelSet;
use autotag_onnx::ModelInput;
use autotag_onnx::graph::{GraphBuilder, Value};

use crate::rows::RowMajor as _;
use crate::state::{State, StateError};

/// Everything that models read of one text; each takes its own part.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextInput {
    /// Token ids and n-grams.
    pub(crate) read: ModelInput,
    /// The frozen encoder's representation, of length 1; empty without such an encoder.
    pub(crate) encoded: Vec<f32>,
}

impl From<ModelInput> for TextInput {
    fn from(read: ModelInput) -> Self {
        TextInput { read, encoded: Vec::new() }
    }
}

/// Returns the token ids of each text.
pub(crate) fn token_ids<'t>(texts: &[&'t TextInput]) -> Vec<&'t [u32]> {
    texts.iter().map(|text| text.read.ids()).collect()
}

/// A model in training; the members of an ensemble train on threads of their own.
pub(crate) trait Model: Send {
    /// Trains on one batch; `rate` is the factor of the learning rates in this step.
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss;

    /// Ends an epoch and returns the model to predict with; `rate` is that of the last step.
    fn snapshot(&mut self, rate: f32) -> Box<dyn Predict>;

    /// Returns the state that a resumed training continues from: parameters, the optimizer's running
    /// means, counters.
    fn state(&self) -> State<'_>;

    /// Restores a state.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state is another model's; this one cannot be used then.
    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError>;

    /// Restores a snapshot from its [`Predict::state`].
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state is another model's.
    fn restore_snapshot(&self, state: &State<'_>) -> Result<Box<dyn Predict>, StateError>;

    /// Returns a snapshot without ending an epoch: its parameters are among the model's own.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the model breaks that rule.
    fn present(&self) -> Result<Box<dyn Predict>, StateError> {
        self.restore_snapshot(&self.state())
    }
}

/// A model that represents and scores texts.
pub(crate) trait Predict: Send {
    /// Predicts texts.
    fn predict(&self, texts: &[&TextInput]) -> Predicted;

    /// Rounds the parameters to the precision that they are exported in; tells whether that changes any.
    fn round(&mut self) -> bool {
        false
    }

    /// Writes the model into a graph, its inputs included.
    fn write(&self, graph: &mut GraphBuilder) -> Answer;

    /// Returns the parameters.
    fn state(&self) -> State<'_>;

    /// Predicts texts, with the lexical part of the representations apart: an ensemble gives it a
    /// share of its own.
    fn predict_parts(&self, texts: &[&TextInput]) -> (Predicted, Option<Lexical<Array2<f32>>>) {
        (self.predict(texts), None)
    }

    /// Writes the model into a graph, with the lexical part of the representation apart.
    fn write_parts(&self, graph: &mut GraphBuilder) -> (Answer, Option<Lexical<Value>>) {
        (self.write(graph), None)
    }
}

/// The losses of a step, and the lengths and distances of its representations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepLoss {
    /// Binary cross-entropy, summed over labels, mean over the batch.
    pub bce: f32,
    /// The contrastive loss before gamma, mean over the batch; measured with gamma 0 too.
    pub contrastive: f32,
    /// The mean norm of the representations; that of the hand-written engines before they scale them
    /// to length 1.
    pub norm: f32,
    /// The standard deviation of the distances between the representations as the contrastive loss
    /// compares them.
    pub spread: f32,
}

impl StepLoss {
    /// Returns the loss that is minimized, `bce + gamma contrastive`.
    pub(crate) fn whole(&self, gamma: f32) -> f32 {
        if gamma > 0.0 { self.bce + gamma * self.contrastive } else { self.bce }
    }

    /// Adds a share of another step's figures.
    pub(crate) fn add(&mut self, share: f32, other: &StepLoss) {
        self.bce += share * other.bce;
        self.contrastive += share * other.contrastive;
        self.norm += share * other.norm;
        self.spread += share * other.spread;
    }
}

/// A model's predictions for a batch of texts.
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

/// Texts as models read them, with their labels.
#[derive(Clone, Debug)]
pub(crate) struct TokenizedTexts {
    pub(crate) texts: Vec<TextInput>,
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

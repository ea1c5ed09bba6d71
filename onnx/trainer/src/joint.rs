//! Two models as one: each learns by its own losses, and both answer together.
//!
//! ```text
//! h = (sqrt(1 - a) (sqrt(w) h_1, sqrt(1 - w) h_2), sqrt(a) g)           of length 1, as all parts are
//! scores = w scores_1 + (1 - w) scores_2
//! ```
//!
//! g is the first model's lexical part, and a its share; only the wide model has one. The wide model knows
//! words by heart, the CNN what stands beside what, an adapter on a pretrained encoder what texts are
//! about: where one errs, the others often do not. Two models as one can be the second model.
//!
//! Why not one loss over both? The n-grams fit the training texts within a few epochs, and what they
//! get right already would teach the other model nothing.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use autotag::LabelSet;
use autotag_onnx::graph::{GraphBuilder, Value};
use autotag_onnx::{Features, ModelInput};

use crate::Result;
use crate::check::is_true;
use crate::layers::{side_by_side, write_side_by_side};
use crate::model::{Answer, Lexical, Model, Predict, Predicted, StepLoss};
use crate::optimizer::AdamConfig;
use crate::state::{State, StateError};

/// What the wide model and others need to know when they are trained together; each has its own
/// settings beside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JointConfig {
    /// w: how much the wide model weighs, greater than 0 and less than 1.
    pub share: f32,
    /// How much of the rest the CNN weighs where a third model has what is left, greater than 0 and
    /// less than 1.
    pub cnn_share: f32,
    /// The wide model's optimizer; the others have the run's.
    pub wide_adam: AdamConfig,
}

impl Default for JointConfig {
    fn default() -> Self {
        JointConfig {
            share: 0.5,
            cnn_share: 0.5,
            wide_adam: AdamConfig { learning_rate: 0.03, epsilon: 1e-3, ..AdamConfig::default() },
        }
    }
}

impl JointConfig {
    /// Returns the weights that suit an encoder that is trained further: half is its own.
    pub(crate) fn beside_bert() -> Self {
        JointConfig { share: 0.25, cnn_share: 0.3, ..JointConfig::default() }
    }

    /// Checks the shares, and the wide model's optimizer.
    pub(crate) fn check(&self) -> Result<()> {
        for (name, share) in [("wide share", self.share), ("CNN share", self.cnn_share)] {
            is_true(name, share, share > 0.0 && share < 1.0, "greater than 0, less than 1")?;
        }
        self.wide_adam.check("the wide model's ")
    }
}

/// What both models read of one text.
#[derive(Clone, Debug)]
pub(crate) struct JointInput<I, J> {
    pub(crate) first: I,
    pub(crate) second: J,
}

impl From<ModelInput> for JointInput<ModelInput, ModelInput> {
    /// Parts the n-grams from the token ids.
    fn from(ModelInput { ids, features }: ModelInput) -> Self {
        let first = ModelInput { ids: Vec::new(), features };
        JointInput { first, second: ModelInput { ids, features: Features::default() } }
    }
}

impl From<ModelInput> for JointInput<ModelInput, JointInput<ModelInput, ModelInput>> {
    /// Parts the n-grams from the token ids, which both other models read.
    fn from(input: ModelInput) -> Self {
        let JointInput::<ModelInput, ModelInput> { first, second } = input.into();
        JointInput { first, second: JointInput { first: second.clone(), second } }
    }
}

/// Both models in training.
pub(crate) struct JointModel<A, B> {
    pub(crate) first: A,
    pub(crate) second: B,
    /// w: how much the first model weighs.
    pub(crate) share: f32,
}

/// Both models as they predict.
pub(crate) struct Joint<A, B> {
    first: A,
    second: B,
    share: f32,
}

/// A model whose representation may have a lexical part, which stays apart when it answers together
/// with another one.
pub(crate) trait Parted: Predict {
    /// Predicts texts; the representations of the lexical part stand beside.
    fn predict_parts(&self, texts: &[&Self::Input]) -> (Predicted, Option<Lexical<Array2<f32>>>) {
        (self.predict(texts), None)
    }

    /// Writes the model into a graph, its inputs included.
    fn write_parts(&self, graph: &mut GraphBuilder) -> (Answer, Option<Lexical<Value>>) {
        (self.write(graph), None)
    }
}

/// The beginnings of the names of both models' states.
const FIRST: &str = "first/";
const SECOND: &str = "second/";

impl<A: Model<Snapshot: Parted>, B: Model> Model for JointModel<A, B> {
    type Input = JointInput<A::Input, B::Input>;
    type Snapshot = Joint<A::Snapshot, B::Snapshot>;

    /// Trains both models; the losses told are their means, weighted as the models are.
    fn step(&mut self, texts: &[&Self::Input], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let (firsts, seconds) = parted(texts);
        let first = self.first.step(&firsts, labels, rate);
        let second = self.second.step(&seconds, labels, rate);
        let mix = |first: f32, second: f32| self.share * first + (1.0 - self.share) * second;
        StepLoss {
            bce: mix(first.bce, second.bce),
            contrastive: mix(first.contrastive, second.contrastive),
        }
    }

    fn snapshot(&mut self, rate: f32) -> Self::Snapshot {
        let (first, second) = (self.first.snapshot(rate), self.second.snapshot(rate));
        Joint { first, second, share: self.share }
    }

    fn state(&self) -> State<'_> {
        joined(self.first.state(), self.second.state())
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.first.restore(&state.below(FIRST))?;
        self.second.restore(&state.below(SECOND))
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Self::Snapshot, StateError> {
        let first = self.first.restore_snapshot(&state.below(FIRST))?;
        let second = self.second.restore_snapshot(&state.below(SECOND))?;
        Ok(Joint { first, second, share: self.share })
    }
}

impl<A: Parted, B: Predict> Predict for Joint<A, B> {
    type Input = JointInput<A::Input, B::Input>;

    fn predict(&self, texts: &[&Self::Input]) -> Predicted {
        let (firsts, seconds) = parted(texts);
        let (first, lexical) = self.first.predict_parts(&firsts);
        let second = self.second.predict(&seconds);
        let mut scores = first.scores;
        scores.zip_mut_with(&second.scores, |score, second| {
            *score = self.share * *score + (1.0 - self.share) * second;
        });
        let embeddings = [&first.embeddings, &second.embeddings];
        Predicted { embeddings: side_by_side(&self.parts(embeddings, lexical.as_ref())), scores }
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let (first, lexical) = self.first.write_parts(graph);
        let second = self.second.write(graph);
        let (share, rest) = (graph.scalar(self.share), graph.scalar(1.0 - self.share));
        let scores = graph.mul(&first.scores, &share);
        let second_scores = graph.mul(&second.scores, &rest);
        let scores = graph.add(&scores, &second_scores);
        let parts = self.parts([&first.embedding, &second.embedding], lexical.as_ref());
        Answer { embedding: write_side_by_side(graph, &parts), scores }
    }

    fn state(&self) -> State<'_> {
        joined(self.first.state(), self.second.state())
    }
}

impl<A, B> Joint<A, B> {
    /// Gives the parts of a representation the lengths that they have in it.
    fn parts<'p, T>(
        &self,
        [first, second]: [&'p T; 2],
        lexical: Option<&'p Lexical<T>>,
    ) -> Vec<(f32, &'p T)> {
        let rest = 1.0 - lexical.map_or(0.0, |lexical| lexical.share);
        let mut parts =
            vec![((rest * self.share).sqrt(), first), ((rest * (1.0 - self.share)).sqrt(), second)];
        parts.extend(lexical.map(|Lexical { part, share }| (share.sqrt(), part)));
        parts
    }
}

fn joined<'s>(first: State<'s>, second: State<'s>) -> State<'s> {
    let mut state = State::default();
    state.put_all(FIRST, first);
    state.put_all(SECOND, second);
    state
}

/// Returns what each of the models reads.
fn parted<'t, I, J>(texts: &[&'t JointInput<I, J>]) -> (Vec<&'t I>, Vec<&'t J>) {
    texts.iter().map(|text| (&text.first, &text.second)).unzip()
}

//! The wide model beside another one: each learns by its own losses, and both answer together.
//!
//! ```text
//! h = (sqrt(1 - a) (sqrt(w) h_wide, sqrt(1 - w) h_other), sqrt(a) g)    of length 1, as all parts are
//! scores = w scores_wide + (1 - w) scores_other
//! ```
//!
//! g is the wide model's lexical part, and a its share. The other model is the CNN, or an adapter on a
//! pretrained encoder: what knows words by heart, and what knows which of them are alike.
//!
//! Why not one loss over both? The n-grams fit the training texts within a few epochs, and what they
//! get right already would teach the other model nothing.

use serde::{Deserialize, Serialize};

use autotag::LabelSet;
use autotag_onnx::graph::GraphBuilder;
use autotag_onnx::{Features, ModelInput};

use crate::Result;
use crate::checkpoint::{State, StateError};
use crate::config::is_true;
use crate::fit::{Model, Predict, Predicted, StepLoss};
use crate::layers::{Answer, side_by_side, write_side_by_side};
use crate::models::WideModel;
use crate::optimizer::AdamConfig;
use crate::wide::{PartedAnswer, Parts, WideConfig, WideNetwork};

/// What the wide model and another one need to know when they are trained together; each has its own
/// settings beside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JointConfig {
    /// w: how much the wide model weighs, greater than 0 and less than 1.
    pub share: f32,
    /// The wide model's optimizer; the other model has the run's.
    pub wide_adam: AdamConfig,
}

impl Default for JointConfig {
    fn default() -> Self {
        JointConfig {
            share: 0.5,
            wide_adam: AdamConfig { learning_rate: 0.03, epsilon: 1e-3, ..AdamConfig::default() },
        }
    }
}

impl JointConfig {
    /// Checks the share.
    pub(crate) fn check(&self) -> Result<()> {
        let is_within = self.share > 0.0 && self.share < 1.0;
        is_true("wide share", self.share, is_within, "greater than 0, less than 1")
    }
}

/// What both models read of one text.
#[derive(Clone, Debug)]
pub(crate) struct JointInput<I> {
    /// The n-grams.
    pub(crate) words: ModelInput,
    /// What the other model reads.
    pub(crate) other: I,
}

impl From<ModelInput> for JointInput<ModelInput> {
    /// Parts the n-grams from the token ids.
    fn from(ModelInput { ids, features }: ModelInput) -> Self {
        let words = ModelInput { ids: Vec::new(), features };
        JointInput { words, other: ModelInput { ids, features: Features::default() } }
    }
}

/// Both models in training; `M` is the other one.
pub(crate) struct JointModel<M> {
    pub(crate) wide: WideModel,
    pub(crate) other: M,
    pub(crate) share: f32,
}

/// Both models as they predict; `P` is the other one.
pub(crate) struct Joint<P> {
    wide: WideNetwork,
    other: P,
    share: f32,
}

/// The beginnings of the names of both models' states.
const WIDE: &str = "wide/";
const OTHER: &str = "other/";

impl<M: Model> Model for JointModel<M> {
    type Input = JointInput<M::Input>;
    type Snapshot = Joint<M::Snapshot>;

    /// Trains both models; the losses told are their means, weighted as the models are.
    fn step(&mut self, texts: &[&Self::Input], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let wide = self.wide.step(&words(texts), labels, rate);
        let other = self.other.step(&others(texts), labels, rate);
        let mix = |wide: f32, other: f32| self.share * wide + (1.0 - self.share) * other;
        StepLoss {
            bce: mix(wide.bce, other.bce),
            contrastive: mix(wide.contrastive, other.contrastive),
        }
    }

    fn snapshot(&mut self, rate: f32) -> Self::Snapshot {
        let (wide, other) = (self.wide.snapshot(rate), self.other.snapshot(rate));
        Joint { wide, other, share: self.share }
    }

    fn state(&self) -> State<'_> {
        joined(self.wide.state(), self.other.state())
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.wide.restore(&state.below(WIDE))?;
        self.other.restore(&state.below(OTHER))
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Self::Snapshot, StateError> {
        let wide = self.wide.restore_snapshot(&state.below(WIDE))?;
        let other = self.other.restore_snapshot(&state.below(OTHER))?;
        Ok(Joint { wide, other, share: self.share })
    }
}

impl<P: Predict> Predict for Joint<P> {
    type Input = JointInput<P::Input>;

    fn predict(&self, texts: &[&Self::Input]) -> Predicted {
        let features: Vec<&Features> = texts.iter().map(|text| &text.words.features).collect();
        let (mut scores, Parts { hidden, lexical }) = self.wide.predict_parts(&features);
        let other = self.other.predict(&others(texts));
        for (score, other) in scores.values_mut().iter_mut().zip(other.scores.values()) {
            *score = self.share * *score + (1.0 - self.share) * other;
        }
        let [of_wide, of_other, of_lexical] = self.lengths();
        let parts = [(of_wide, &hidden), (of_other, &other.embeddings), (of_lexical, &lexical)];
        Predicted { embeddings: side_by_side(&parts), scores }
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let PartedAnswer { answer: wide, lexical } = self.wide.write_parts(graph);
        let other = self.other.write(graph);
        let (share, rest) = (graph.scalar(self.share), graph.scalar(1.0 - self.share));
        let scores = graph.mul(&wide.scores, &share);
        let other_scores = graph.mul(&other.scores, &rest);
        let scores = graph.add(&scores, &other_scores);
        let [of_wide, of_other, of_lexical] = self.lengths();
        let mut parts = vec![(of_wide, &wide.embedding), (of_other, &other.embedding)];
        parts.extend(lexical.as_ref().map(|lexical| (of_lexical, lexical)));
        Answer { embedding: write_side_by_side(graph, &parts), scores }
    }

    fn state(&self) -> State<'_> {
        joined(Predict::state(&self.wide), self.other.state())
    }
}

impl<P> Joint<P> {
    /// Returns the lengths of the parts of a representation: wide, other, lexical.
    fn lengths(&self) -> [f32; 3] {
        let WideConfig { lexical, lexical_share, .. } = *self.wide.config();
        let of_lexical = if lexical > 0 { lexical_share } else { 0.0 };
        let rest = 1.0 - of_lexical;
        [rest * self.share, rest * (1.0 - self.share), of_lexical].map(f32::sqrt)
    }
}

fn joined<'s>(wide: State<'s>, other: State<'s>) -> State<'s> {
    let mut state = State::default();
    state.put_all(WIDE, wide);
    state.put_all(OTHER, other);
    state
}

fn words<'t, I>(texts: &[&'t JointInput<I>]) -> Vec<&'t ModelInput> {
    texts.iter().map(|text| &text.words).collect()
}

fn others<'t, I>(texts: &[&'t JointInput<I>]) -> Vec<&'t I> {
    texts.iter().map(|text| &text.other).collect()
}

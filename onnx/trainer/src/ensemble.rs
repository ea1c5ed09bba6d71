//! An ensemble: each model learns by its own losses, and their answers are mixed.
//!
//! ```text
//! h = (sqrt(1 - a) (sqrt(w_1) h_1, .., sqrt(w_n) h_n), sqrt(a) g)       of length 1, as all parts are
//! scores = w_1 scores_1 + .. + w_n scores_n
//! ```
//!
//! w_i is a member's share, g the wide model's lexical part, and a that part's share. The wide model
//! knows words by heart, the CNN word order, an adapter on a pretrained encoder a text's subject: where
//! one errs, the others often do not.
//!
//! Why not one loss over all? The n-grams fit the training texts within a few epochs, and what they
//! get right already would teach the other models nothing.

use autotag::LabelSet;
use autotag_onnx::graph::GraphBuilder;

use crate::layers::{side_by_side, write_side_by_side};
use crate::model::{Answer, Lexical, Model, Predict, Predicted, StepLoss, TextInput};
use crate::state::{State, StateError};
use ndarray::Array2;
use rayon::prelude::*;

/// One of an ensemble's models.
pub(crate) struct Part<M: ?Sized> {
    /// Begins the names of its state.
    pub(crate) name: &'static str,
    /// w: its weight; those of all members sum to 1.
    pub(crate) share: f32,
    pub(crate) model: Box<M>,
}

/// An ensemble in training.
pub(crate) struct Ensemble(pub(crate) Vec<Part<dyn Model>>);

/// A trained ensemble.
struct TrainedEnsemble(Vec<Part<dyn Predict>>);

impl Model for Ensemble {
    /// Trains the members at the same time; the figures are their means, weighted as the members are.
    ///
    /// Each member's step is the same whatever the number of threads, and the figures are added in the
    /// members' order.
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let step = |part: &mut Part<dyn Model>| (part.share, part.model.step(texts, labels, rate));
        let losses: Vec<(f32, StepLoss)> = self.0.par_iter_mut().map(step).collect();
        let mut mean = StepLoss::default();
        losses.iter().for_each(|(share, loss)| mean.add(*share, loss));
        mean
    }

    fn snapshot(&mut self, rate: f32) -> Box<dyn Predict> {
        let parts = self.0.par_iter_mut().map(|part| Part {
            name: part.name,
            share: part.share,
            model: part.model.snapshot(rate),
        });
        Box::new(TrainedEnsemble(parts.collect()))
    }

    fn state(&self) -> State<'_> {
        joined(self.0.iter().map(|part| (part.name, part.model.state())))
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.0.iter_mut().try_for_each(|part| part.model.restore(&state.below(&prefix(part.name))))
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Box<dyn Predict>, StateError> {
        let part = |part: &Part<dyn Model>| {
            let model = part.model.restore_snapshot(&state.below(&prefix(part.name)))?;
            Ok(Part { name: part.name, share: part.share, model })
        };
        Ok(Box::new(TrainedEnsemble(self.0.iter().map(part).collect::<Result<_, _>>()?)))
    }
}

impl Predict for TrainedEnsemble {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        let mut scores = Array2::zeros((0, 0));
        let mut answers = Vec::with_capacity(self.0.len());
        for Part { share, model, .. } in &self.0 {
            let (Predicted { embeddings, scores: own }, lexical) = model.predict_parts(texts);
            if answers.is_empty() {
                scores = own * *share;
            } else {
                scores.scaled_add(*share, &own);
            }
            answers.push((embeddings, lexical));
        }
        let answers = answers.iter().map(|(embeddings, lexical)| (embeddings, lexical));
        Predicted { embeddings: side_by_side(&self.weighted(answers)), scores }
    }

    fn round(&mut self) -> bool {
        let mut is_changed = false;
        for part in &mut self.0 {
            is_changed |= part.model.round();
        }
        is_changed
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let answers: Vec<_> = self.0.iter().map(|part| part.model.write_parts(graph)).collect();
        let shares: Vec<_> = self.0.iter().map(|part| graph.scalar(part.share)).collect();
        let weighted = answers.iter().zip(&shares);
        let weighted: Vec<_> =
            weighted.map(|((answer, _), share)| graph.mul(&answer.scores, share)).collect();
        let mut scores = weighted[0].clone();
        for next in &weighted[1..] {
            scores = graph.add(&scores, next);
        }
        let answers = answers.iter().map(|(answer, lexical)| (&answer.embedding, lexical));
        let parts = self.weighted(answers);
        Answer { embedding: write_side_by_side(graph, &parts), scores }
    }

    fn state(&self) -> State<'_> {
        joined(self.0.iter().map(|part| (part.name, part.model.state())))
    }
}

impl TrainedEnsemble {
    /// Returns the parts of a representation with their lengths in it: the members' in order, then the
    /// lexical ones.
    fn weighted<'p, T>(
        &self,
        answers: impl Iterator<Item = (&'p T, &'p Option<Lexical<T>>)>,
    ) -> Vec<(f32, &'p T)> {
        let answers: Vec<_> = answers.collect();
        let lexical = || answers.iter().filter_map(|(_, lexical)| lexical.as_ref());
        let rest = 1.0 - lexical().map(|lexical| lexical.share).sum::<f32>();
        let shares = self.0.iter().map(|part| (rest * part.share).sqrt());
        let embeddings = answers.iter().map(|&(embedding, _)| embedding);
        let lexical = lexical().map(|Lexical { part, share }| (share.sqrt(), part));
        shares.zip(embeddings).chain(lexical).collect()
    }
}

fn prefix(name: &str) -> String {
    format!("{name}/")
}

fn joined<'s>(states: impl Iterator<Item = (&'static str, State<'s>)>) -> State<'s> {
    let mut all = State::default();
    states.for_each(|(name, state)| all.put_all(&prefix(name), state));
    all
}

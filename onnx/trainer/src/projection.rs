//! A trained model whose representations are projected to fewer dimensions.
//!
//! ```text
//! h' = P^T h
//! ```
//!
//! The columns of P, [R, D], span the first D principal components of the training texts' representations.
//! Distances shrink by what varies least. Why is the mean not subtracted? Distances do not change by it,
//! and a text without a representation keeps its zeros.

use ndarray::Array2;

use autotag_onnx::graph::GraphBuilder;

use crate::model::{Answer, Predict, Predicted, TextInput};
use crate::rows::{RowMajor as _, product};
use crate::state::State;
use crate::subspace::principal_subspace;

/// A model, and the projection behind it.
pub(crate) struct Projected {
    network: Box<dyn Predict>,
    /// P: [R, D].
    basis: Array2<f32>,
}

impl Projected {
    /// Fits the projection to representations of the training texts, [N, R]. It has at most
    /// `n_dimensions`: fewer where they vary in fewer directions.
    pub(crate) fn fit(
        network: Box<dyn Predict>,
        embeddings: &Array2<f32>,
        n_dimensions: usize,
    ) -> Self {
        Projected { network, basis: principal_subspace(embeddings, n_dimensions) }
    }

    /// Returns the model without the projection.
    pub(crate) fn into_network(self) -> Box<dyn Predict> {
        self.network
    }

    /// Returns D.
    pub(crate) fn n_dimensions(&self) -> usize {
        self.basis.ncols()
    }

    /// Projects what the model without the projection predicted.
    pub(crate) fn project(&self, predicted: Predicted) -> Predicted {
        let embeddings = product(predicted.embeddings.view(), self.basis.view());
        Predicted { embeddings, ..predicted }
    }
}

impl Predict for Projected {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        self.project(self.network.predict(texts))
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let Answer { embedding, scores } = self.network.write(graph);
        let shape = [self.basis.nrows(), self.basis.ncols()];
        let basis = graph.constant_f32("projection", &shape, self.basis.values());
        Answer { embedding: graph.matmul(&embedding, &basis), scores }
    }

    fn state(&self) -> State<'_> {
        self.network.state()
    }
}

//! The wide model and the CNN as one: each learns by its own losses, and both answer together.
//!
//! ```text
//! h = (sqrt(1 - a) (sqrt(w) h_wide, sqrt(1 - w) h_cnn), sqrt(a) g)      of length 1, as all parts are
//! scores = w scores_wide + (1 - w) scores_cnn
//! ```
//!
//! g is the wide model's lexical part, and a its share.
//!
//! Why not one loss over both? The n-grams fit the training texts within a few epochs, and what they
//! get right already would teach the convolutions nothing.

use serde::{Deserialize, Serialize};

use autotag::LabelSet;
use autotag_onnx::ModelInput;
use autotag_onnx::graph::GraphBuilder;

use crate::average::{EpochAverage, Parameters};
use crate::checkpoint::{State, StateError};
use crate::cnn::{Cnn, GraphForm, Network};
use crate::config::is_true;
use crate::fit::{Model, Predict, Predicted, StepLoss};
use crate::layers::{Answer, finish, side_by_side, write_side_by_side};
use crate::matrix::Matrix;
use crate::models::{features, token_ids};
use crate::optimizer::AdamConfig;
use crate::wide::{PartedAnswer, Parts, Wide, WideConfig, WideNetwork};
use crate::{Result, TrainConfig};

/// What the wide model and the CNN need to know when they are trained together; each has its own
/// settings beside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WideCnnConfig {
    /// w: how much the wide model weighs, greater than 0 and less than 1.
    pub share: f32,
    /// The wide model's optimizer; the CNN has the run's.
    pub wide_adam: AdamConfig,
}

impl Default for WideCnnConfig {
    fn default() -> Self {
        WideCnnConfig {
            share: 0.5,
            wide_adam: AdamConfig { learning_rate: 0.03, epsilon: 1e-3, ..AdamConfig::default() },
        }
    }
}

impl WideCnnConfig {
    /// Checks the share.
    pub(crate) fn check(&self) -> Result<()> {
        let is_within = self.share > 0.0 && self.share < 1.0;
        is_true("wide share", self.share, is_within, "greater than 0, less than 1")
    }
}

/// Both models in training.
pub(crate) struct WideCnnModel<'a> {
    pub(crate) wide: Wide,
    pub(crate) cnn: Cnn,
    pub(crate) config: &'a TrainConfig,
    pub(crate) average: EpochAverage<WideCnn>,
}

/// Both models as they predict.
#[derive(Clone, Debug)]
pub(crate) struct WideCnn {
    wide: WideNetwork,
    cnn: Network,
    share: f32,
    form: GraphForm,
}

impl WideCnnModel<'_> {
    fn network(&self) -> WideCnn {
        let (wide, cnn) = (self.wide.network().clone(), self.cnn.network().clone());
        WideCnn { wide, cnn, share: self.config.wide_cnn.share, form: self.config.form }
    }
}

impl Model for WideCnnModel<'_> {
    type Input = ModelInput;
    type Snapshot = WideCnn;

    /// Trains both parts; the losses told are their means, weighted as the parts are.
    fn step(&mut self, texts: &[&ModelInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let TrainConfig { adam, contrastive, wide_cnn, .. } = self.config;
        let WideCnnConfig { share, wide_adam } = wide_cnn;
        let wide = self.wide.step(&features(texts), labels, contrastive, &wide_adam.at(rate));
        let cnn = self.cnn.step(&token_ids(texts), labels, contrastive, &adam.at(rate));
        let mix = |wide: f32, cnn: f32| share * wide + (1.0 - share) * cnn;
        StepLoss {
            bce: mix(wide.bce, cnn.bce),
            contrastive: mix(wide.contrastive, cnn.contrastive),
        }
    }

    fn snapshot(&mut self, rate: f32) -> WideCnn {
        self.wide.settle(&self.config.wide_cnn.wide_adam.at(rate));
        self.cnn.settle(&self.config.adam.at(rate));
        let network = self.network();
        self.average.add(&network)
    }

    fn state(&self) -> State<'_> {
        let mut state = State::default();
        state.put_all("wide/", self.wide.state());
        state.put_all("cnn/", self.cnn.state());
        state.put_all("average/", self.average.state());
        state
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.wide.restore(&state.below("wide/"))?;
        self.cnn.restore(&state.below("cnn/"))?;
        let network = self.network();
        self.average.restore(&network, &state.below("average/"))
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<WideCnn, StateError> {
        let mut network = self.network();
        network.restore(state)?;
        Ok(network)
    }
}

impl Parameters for WideCnn {
    const NAMES: &'static [&'static str] = &[
        "wide_table",
        "wide_output",
        "wide_output_bias",
        "cnn_embedding",
        "cnn_kernel",
        "cnn_kernel_bias",
        "cnn_output",
        "cnn_output_bias",
    ];

    fn matrices(&self) -> Vec<&Matrix> {
        let mut matrices = self.wide.matrices();
        matrices.extend(self.cnn.matrices());
        matrices
    }

    fn matrices_mut(&mut self) -> Vec<&mut Matrix> {
        let mut matrices = self.wide.matrices_mut();
        matrices.extend(self.cnn.matrices_mut());
        matrices
    }
}

impl Predict for WideCnn {
    type Input = ModelInput;

    fn predict(&self, texts: &[&ModelInput]) -> Predicted {
        let (mut scores, Parts { hidden, lexical }) = self.wide.predict_parts(&features(texts));
        let cnn = self.cnn.fold().predict(&token_ids(texts));
        for (score, cnn) in scores.values_mut().iter_mut().zip(cnn.scores.values()) {
            *score = self.share * *score + (1.0 - self.share) * cnn;
        }
        let [of_wide, of_cnn, of_lexical] = self.lengths();
        let parts = [(of_wide, &hidden), (of_cnn, &cnn.embeddings), (of_lexical, &lexical)];
        Predicted { embeddings: side_by_side(&parts), scores }
    }

    fn to_onnx(&self) -> Vec<u8> {
        let mut graph = GraphBuilder::new("wide-cnn");
        let PartedAnswer { answer: wide, lexical } = self.wide.write(&mut graph);
        let cnn = self.cnn.write(&mut graph, self.form);
        let (share, rest) = (graph.scalar(self.share), graph.scalar(1.0 - self.share));
        let scores = graph.mul(&wide.scores, &share);
        let cnn_scores = graph.mul(&cnn.scores, &rest);
        let scores = graph.add(&scores, &cnn_scores);
        let [of_wide, of_cnn, of_lexical] = self.lengths();
        let mut parts = vec![(of_wide, &wide.embedding), (of_cnn, &cnn.embedding)];
        parts.extend(lexical.as_ref().map(|lexical| (of_lexical, lexical)));
        let embedding = write_side_by_side(&mut graph, &parts);
        let n_labels = self.wide.parameters().output.n_rows();
        finish(graph, &Answer { embedding, scores }, self.n_dimensions(), n_labels)
    }

    fn state(&self) -> State<'_> {
        Parameters::state(self)
    }
}

impl WideCnn {
    fn n_dimensions(&self) -> usize {
        self.wide.config().n_dimensions() + self.cnn.config().n_filters()
    }

    /// Returns the lengths of the parts of a representation: wide, CNN, lexical.
    fn lengths(&self) -> [f32; 3] {
        let WideConfig { lexical, lexical_share, .. } = *self.wide.config();
        let of_lexical = if lexical > 0 { lexical_share } else { 0.0 };
        let rest = 1.0 - of_lexical;
        [rest * self.share, rest * (1.0 - self.share), of_lexical].map(f32::sqrt)
    }
}

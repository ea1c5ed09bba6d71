//! The adapter as [`fit`](crate::fit) trains it: texts are given as the encoder's embeddings.

use std::sync::Arc;

use autotag::LabelSet;
use autotag_onnx::graph::GraphBuilder;

use super::{Adapter, AdapterNetwork};
use crate::TrainConfig;
use crate::average::EpochAverage;
use crate::frozen::FrozenEncoder;
use crate::model::Answer;
use crate::model::{Model, Predict, Predicted, StepLoss};
use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// The adapter in training.
pub(crate) struct AdapterModel<'a> {
    pub(crate) adapter: Adapter,
    pub(crate) config: &'a TrainConfig,
    pub(crate) average: EpochAverage<AdapterNetwork>,
    pub(crate) encoder: Arc<FrozenEncoder>,
}

/// A trained adapter, and the encoder that it is exported with.
pub(crate) struct TrainedAdapter {
    network: AdapterNetwork,
    encoder: Arc<FrozenEncoder>,
}

impl Model for AdapterModel<'_> {
    type Input = Vec<f32>;
    type Snapshot = TrainedAdapter;

    fn step(&mut self, texts: &[&Vec<f32>], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let TrainConfig { contrastive, adam, .. } = self.config;
        self.adapter.step(&slices(texts), labels, contrastive, &adam.at(rate))
    }

    fn snapshot(&mut self, _: f32) -> TrainedAdapter {
        let network = self.average.add(self.adapter.network());
        TrainedAdapter { network, encoder: self.encoder.clone() }
    }

    fn state(&self) -> State<'_> {
        let mut state = self.adapter.state();
        state.put_all("average/", self.average.state());
        state
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.adapter.restore(state)?;
        self.average.restore(self.adapter.network(), &state.below("average/"))
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<TrainedAdapter, StateError> {
        let mut network = self.adapter.network().clone();
        network.restore(state)?;
        Ok(TrainedAdapter { network, encoder: self.encoder.clone() })
    }
}

impl Predict for TrainedAdapter {
    type Input = Vec<f32>;

    fn predict(&self, texts: &[&Vec<f32>]) -> Predicted {
        self.network.predict(&slices(texts))
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let encoded = self.encoder.write(graph);
        self.network.write(graph, &encoded)
    }

    fn state(&self) -> State<'_> {
        Parameters::state(&self.network)
    }
}

fn slices<'t>(texts: &[&'t Vec<f32>]) -> Vec<&'t [f32]> {
    texts.iter().map(|text| text.as_slice()).collect()
}

//! The adapter as a kind of model.

use std::sync::Arc;

use autotag::LabelSet;
use autotag_onnx::graph::GraphBuilder;

use super::config::AdapterConfig;
use super::{Adapter, AdapterNetwork};
use crate::average::EpochAverage;
use crate::error::{Result, TrainError};
use crate::frozen::FrozenEncoder;
use crate::loss::ContrastiveConfig;
use crate::model::{Answer, Model, Predict, Predicted, StepLoss, TextInput};
use crate::optimizer::AdamConfig;
use crate::parameters::Parameters;
use crate::setup::{Kind, Setup};
use crate::state::{State, StateError};

impl Kind for AdapterConfig {
    fn normalize(&self) -> bool {
        self.normalize
    }

    fn learning_rate(&self) -> f32 {
        self.adam.learning_rate
    }

    fn needs_encoder(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        AdapterConfig::check(self)
    }

    fn check_start(&self, setup: &Setup<'_>) -> Result<()> {
        setup.encoder(AdapterConfig::NAME).map(drop)
    }

    fn prepare(&self, setup: &mut Setup<'_>) -> Result<()> {
        setup.add_frozen_encoder(AdapterConfig::NAME, self.pooling, &self.prefix)
    }

    fn dimensions(&self, _: &Setup<'_>) -> usize {
        self.hidden
    }

    fn make(&self, setup: &Setup<'_>, _: &[TextInput]) -> Result<Box<dyn Model>> {
        let no_encoder = || TrainError::NoEncoder { model: AdapterConfig::NAME.to_owned() };
        let encoder = setup.frozen().ok_or_else(no_encoder)?.clone();
        let (config, dimensions) = (setup.config, encoder.dimensions());
        Ok(Box::new(AdapterModel {
            adapter: Adapter::new(self.clone(), dimensions, setup.n_labels(), config.seed),
            adam: self.adam,
            contrastive: config.contrastive,
            average: EpochAverage::new(config.averaging),
            encoder,
        }))
    }
}

/// The adapter in training.
struct AdapterModel {
    adapter: Adapter,
    adam: AdamConfig,
    contrastive: ContrastiveConfig,
    average: EpochAverage<AdapterNetwork>,
    encoder: Arc<FrozenEncoder>,
}

/// A trained adapter, and the encoder that it is exported with.
struct TrainedAdapter {
    network: AdapterNetwork,
    encoder: Arc<FrozenEncoder>,
}

impl Model for AdapterModel {
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        self.adapter.step(&encoded(texts), labels, &self.contrastive, &self.adam.at(rate))
    }

    fn snapshot(&mut self, _: f32) -> Box<dyn Predict> {
        let network = self.average.add(self.adapter.network());
        Box::new(TrainedAdapter { network, encoder: self.encoder.clone() })
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

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Box<dyn Predict>, StateError> {
        let mut network = self.adapter.network().clone();
        network.restore(state)?;
        Ok(Box::new(TrainedAdapter { network, encoder: self.encoder.clone() }))
    }
}

impl Predict for TrainedAdapter {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        self.network.predict(&encoded(texts))
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        let encoded = self.encoder.write(graph);
        self.network.write(graph, &encoded)
    }

    fn state(&self) -> State<'_> {
        Parameters::state(&self.network)
    }
}

fn encoded<'t>(texts: &[&'t TextInput]) -> Vec<&'t [f32]> {
    texts.iter().map(|text| text.encoded.as_slice()).collect()
}

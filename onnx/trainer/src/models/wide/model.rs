//! The wide model as a kind of model.

use autotag::LabelSet;
use autotag_onnx::Features;
use autotag_onnx::graph::{GraphBuilder, Value};

use super::config::WideConfig;
use super::{Wide, WideNetwork, learn};
use crate::average::EpochAverage;
use crate::error::Result;
use crate::loss::ContrastiveConfig;
use crate::model::{Answer, Lexical, Model, Predict, Predicted, StepLoss, TextInput};
use crate::optimizer::AdamConfig;
use crate::parameters::Parameters;
use crate::setup::{Kind, Setup};
use crate::state::{State, StateError};
use ndarray::Array2;

impl Kind for WideConfig {
    fn normalize(&self) -> bool {
        self.normalize
    }

    fn learning_rate(&self) -> f32 {
        self.adam.learning_rate
    }

    fn n_linear(&self) -> usize {
        self.linear
    }

    fn check(&self) -> Result<()> {
        WideConfig::check(self)
    }

    fn prepare(&self, setup: &mut Setup<'_>) -> Result<()> {
        setup.add_ngrams(learn(setup.train.texts(), setup.config.max_length, self)?);
        Ok(())
    }

    fn dimensions(&self, _: &Setup<'_>) -> usize {
        self.n_dimensions()
    }

    fn make(&self, setup: &Setup<'_>, texts: &[TextInput]) -> Result<Box<dyn Model>> {
        let (config, n_labels) = (setup.config, setup.n_labels());
        let texts: Vec<&Features> = texts.iter().map(|text| &text.read.features).collect();
        Ok(Box::new(WideModel {
            wide: Wide::new(self.clone(), &texts, setup.n_ngrams(), n_labels, config.seed),
            contrastive: config.contrastive,
            adam: self.adam,
            average: EpochAverage::new(config.averaging),
        }))
    }
}

/// The wide model in training.
struct WideModel {
    wide: Wide,
    contrastive: ContrastiveConfig,
    adam: AdamConfig,
    average: EpochAverage<WideNetwork>,
}

impl Model for WideModel {
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        self.wide.step(&features(texts), labels, &self.contrastive, &self.adam.at(rate))
    }

    fn snapshot(&mut self, rate: f32) -> Box<dyn Predict> {
        self.wide.sync_lazy_rows(&self.adam.at(rate));
        Box::new(self.average.add(self.wide.network()))
    }

    fn state(&self) -> State<'_> {
        let mut state = self.wide.state();
        state.put_all("average/", self.average.state());
        state
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.wide.restore(state)?;
        self.average.restore(self.wide.network(), &state.below("average/"))
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Box<dyn Predict>, StateError> {
        let mut network = self.wide.network().clone();
        network.restore(state)?;
        Ok(Box::new(network))
    }
}

impl Predict for WideNetwork {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        WideNetwork::predict(self, &features(texts))
    }

    fn round(&mut self) -> bool {
        WideNetwork::round(self);
        true
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        WideNetwork::write(self, graph)
    }

    fn state(&self) -> State<'_> {
        Parameters::state(self)
    }

    fn predict_parts(&self, texts: &[&TextInput]) -> (Predicted, Option<Lexical<Array2<f32>>>) {
        WideNetwork::predict_parts(self, &features(texts))
    }

    fn write_parts(&self, graph: &mut GraphBuilder) -> (Answer, Option<Lexical<Value>>) {
        WideNetwork::write_parts(self, graph)
    }
}

fn features<'t>(texts: &[&'t TextInput]) -> Vec<&'t Features> {
    texts.iter().map(|text| &text.read.features).collect()
}

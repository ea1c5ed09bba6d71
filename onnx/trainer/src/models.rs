//! The models as [`fit`](crate::fit) trains them: what each reads of a text, averaged over epochs.

use ndarray::Array2;

use autotag::LabelSet;
use autotag_onnx::graph::{GraphBuilder, Value};
use autotag_onnx::{Features, ModelInput};

use crate::average::EpochAverage;
use crate::cnn::{Cnn, GraphForm, Network};
use crate::joint::Parted;
use crate::model::Answer;
use crate::model::Lexical;
use crate::model::{Model, Predict, Predicted, StepLoss};
use crate::optimizer::AdamConfig;
use crate::parameters::Parameters;
use crate::state::{State, StateError};
use crate::wide::{Wide, WideNetwork};
use crate::{ContrastiveConfig, TrainConfig};

/// The CNN in training.
pub(crate) struct CnnModel<'a> {
    pub(crate) cnn: Cnn,
    pub(crate) config: &'a TrainConfig,
    pub(crate) average: EpochAverage<Network>,
}

/// A trained CNN, and how it is to be written.
pub(crate) struct TrainedCnn {
    network: Network,
    form: GraphForm,
}

impl Model for CnnModel<'_> {
    type Input = ModelInput;
    type Snapshot = TrainedCnn;

    fn step(&mut self, texts: &[&ModelInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        let TrainConfig { contrastive, adam, .. } = self.config;
        self.cnn.step(&token_ids(texts), labels, contrastive, &adam.at(rate))
    }

    fn snapshot(&mut self, rate: f32) -> TrainedCnn {
        self.cnn.sync_lazy_rows(&self.config.adam.at(rate));
        TrainedCnn { network: self.average.add(self.cnn.network()), form: self.config.form }
    }

    fn state(&self) -> State<'_> {
        let mut state = self.cnn.state();
        state.put_all("average/", self.average.state());
        state
    }

    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.cnn.restore(state)?;
        self.average.restore(self.cnn.network(), &state.below("average/"))
    }

    fn restore_snapshot(&self, state: &State<'_>) -> Result<TrainedCnn, StateError> {
        let mut network = self.cnn.network().clone();
        network.restore(state)?;
        Ok(TrainedCnn { network, form: self.config.form })
    }
}

impl Predict for TrainedCnn {
    type Input = ModelInput;

    fn predict(&self, texts: &[&ModelInput]) -> Predicted {
        self.network.fold().predict(&token_ids(texts))
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        self.network.write(graph, self.form)
    }

    fn state(&self) -> State<'_> {
        self.network.state()
    }
}

impl Parted for TrainedCnn {}

/// The wide model in training.
pub(crate) struct WideModel {
    pub(crate) wide: Wide,
    pub(crate) contrastive: ContrastiveConfig,
    pub(crate) adam: AdamConfig,
    pub(crate) average: EpochAverage<WideNetwork>,
}

impl Model for WideModel {
    type Input = ModelInput;
    type Snapshot = WideNetwork;

    fn step(&mut self, texts: &[&ModelInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        self.wide.step(&features(texts), labels, &self.contrastive, &self.adam.at(rate))
    }

    fn snapshot(&mut self, rate: f32) -> WideNetwork {
        self.wide.sync_lazy_rows(&self.adam.at(rate));
        self.average.add(self.wide.network())
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

    fn restore_snapshot(&self, state: &State<'_>) -> Result<WideNetwork, StateError> {
        let mut network = self.wide.network().clone();
        network.restore(state)?;
        Ok(network)
    }
}

impl Predict for WideNetwork {
    type Input = ModelInput;

    fn predict(&self, texts: &[&ModelInput]) -> Predicted {
        WideNetwork::predict(self, &features(texts))
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        WideNetwork::write(self, graph)
    }

    fn state(&self) -> State<'_> {
        Parameters::state(self)
    }
}

impl Parted for WideNetwork {
    fn predict_parts(&self, texts: &[&ModelInput]) -> (Predicted, Option<Lexical<Array2<f32>>>) {
        WideNetwork::predict_parts(self, &features(texts))
    }

    fn write_parts(&self, graph: &mut GraphBuilder) -> (Answer, Option<Lexical<Value>>) {
        WideNetwork::write_parts(self, graph)
    }
}

fn token_ids<'t>(texts: &[&'t ModelInput]) -> Vec<&'t [u32]> {
    texts.iter().map(|text| text.ids()).collect()
}

fn features<'t>(texts: &[&'t ModelInput]) -> Vec<&'t Features> {
    texts.iter().map(|text| &text.features).collect()
}

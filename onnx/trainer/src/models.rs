//! The models as [`fit`](crate::fit) trains them: what each reads of a text, averaged over epochs.

use autotag::LabelSet;
use autotag_onnx::{Features, ModelInput};

use crate::TrainConfig;
use crate::average::EpochAverage;
use crate::cnn::{Cnn, GraphForm, Network};
use crate::fit::{Model, Predict, Predicted, StepLoss};
use crate::wide::{Wide, WideNetwork};

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
    type Snapshot = TrainedCnn;

    fn step(&mut self, texts: &[&ModelInput], labels: &[&LabelSet]) -> StepLoss {
        self.cnn.step(&token_ids(texts), labels, &self.config.contrastive, &self.config.adam)
    }

    fn snapshot(&mut self) -> TrainedCnn {
        self.cnn.settle(&self.config.adam);
        TrainedCnn { network: self.average.add(self.cnn.network()), form: self.config.form }
    }
}

impl Predict for TrainedCnn {
    fn predict(&self, texts: &[&ModelInput]) -> Predicted {
        self.network.fold().predict(&token_ids(texts))
    }

    fn to_onnx(&self) -> Vec<u8> {
        self.network.to_onnx(self.form)
    }
}

/// The wide model in training.
pub(crate) struct WideModel<'a> {
    pub(crate) wide: Wide,
    pub(crate) config: &'a TrainConfig,
    pub(crate) average: EpochAverage<WideNetwork>,
}

impl Model for WideModel<'_> {
    type Snapshot = WideNetwork;

    fn step(&mut self, texts: &[&ModelInput], labels: &[&LabelSet]) -> StepLoss {
        self.wide.step(&features(texts), labels, &self.config.contrastive, &self.config.adam)
    }

    fn snapshot(&mut self) -> WideNetwork {
        self.wide.settle(&self.config.adam);
        self.average.add(self.wide.network())
    }
}

impl Predict for WideNetwork {
    fn predict(&self, texts: &[&ModelInput]) -> Predicted {
        WideNetwork::predict(self, &features(texts))
    }

    fn to_onnx(&self) -> Vec<u8> {
        WideNetwork::to_onnx(self)
    }
}

fn token_ids<'t>(texts: &[&'t ModelInput]) -> Vec<&'t [u32]> {
    texts.iter().map(|text| text.ids()).collect()
}

fn features<'t>(texts: &[&'t ModelInput]) -> Vec<&'t Features> {
    texts.iter().map(|text| &text.features).collect()
}

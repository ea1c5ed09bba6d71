//! The CNN as a kind of model.

use autotag::LabelSet;
use autotag_onnx::graph::GraphBuilder;
use ndarray::Array2;

use super::config::{CnnConfig, GraphForm};
use super::{Cnn, Folded, Network};
use crate::average::EpochAverage;
use crate::error::Result;
use crate::loss::ContrastiveConfig;
use crate::model::{Answer, Model, Predict, Predicted, StepLoss, TextInput, token_ids};
use crate::optimizer::AdamConfig;
use crate::parameters::Parameters;
use crate::setup::{Kind, Setup};
use crate::state::{State, StateError};

impl Kind for CnnConfig {
    fn normalize(&self) -> bool {
        self.normalize
    }

    fn learning_rate(&self) -> f32 {
        self.adam.learning_rate
    }

    fn vocabulary_size(&self) -> Option<usize> {
        Some(self.vocabulary_size)
    }

    fn check(&self) -> Result<()> {
        CnnConfig::check(self)
    }

    fn prepare(&self, setup: &mut Setup<'_>) -> Result<()> {
        setup.add_tokens(self.vocabulary_size)
    }

    fn dimensions(&self, _: &Setup<'_>) -> usize {
        self.n_filters()
    }

    fn make(&self, setup: &Setup<'_>, _: &[TextInput]) -> Result<Box<dyn Model>> {
        let (n_tokens, table) = (setup.n_tokens(), setup.token_table().cloned());
        let (config, n_labels) = (setup.config, setup.n_labels());
        Ok(Box::new(CnnModel {
            cnn: Cnn::new(self.clone(), n_tokens, n_labels, table, config.seed),
            form: self.form,
            adam: self.adam,
            contrastive: config.contrastive,
            average: EpochAverage::new(config.averaging),
        }))
    }
}

/// The CNN in training.
struct CnnModel {
    cnn: Cnn,
    form: GraphForm,
    adam: AdamConfig,
    contrastive: ContrastiveConfig,
    average: EpochAverage<Network>,
}

/// A trained CNN, and the form of its export.
struct TrainedCnn {
    network: Network,
    form: GraphForm,
    /// The folded table as it is exported, once it is rounded.
    table: Option<Array2<f32>>,
}

impl TrainedCnn {
    fn new(network: Network, form: GraphForm) -> Self {
        TrainedCnn { network, form, table: None }
    }

    fn folded(&self) -> Folded<'_> {
        match &self.table {
            Some(table) => self.network.folded(table),
            None => self.network.fold(),
        }
    }
}

impl Model for CnnModel {
    fn step(&mut self, texts: &[&TextInput], labels: &[&LabelSet], rate: f32) -> StepLoss {
        self.cnn.step(&token_ids(texts), labels, &self.contrastive, &self.adam.at(rate))
    }

    fn snapshot(&mut self, rate: f32) -> Box<dyn Predict> {
        self.cnn.sync_lazy_rows(&self.adam.at(rate));
        Box::new(TrainedCnn::new(self.average.add(self.cnn.network()), self.form))
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

    fn restore_snapshot(&self, state: &State<'_>) -> Result<Box<dyn Predict>, StateError> {
        let mut network = self.cnn.network().clone();
        network.restore(state)?;
        Ok(Box::new(TrainedCnn::new(network, self.form)))
    }
}

impl Predict for TrainedCnn {
    fn predict(&self, texts: &[&TextInput]) -> Predicted {
        self.folded().predict(&token_ids(texts))
    }

    fn round(&mut self) -> bool {
        let is_folded = self.form == GraphForm::Folded;
        if is_folded {
            self.table = Some(self.folded().rounded());
        }
        is_folded
    }

    fn write(&self, graph: &mut GraphBuilder) -> Answer {
        match self.form {
            GraphForm::Folded => self.folded().write(graph),
            GraphForm::Plain => self.network.write_plain(graph),
        }
    }

    fn state(&self) -> State<'_> {
        self.network.state()
    }
}

//! The records of a data set, a run and an ablation.

use std::path::PathBuf;

use autotag::tune::{self, MAX_K, Method, Prediction, Tuned};
use autotag::{Interpolation, ItemId, LabelSet, Neighbor, Scores, Selection};
use autotag_train::{ModelSpec, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::linear::LinearConfig;
use crate::parts::{Part, Parts};

/// The version of what is kept in a folder of runs. Runs of another one are not used.
pub const FORMAT_VERSION: u32 = 2;

/// The record of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// The digest of its files.
    pub digest: String,
    /// Its name.
    pub name: String,
    /// The labels' names; a label's id is its position.
    pub labels: Vec<String>,
    /// The number of labels that a model can learn: the first ones.
    pub n_known: usize,
    /// The part that the figures are of.
    pub measured: Part,
    /// Caveats of the figures.
    pub notes: Vec<String>,
}

impl DataRecord {
    pub(super) fn new(parts: &Parts) -> Self {
        DataRecord {
            format: FORMAT_VERSION,
            digest: parts.digest().to_owned(),
            name: parts.name.clone(),
            labels: parts.labels().names().map(str::to_owned).collect(),
            n_known: parts.n_known(),
            measured: parts.measured().0,
            notes: parts.notes.clone(),
        }
    }
}

/// The record of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextRecord {
    /// The document's key.
    pub key: String,
    /// The labels that people gave.
    #[serde(with = "ids")]
    pub labels: LabelSet,
    /// The text's beginning.
    pub text: String,
}

/// A set of labels as a list of numbers.
mod ids {
    use autotag::{LabelId, LabelSet};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        labels: &LabelSet,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let ids: Vec<u32> = labels.ids().iter().map(|label| label.0).collect();
        ids.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<LabelSet, D::Error> {
        let ids: Vec<u32> = Vec::deserialize(deserializer)?;
        Ok(ids.into_iter().map(LabelId).collect())
    }
}

/// The record of a run's prediction for a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PredictionRecord {
    /// True where the model answered; a text in which it knows nothing has no representation.
    answered: bool,
    /// The labels to which it gives more than next to nothing, ascending.
    labels: Vec<u32>,
    /// Their scores.
    scores: Vec<f32>,
    /// The rows of the nearest training texts, the nearest first.
    neighbors: Vec<u32>,
    /// Their distances.
    distances: Vec<f32>,
}

/// The least score that is kept, as in an index.
const LEAST_SCORE: f32 = 1.0 / 4096.0;

impl PredictionRecord {
    /// Keeps a prediction whose items are rows of the training set.
    pub(super) fn new(prediction: &Prediction) -> Self {
        let scores = prediction.model.as_ref().map_or(&[][..], Scores::values);
        let kept = (0..).zip(scores).filter(|(_, score)| **score >= LEAST_SCORE);
        let (labels, scores) = kept.unzip();
        PredictionRecord {
            answered: prediction.model.is_some(),
            labels,
            scores,
            neighbors: prediction.neighbors.iter().map(|neighbor| neighbor.item.0).collect(),
            distances: prediction.neighbors.iter().map(|neighbor| neighbor.distance).collect(),
        }
    }

    /// Returns the prediction, or `None` where something does not fit the data set.
    pub(super) fn open(
        &self,
        given: &LabelSet,
        train: &[TextRecord],
        n_known: usize,
    ) -> Option<Prediction> {
        if self.labels.len() != self.scores.len() || self.neighbors.len() != self.distances.len() {
            return None;
        }
        let mut scores = vec![0.0; n_known];
        for (&label, &score) in self.labels.iter().zip(&self.scores) {
            *scores.get_mut(label as usize)? = score;
        }
        let model = if self.answered { Some(Scores::new(scores).ok()?) } else { None };
        let mut neighbors = Vec::with_capacity(self.neighbors.len());
        for (&row, &distance) in self.neighbors.iter().zip(&self.distances) {
            let labels = train.get(row as usize)?.labels.clone();
            neighbors.push(Neighbor::new(ItemId(row), distance, labels));
        }
        Some(Prediction { given: given.clone(), model, neighbors })
    }
}

/// Settings, and what they reach on the part that they were tuned on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// k, tau and lambda.
    pub interpolation: Interpolation,
    /// The threshold of all labels.
    pub threshold: autotag::Threshold,
    /// The micro-F1 on dev.
    pub dev_micro_f1: f64,
}

impl Setting {
    /// Returns the setting that does best on dev.
    pub(crate) fn tuned(dev: &[Prediction], method: Method) -> Self {
        debug_assert!(dev.iter().all(|prediction| prediction.neighbors.len() <= MAX_K));
        let Tuned { interpolation, threshold, score } = tune::tune(dev, method);
        Setting { interpolation, threshold, dev_micro_f1: score }
    }

    /// Returns its threshold as a selection.
    pub(crate) fn selection(&self) -> Selection {
        Selection::at(self.threshold)
    }
}

/// The cost of a run's predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The size of the datastore on disk, in bytes.
    pub datastore_bytes: u64,
    /// The size of the model's file, in bytes.
    pub model_bytes: u64,
    /// The number of neighbors in the datastore.
    pub n_items: usize,
    /// The length of a representation.
    pub dimensions: usize,
    /// Milliseconds per text for the model alone, on all threads.
    pub model_ms: f64,
    /// Milliseconds per text for the search of the k neighbors as configured.
    pub neighbors_ms: f64,
    /// The threads that worked.
    pub threads: usize,
}

/// A run that is done: a model, or the linear baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// The run's id.
    pub id: String,
    /// The digest of the data set.
    pub data: String,
    /// The kind of model, as "cnn".
    pub model: String,
    /// The settings it was trained with; absent for the linear baseline.
    pub config: Option<TrainConfig>,
    /// The number of epochs, and the best of them.
    pub epochs: (usize, usize),
    /// The seconds that training took, those of an interrupted one left out.
    pub training_seconds: f64,
    /// The seconds that the run took.
    pub seconds: f64,
    /// The best setting on dev without neighbors.
    pub tuned_model: Setting,
    /// The best setting on dev with neighbors; absent for the linear baseline.
    pub tuned: Option<Setting>,
    /// The cost of its predictions; absent for the linear baseline.
    pub cost: Option<Cost>,
}

/// A text of the measured part among its nearest training texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighborhood {
    /// The text's row in the measured part.
    pub row: usize,
    /// The text's representation.
    pub embedding: Vec<f32>,
    /// The nearest training texts, the nearest first.
    pub neighbors: Vec<NeighborPoint>,
}

/// A training text near another text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighborPoint {
    /// Its row in the training part.
    pub row: u32,
    /// The number of labels that it shares with the text.
    pub shared: usize,
    /// Its representation.
    pub embedding: Vec<f32>,
}

/// Which of an ablation's runs one is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// The run's id: a digest of everything that its outcome depends on.
    pub id: String,
    /// The training's settings.
    pub config: TrainConfig,
}

/// An ablation: the runs that its tables and figures need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablation {
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// The digest of the data set.
    pub data: String,
    /// The model's architecture, as "cnn".
    pub model: String,
    /// The model.
    pub spec: ModelSpec,
    /// The file or folder that it starts from, and its digest; absent for a random start.
    pub start: Option<(PathBuf, String)>,
    /// The settings of the runs with the contrastive loss.
    pub config: TrainConfig,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The values of gamma that are compared at the first seed, ascending.
    pub gammas: Vec<f32>,
    /// The runs, in the order in which they are made.
    pub runs: Vec<PlannedRun>,
    /// The linear baseline.
    pub linear: LinearRun,
}

/// The linear baseline's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearRun {
    /// The run's id.
    pub id: String,
    /// Its settings.
    pub config: LinearConfig,
}

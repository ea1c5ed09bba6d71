use burn::tensor::Device;

use autotag::LabelSet;

use super::groups::gradients;
use super::{AdamW, Answer, DeviceWeights, Pace, Weights};
use crate::average::EpochAverage;
use crate::loss::ContrastiveConfig;
use crate::model::StepLoss;
use crate::optimizer::AdamConfig;
use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// Weights in training and their average over the epochs.
pub(crate) struct TrainingWeights {
    /// The weights as of the last step, and what moves them.
    pub(crate) optimizer: AdamW,
    average: EpochAverage<Weights>,
}

impl TrainingWeights {
    /// Starts from weights; `averaging` is the weight of earlier epochs in the average.
    pub(crate) fn new(weights: &Weights, averaging: f32, device: &Device) -> Self {
        let (optimizer, average) = (AdamW::new(weights, device), EpochAverage::new(averaging));
        TrainingWeights { optimizer, average }
    }

    /// Trains on a batch in groups of at most `group_size` texts; for `answer` and `pace`, see
    /// [`gradients`] and [`AdamW::step`].
    pub(crate) fn step(
        &mut self,
        (contrastive, adam): (&ContrastiveConfig, &AdamConfig),
        texts: &[&[u32]],
        labels: &[&LabelSet],
        group_size: usize,
        answer: impl Fn(&DeviceWeights, &[&[u32]], u64) -> Answer + Sync,
        pace: impl Fn(&str) -> Pace,
    ) -> StepLoss {
        let weights = self.optimizer.values();
        let (loss, gradients) = gradients(weights, texts, labels, group_size, contrastive, answer);
        self.optimizer.step(adam, pace, gradients);
        loss
    }

    /// Ends an epoch and returns the average.
    pub(crate) fn snapshot(&mut self) -> Weights {
        self.average.add(&self.optimizer.values().to_host())
    }

    /// Returns everything that the next step depends on.
    pub(crate) fn state(&self) -> State<'_> {
        let mut state = self.optimizer.state();
        state.put_all("average/", self.average.state());
        state
    }

    /// Restores what [`TrainingWeights::state`] returned.
    pub(crate) fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.optimizer.restore(state)?;
        let weights = self.optimizer.values().to_host();
        self.average.restore(&weights, &state.below("average/"))
    }

    /// Restores a snapshot.
    pub(crate) fn restore_snapshot(&self, state: &State<'_>) -> Result<Weights, StateError> {
        let mut weights = self.optimizer.values().to_host();
        weights.restore(state)?;
        Ok(weights)
    }
}
